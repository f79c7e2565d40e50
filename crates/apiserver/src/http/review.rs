//! Reviews: questions about who someone is and what they may do, answered and not stored.
use http::StatusCode;
use serde_json::{Value, json};

use super::request::Call;
use super::{Answer, Api, respond};
use crate::access::accounts::ISSUER;
use crate::access::{Ask, Question, User};
use crate::crd::words;
use crate::refusal::{Cause, Refusal};

impl Api {
    /// Answers a review.
    pub(super) fn review(&self, call: &Call) -> Answer {
        if call.method != http::Method::POST || call.target.name.is_some() {
            return Err(Refusal::method_not_allowed());
        }
        let resource = &call.target.resource;
        let (mut review, warnings) = self.decode(call, call.document()?)?;
        let spec = &review["spec"];
        let status = match resource.kind.as_str() {
            "TokenReview" => self.review_token(spec),
            "SelfSubjectReview" => json!({"userInfo": call.user.describe()}),
            "SelfSubjectRulesReview" => {
                let namespace = spec["namespace"].as_str().unwrap_or("");
                let (resources, paths) = self.rules_of(&call.user, namespace);
                json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
            }
            "SelfSubjectAccessReview" => self.verdict(&call.user, &asked(call, spec)?),
            _ => {
                let user = User {
                    name: spec["user"].as_str().unwrap_or("").to_owned(),
                    groups: words(&spec["groups"]),
                    ..User::default()
                };
                self.verdict(&user, &asked(call, spec)?)
            }
        };
        review["status"] = status;
        Ok(respond::warn(respond::json(StatusCode::CREATED, &review), &warnings))
    }

    fn verdict(&self, user: &User, question: &Question) -> Value {
        match self.allows(user, question) {
            Some(reason) if reason.is_empty() => json!({"allowed": true}),
            Some(reason) => json!({"allowed": true, "reason": reason}),
            None => json!({"allowed": false}),
        }
    }

    fn review_token(&self, spec: &Value) -> Value {
        let token = spec["token"].as_str().unwrap_or("");
        let asked = words(&spec["audiences"]);
        let audiences = if asked.is_empty() { vec![ISSUER.to_owned()] } else { asked };
        // A secret is for whoever speaks for this server.
        let secret = self.tokens.user(token).filter(|_| audiences.iter().any(|a| a == ISSUER));
        let known = secret.map(|user| (user, vec![ISSUER.to_owned()]));
        match known.or_else(|| self.bearer(token, &audiences)) {
            Some((user, audiences)) => json!({
                "authenticated": true, "user": user.describe(), "audiences": audiences,
            }),
            None => json!({
                "authenticated": false,
                "error": "[invalid bearer token, token lookup failed]", "user": {},
            }),
        }
    }
}

/// The question a review asks.
fn asked(call: &Call, spec: &Value) -> Result<Question, Refusal> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or("").to_owned();
    let who = text(spec, "user").is_empty() && words(&spec["groups"]).is_empty();
    let mut causes = Vec::new();
    if resource.is_object() == path.is_object() {
        let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        causes.push(Cause::invalid("spec.resourceAttributes", resource, detail));
    }
    if who && !call.target.resource.kind.starts_with("Self") {
        let detail = "at least one of user or group must be specified";
        causes.push(Cause::invalid("spec.user", &json!(""), detail));
    }
    let namespace = text(resource, "namespace");
    if call.target.resource.is_namespaced() && namespace != call.target.namespace {
        let given = json!(namespace);
        let detail = format!("must match metadata.namespace ({})", call.target.namespace);
        causes.push(Cause::invalid("spec.resourceAttributes.namespace", &given, &detail));
    }
    if !causes.is_empty() {
        return Err(Refusal::invalid(&call.target.resource, "", &causes));
    }
    if path.is_object() {
        return Ok(Question { verb: text(path, "verb"), ask: Ask::Path(text(path, "path")) });
    }
    let ask = Ask::Resource {
        group: text(resource, "group"),
        resource: text(resource, "resource"),
        subresource: text(resource, "subresource"),
        namespace,
        name: text(resource, "name"),
    };
    Ok(Question { verb: text(resource, "verb"), ask })
}
