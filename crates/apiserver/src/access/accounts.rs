//! Tokens of service accounts: what they say, and whether it is still so.
//!
//! Source: Kubernetes `pkg/serviceaccount/claims.go`, `validator` of bound tokens.
use serde_json::{Value, json};

use super::User;
use crate::http::Api;
use crate::refusal::{Cause, Refusal};
use crate::store::{Key, Object};
use crate::time;

/// Who signs, and whom tokens are for unless they say otherwise.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The shortest and the longest life of a token, in seconds.
const LIFE: std::ops::RangeInclusive<u64> = 600..=1 << 32;

impl Api {
    /// Answers a `TokenRequest` for `account`: the request with a token in its status.
    ///
    /// # Errors
    /// The refusal of a life that is too short or too long, or of an object that is not there.
    pub(crate) fn request_token(
        &self,
        account: &Object,
        mut request: Value,
    ) -> Result<Value, Refusal> {
        let spec = &request["spec"];
        let life = spec["expirationSeconds"].as_u64().unwrap_or(3600);
        let field = "spec.expirationSeconds";
        let detail = match life {
            life if life < *LIFE.start() => "may not specify a duration less than 10 minutes",
            life if life > *LIFE.end() => "may not specify a duration larger than 2^32 seconds",
            _ => "",
        };
        if !detail.is_empty() {
            let cause = Cause::invalid(field, &json!(life), detail);
            return Err(Refusal::invalid_review("TokenRequest.authentication.k8s.io", &[cause]));
        }
        let audiences = crate::crd::words(&spec["audiences"]);
        let audiences = if audiences.is_empty() { vec![ISSUER.to_owned()] } else { audiences };
        let (now, namespace) = (time::now(), account.metadata("namespace").clone());
        let until = now.saturating_add(life).min(time::LAST);
        let mut bound = json!({
            "namespace": namespace,
            "serviceaccount": {"name": account.metadata("name"), "uid": account.metadata("uid")},
        });
        self.bind_token(&request["spec"]["boundObjectRef"], &mut bound)?;
        let name = account.metadata("name").as_str().unwrap_or("");
        let claims = json!({
            "iss": ISSUER, "aud": audiences, "iat": now, "nbf": now, "exp": until,
            "jti": time::uid(), "kubernetes.io": bound,
            "sub": format!("system:serviceaccount:{}:{name}", namespace.as_str().unwrap_or("")),
        });
        let token = self.tokens.sign(&claims);
        let token = token.map_err(|error| Refusal::unforeseen(error.to_string()))?;
        request["kind"] = json!("TokenRequest");
        request["apiVersion"] = json!("authentication.k8s.io/v1");
        request["metadata"]["name"] = json!(name);
        request["metadata"]["namespace"] = namespace;
        request["spec"]["expirationSeconds"] = json!(life);
        request["spec"]["audiences"] = json!(audiences);
        request["status"] = json!({"token": token, "expirationTimestamp": time::rfc3339(until)});
        Ok(request)
    }

    /// Notes what a token is bound to: it is good only while that is there.
    fn bind_token(&self, reference: &Value, bound: &mut Value) -> Result<(), Refusal> {
        let text = |field: &str| reference[field].as_str().unwrap_or("");
        let (plural, field) = match text("kind") {
            "" => return Ok(()),
            "Pod" => ("pods", "pod"),
            "Secret" => ("secrets", "secret"),
            "Node" => ("nodes", "node"),
            other => {
                let why = format!("cannot bind token to object of type {other}");
                return Err(Refusal::bad_request(why));
            }
        };
        let resource = self.builtin("", plural);
        let namespace =
            if field == "node" { "" } else { bound["namespace"].as_str().unwrap_or("") };
        let object = self.store.get(&resource.shelf, &Key::new(namespace, text("name")));
        let object = object.ok_or_else(|| Refusal::not_found(&resource, text("name")))?;
        if !text("uid").is_empty() && object.metadata("uid") != text("uid") {
            let why = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. \
                 The object might have been deleted and then recreated",
                text("uid")
            );
            return Err(Refusal::conflict(&resource, text("name"), &why));
        }
        bound[field] = json!({"name": text("name"), "uid": object.metadata("uid")});
        let node = object.value["spec"]["nodeName"].as_str().unwrap_or("");
        if field == "pod"
            && let Some(node) =
                self.store.get(&self.builtin("", "nodes").shelf, &Key::new("", node))
        {
            bound["node"] = json!({"name": node.metadata("name"), "uid": node.metadata("uid")});
        }
        Ok(())
    }

    /// Whom a signed token stands for, if it is for one of `audiences`; with those of them that it
    /// is for.
    pub(crate) fn bearer(&self, token: &str, audiences: &[String]) -> Option<(User, Vec<String>)> {
        let claims = self.tokens.claims(token)?;
        if let Some(user) = self.old_bearer(token, &claims) {
            // Such a token says nothing of whom it is for.
            let own = audiences.iter().filter(|audience| *audience == ISSUER);
            let shared: Vec<String> = own.cloned().collect();
            return (!shared.is_empty()).then_some((user, shared));
        }
        let now = time::now();
        if claims["exp"].as_u64()? <= now || claims["nbf"].as_u64()? > now + 60 {
            return None;
        }
        let own = crate::crd::words(&claims["aud"]);
        let shared: Vec<String> =
            audiences.iter().filter(|audience| own.contains(audience)).cloned().collect();
        let bound = &claims["kubernetes.io"];
        let namespace = bound["namespace"].as_str()?;
        let there = [
            ("serviceaccounts", "serviceaccount", namespace),
            ("pods", "pod", namespace),
            ("secrets", "secret", namespace),
        ];
        let is_there = |(plural, field, namespace): &(&str, &str, &str)| {
            let Some(name) = bound[field]["name"].as_str() else { return true };
            let shelf = &self.builtin("", plural).shelf;
            let object = self.store.get(shelf, &Key::new(namespace, name));
            object.is_some_and(|object| *object.metadata("uid") == bound[field]["uid"])
        };
        if shared.is_empty() || !there.iter().all(is_there) {
            return None;
        }
        let account = bound["serviceaccount"]["name"].as_str()?;
        let mut user = User::service_account(namespace, account);
        bound["serviceaccount"]["uid"].as_str()?.clone_into(&mut user.uid);
        let mut note = |key: &str, value: &Value| {
            if let Some(text) = value.as_str() {
                let key = format!("authentication.kubernetes.io/{key}");
                user.extra.insert(key, vec![text.to_owned()]);
            }
        };
        let id = claims["jti"].as_str().map(|id| json!(format!("JTI={id}"))).unwrap_or_default();
        note("credential-id", &id);
        note("pod-name", &bound["pod"]["name"]);
        note("pod-uid", &bound["pod"]["uid"]);
        note("node-name", &bound["node"]["name"]);
        note("node-uid", &bound["node"]["uid"]);
        Some((user, shared))
    }
}
