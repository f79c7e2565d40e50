//! Who is asking: bearer tokens and the users they stand for.
//!
//! Every known user may do everything; unknown ones nothing.
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use serde_json::{Value, json};

use crate::time;

/// Whom a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

impl User {
    fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().chain(&["system:authenticated"]);
        Self { name: name.to_owned(), groups: groups.map(|group| (*group).to_owned()).collect() }
    }

    fn admin() -> Self {
        Self::new("kubernetes-admin", &["system:masters"])
    }

    fn node(node: &str) -> Self {
        Self::new(&format!("system:node:{node}"), &["system:nodes"])
    }

    fn service_account(namespace: &str, name: &str) -> Self {
        Self::new(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")],
        )
    }

    /// The user as reviews describe it.
    pub(crate) fn describe(&self) -> Value {
        json!({"username": self.name, "groups": self.groups})
    }
}

/// The tokens that have been given out.
#[derive(Debug)]
pub(crate) struct Tokens {
    admin: String,
    users: RwLock<HashMap<String, User>>,
}

impl Tokens {
    /// One token, the administrator's.
    pub(crate) fn new() -> Self {
        let admin = time::secret();
        let users = HashMap::from([(admin.clone(), User::admin())]);
        Self { admin, users: RwLock::new(users) }
    }

    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// A new token for the agent of `node`.
    pub(crate) fn issue_node(&self, node: &str) -> String {
        self.issue(User::node(node))
    }

    /// A new token for a service account.
    pub(crate) fn issue_service_account(&self, namespace: &str, name: &str) -> String {
        self.issue(User::service_account(namespace, name))
    }

    fn issue(&self, user: User) -> String {
        let token = time::secret();
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        users.insert(token.clone(), user);
        token
    }

    /// Whom `token` stands for. Tokens have 256 random bits: a lookup's timing tells nothing
    /// that helps to guess one.
    pub(crate) fn user(&self, token: &str) -> Option<User> {
        self.users.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}
