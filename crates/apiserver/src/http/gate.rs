//! Who a request comes from, and whether it is let in.
//!
//! Source: Kubernetes `authentication`, `authorization` and `impersonation` filters.
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};

use super::Api;
use super::request::{header, pairs};
use crate::access::accounts::ISSUER;
use crate::access::{Question, User};
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
            Some(_) => Ok(()),
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
        let all = |name: &str| -> Vec<String> {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.map(str::to_owned).collect()
        };
        let (names, groups) = (all("impersonate-user"), all("impersonate-group"));
        let uids = all("impersonate-uid");
        let Some(name) = names.first() else {
            if groups.is_empty() && uids.is_empty() {
                return Ok(user);
            }
            let why = "requested groups or uid without impersonating a user";
            return Err(Refusal::bad_request(why));
        };
        let ask = |group: &str, kind: &str, namespace: &str, name: &str| {
            let question = Question::resource("impersonate", group, (kind, ""), namespace, name);
            self.permit(&user, &question)
        };
        let account = name.strip_prefix("system:serviceaccount:").and_then(|id| id.split_once(':'));
        match account {
            Some((namespace, account)) => ask("", "serviceaccounts", namespace, account)?,
            None => ask("", "users", "", name)?,
        }
        groups.iter().try_for_each(|group| ask("", "groups", "", group))?;
        uids.iter().try_for_each(|uid| ask(AUTHENTICATION, "uids", "", uid))?;
        let mut other = User::impersonated(name, groups);
        other.uid = uids.into_iter().next().unwrap_or_default();
        Ok(other)
    }
}

/// Whether everyone may ask for a path: whether the server is well.
pub(super) fn is_open(method: &Method, path: &str) -> bool {
    let reads = method == Method::GET || method == Method::HEAD;
    reads && matches!(path, "/healthz" | "/livez" | "/readyz")
}
