//! Secrets that hold a token of a service account: filled in when they appear, gone with their account.
//! Their tokens are of the old form, which does not end by itself.
//!
//! Source: Kubernetes `pkg/controller/serviceaccount/tokens_controller.go`,
//! `pkg/serviceaccount/legacy.go`.
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::User;
use crate::http::Api;
use crate::refusal::Refusal;
use crate::server::signalled;
use crate::store::{Key, Object};
use crate::strategy::Part;

/// The type of such secrets.
pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";
/// The annotation that names the account.
pub(crate) const ACCOUNT: &str = "kubernetes.io/service-account.name";
/// The annotation with the account's identity.
const UID: &str = "kubernetes.io/service-account.uid";

/// Who signs tokens of the old form.
const OLD_ISSUER: &str = "kubernetes/serviceaccount";

/// Claims of tokens of the old form.
const NAMESPACE: &str = "kubernetes.io/serviceaccount/namespace";
const SECRET: &str = "kubernetes.io/serviceaccount/secret.name";
const NAME: &str = "kubernetes.io/serviceaccount/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/serviceaccount/service-account.uid";

/// Makes a pass whenever a secret or an account may have changed, until the server stops.
pub(crate) async fn run(api: Arc<Api>, mut stopped: tokio::sync::watch::Receiver<bool>) {
    let shelf = |plural| api.builtin("", plural).shelf.clone();
    let (secrets, accounts) = (shelf("secrets"), shelf("serviceaccounts"));
    loop {
        let version = api.store.version();
        let mut of_secrets = api.store.cursor(&secrets, version);
        let mut of_accounts = api.store.cursor(&accounts, version);
        pass(&api);
        tokio::select! {
            () = signalled(&mut stopped) => return,
            () = of_secrets.moved() => {}
            () = of_accounts.moved() => {}
        }
    }
}

/// Gives every such secret what it lacks, and removes those whose account is gone.
fn pass(api: &Api) {
    let resource = api.builtin("", "secrets");
    let accounts = api.builtin("", "serviceaccounts").shelf.clone();
    for (key, secret) in api.store.newest(&resource.shelf, None) {
        if secret.value["type"] != TYPE {
            continue;
        }
        let named = |annotation: &str| secret.metadata("annotations")[annotation].as_str();
        let name = named(ACCOUNT).unwrap_or("");
        let account = api.store.get(&accounts, &Key::new(&key.namespace, name));
        let same = |account: &Arc<Object>| {
            let uid = named(UID).unwrap_or("");
            uid.is_empty() || *account.metadata("uid") == *uid
        };
        let account = account.filter(same);
        if account.is_some() && is_whole(&secret.value) {
            continue;
        }
        let done = match account {
            Some(account) => fill(api, &key, &account),
            None => api.delete_object(&resource, &key, &Value::Null).map(|_| ()),
        };
        if let Err(refusal) = done {
            tracing::debug!(?refusal, secret = %format!("{}/{}", key.namespace, key.name), "keep a token");
        }
    }
}

fn is_whole(secret: &Value) -> bool {
    ["ca.crt", "namespace", "token"]
        .iter()
        .all(|key| secret["data"][*key].as_str().is_some_and(|text| !text.is_empty()))
}

/// Writes what a secret lacks.
fn fill(api: &Api, key: &Key, account: &Object) -> Result<(), Refusal> {
    let name = account.metadata("name");
    let claims = json!({
        "iss": OLD_ISSUER, NAMESPACE: key.namespace, SECRET: key.name, NAME: name,
        ACCOUNT_UID: account.metadata("uid"),
        "sub": format!("system:serviceaccount:{}:{}", key.namespace, name.as_str().unwrap_or("")),
    });
    let token = api.tokens.sign(&claims);
    let token = token.map_err(|error| Refusal::unforeseen(error.to_string()))?;
    let parts = [("ca.crt", &api.ca_pem), ("namespace", &key.namespace), ("token", &token)];
    api.amend(&api.builtin("", "secrets"), key, Part::Main, |old| {
        let mut new = old.clone();
        for (part, text) in parts {
            if new["data"][part].as_str().unwrap_or("").is_empty() {
                new["data"][part] = json!(STANDARD.encode(text));
            }
        }
        new["metadata"]["annotations"][UID] = account.metadata("uid").clone();
        new
    })
}

impl Api {
    /// Whom a token of the old form stands for: as long as its secret holds it and its account is
    /// the same.
    pub(super) fn old_bearer(&self, token: &str, claims: &Value) -> Option<User> {
        let text = |claim: &str| claims[claim].as_str();
        if text("iss") != Some(OLD_ISSUER) {
            return None;
        }
        let (namespace, name) = (text(NAMESPACE)?, text(NAME)?);
        let get = |plural: &str, name: &str| {
            self.store.get(&self.builtin("", plural).shelf, &Key::new(namespace, name))
        };
        let secret = get("secrets", text(SECRET)?)?;
        let account = get("serviceaccounts", name)?;
        let held = secret.value["data"]["token"] == STANDARD.encode(token);
        let deleted = secret.metadata("deletionTimestamp").is_string();
        if !held || deleted || *account.metadata("uid") != claims[ACCOUNT_UID] {
            return None;
        }
        let mut user = User::service_account(namespace, name);
        text(ACCOUNT_UID)?.clone_into(&mut user.uid);
        Some(user)
    }
}
