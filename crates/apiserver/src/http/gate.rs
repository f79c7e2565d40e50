//! Who a request comes from, and whether it is let in.
//!
//! Source: Kubernetes `authentication`, `authorization` and `impersonation` filters.
use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::Api;
use super::request::{decode, header, pairs};
use crate::access::accounts::ISSUER;
use crate::access::{Question, User, account};
use crate::refusal::Refusal;

/// The group of users and groups.
const AUTHENTICATION: &str = "authentication.k8s.io";

impl Api {
    /// The user behind a request: its token's, its connection's, or nobody in particular.
    ///
    /// # Errors
    /// The refusal of a token nobody gave out, of someone who may not speak for another, and of
    /// who may not do what is asked.
    pub(super) fn admit(&self, parts: &Parts, peer: Option<&User>) -> Result<User, Refusal> {
        let user = self.authenticate(&parts.headers, peer)?;
        let user = self.impersonate(user, &parts.headers)?;
        let query = parts.uri.query().map_or_else(Vec::new, pairs);
        self.permit(&user, &Question::of(&parts.method, parts.uri.path(), &query))?;
        Ok(user)
    }

    /// # Errors
    /// The refusal if `user` may not do what `question` asks.
    pub(super) fn permit(&self, user: &User, question: &Question) -> Result<(), Refusal> {
        match self.allows(user, question) {
            Some(_) => {
                tracing::trace!("{} may {question}", user.name);
                Ok(())
            }
            None => Err(Refusal::not_permitted(&user.name, question)),
        }
    }

    fn authenticate(&self, headers: &HeaderMap, peer: Option<&User>) -> Result<User, Refusal> {
        let (scheme, token) = header(headers, AUTHORIZATION).split_once(' ').unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(peer.cloned().unwrap_or_else(User::anonymous));
        }
        self.user_of(token.trim()).ok_or_else(Refusal::unauthorized)
    }

    /// Whom a token stands for here.
    fn user_of(&self, token: &str) -> Option<User> {
        let signed = || self.bearer(token, &[ISSUER.to_owned()]).map(|(user, _)| user);
        self.tokens.user(token).or_else(signed)
    }

    /// The user that `user` wants to be taken for.
    fn impersonate(&self, user: User, headers: &HeaderMap) -> Result<User, Refusal> {
        let wish = Wish::of(headers);
        let Some(name) = &wish.name else {
            let references = wish.references();
            if references.is_empty() {
                return Ok(user);
            }
            let list = references.join(" ");
            let why = format!("requested [{list}] without impersonating a user");
            return Err(Refusal::bad_request(why));
        };
        let ask = |group: &str, kind: (&str, &str), namespace: &str, name: &str| {
            let question = Question::resource("impersonate", group, kind, namespace, name);
            self.permit(&user, &question)
        };
        match account(name) {
            Some((namespace, account)) => ask("", ("serviceaccounts", ""), namespace, account)?,
            None => ask("", ("users", ""), "", name)?,
        }
        wish.groups.iter().try_for_each(|group| ask("", ("groups", ""), "", group))?;
        for (key, values) in &wish.extra {
            values
                .iter()
                .try_for_each(|value| ask(AUTHENTICATION, ("userextras", key), "", value))?;
        }
        wish.uid.iter().try_for_each(|uid| ask(AUTHENTICATION, ("uids", ""), "", uid))?;
        let mut other = User::impersonated(name, wish.groups);
        other.uid = wish.uid.unwrap_or_default();
        other.extra = wish.extra;
        Ok(other)
    }
}

/// Whom a request wants to speak for.
#[derive(Debug, Default)]
struct Wish {
    name: Option<String>,
    groups: Vec<String>,
    uid: Option<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Wish {
    fn of(headers: &HeaderMap) -> Self {
        let mut wish = Self::default();
        for (header, value) in headers {
            let Ok(value) = value.to_str().map(str::to_owned) else { continue };
            match header.as_str() {
                "impersonate-group" => wish.groups.push(value),
                // Of several, the first counts; an empty one says nothing.
                "impersonate-user" if wish.name.is_none() => wish.name = Some(value),
                "impersonate-uid" if wish.uid.is_none() => wish.uid = Some(value),
                other => {
                    if let Some(key) = other.strip_prefix("impersonate-extra-") {
                        wish.extra.entry(decode(key)).or_default().push(value);
                    }
                }
            }
        }
        wish.name = wish.name.filter(|name| !name.is_empty());
        wish.uid = wish.uid.filter(|uid| !uid.is_empty());
        wish
    }

    /// What is wished besides a name, as Go prints references to objects.
    fn references(&self) -> Vec<String> {
        let api = format!("{AUTHENTICATION}/v1");
        let groups = self.groups.iter().map(|group| format!("{{Group  {group}    }}"));
        let extra = self.extra.iter().flat_map(|(key, values)| {
            let api = api.clone();
            values.iter().map(move |value| format!("{{UserExtra  {value}  {api}  {key}}}"))
        });
        let uid = self.uid.iter().map(|uid| format!("{{UID  {uid}  {api}  }}"));
        groups.chain(extra).chain(uid).collect()
    }
}
