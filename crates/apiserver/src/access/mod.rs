//! Who is asking, and what they may do.
//!
//! Source: Kubernetes "Authenticating", "Using RBAC Authorization", "User impersonation".
pub(crate) mod accounts;
pub(crate) mod bootstrap;
mod escalation;
mod question;
pub(crate) mod rbac;
pub(crate) mod secrets;
mod tokens;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub(crate) use question::{Ask, Question};
pub(crate) use tokens::Tokens;

/// The group of those who may do everything.
pub(crate) const MASTERS: &str = "system:masters";
/// The group of all who are known.
const AUTHENTICATED: &str = "system:authenticated";
/// The group of those who are not.
const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Who has shown no credentials.
const ANONYMOUS: &str = "system:anonymous";

/// Who is asking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Someone in `groups`, and among the known.
    pub(crate) fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().chain(&[AUTHENTICATED]).map(|group| (*group).to_owned());
        Self { name: name.to_owned(), groups: groups.collect(), ..Self::default() }
    }

    /// Someone without credentials.
    pub(crate) fn anonymous() -> Self {
        let groups = vec![UNAUTHENTICATED.to_owned()];
        Self { name: ANONYMOUS.to_owned(), groups, ..Self::default() }
    }

    pub(crate) fn service_account(namespace: &str, name: &str) -> Self {
        Self::new(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")],
        )
    }

    /// Someone else, of whom only the name, and maybe the groups, is said.
    pub(crate) fn impersonated(name: &str, groups: Vec<String>) -> Self {
        let mut user = match account(name) {
            Some((namespace, account)) if groups.is_empty() => {
                Self::service_account(namespace, account)
            }
            _ => Self { name: name.to_owned(), groups, ..Self::default() },
        };
        let known = if name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !user.groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED) {
            user.groups.push(known.to_owned());
        }
        user
    }

    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The user as reviews describe it.
    pub(crate) fn describe(&self) -> Value {
        let mut user = json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            user["uid"] = json!(self.uid);
        }
        if !self.extra.is_empty() {
            user["extra"] = json!(self.extra);
        }
        user
    }
}

/// The namespace and name of the service account whose user is called `name`.
pub(crate) fn account(name: &str) -> Option<(&str, &str)> {
    let id = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!id.1.contains(':')).then_some(id)
}
