//! Why a request was not done, as the `Status` object that clients read.
mod cause;

use serde_json::{Value, json};

pub(crate) use cause::Cause;

use crate::access::{Ask, Question};
use crate::ownership::Conflict;
use crate::resource::Resource;
use crate::store::Unsettled;

/// A request's failure: an HTTP code, Kubernetes' machine-readable reason and a sentence.
///
/// Source: k8s.io/apimachinery `api/errors`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
    /// Where an expired list may go on, inconsistently.
    go_on: Option<String>,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, go_on: None }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details =
            Some(json!({"name": name, "group": resource.group, "kind": resource.plural}));
        self
    }

    /// There is no such object.
    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(404, "NotFound", message).about(resource, name)
    }

    /// There is no such path.
    pub(crate) fn no_such_path() -> Self {
        let mut refusal =
            Self::new(404, "NotFound", "the server could not find the requested resource");
        refusal.details = Some(json!({}));
        refusal
    }

    /// The name is taken.
    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(resource, name)
    }

    /// Someone else wrote first, or a precondition does not hold.
    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// The conflict of an update that was based on an older version.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Self::conflict(resource, name, why)
    }

    /// Server-side apply would change what others own.
    pub(crate) fn apply_conflict(conflicts: &[Conflict]) -> Self {
        let mut refusal = Self::new(409, "Conflict", conflict_message(conflicts));
        let cause = |conflict: &Conflict| {
            json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {}", conflict.owner),
                "field": conflict.field,
            })
        };
        refusal.details = Some(json!({"causes": conflicts.iter().map(cause).collect::<Vec<_>>()}));
        refusal
    }

    /// The query of a write can't be done, at each of `causes`; `kind` names the options.
    pub(crate) fn invalid_options(kind: &str, causes: &[Cause]) -> Self {
        Self::invalid_as(&format!("{kind}.meta.k8s.io"), "", "meta.k8s.io", kind, causes)
    }

    /// What a patch makes of an object is none of its kind; `shown` is what is shown of it.
    pub(crate) fn invalid_patch(shown: &str, why: &str) -> Self {
        Self::invalid_as("", "", "", "", &[Cause::invalid("patch", &Value::from(shown), why)])
    }

    /// What Kubernetes did not foresee to be wrong with a request: it has a message only.
    pub(crate) fn unforeseen(message: String) -> Self {
        Self::new(500, "", message)
    }

    /// The object breaks the rules of its kind, at each of `causes`.
    pub(crate) fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        let what = resource.kind_and_group();
        Self::invalid_as(&what, name, &resource.group, &resource.kind, causes)
    }

    fn invalid_as(what: &str, name: &str, group: &str, kind: &str, causes: &[Cause]) -> Self {
        let mut lines: Vec<String> = causes.iter().map(Cause::line).collect();
        lines.dedup();
        let list = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{what} \"{name}\" is invalid: {list}");
        let mut refusal = Self::new(422, "Invalid", message);
        let causes: Vec<Value> = causes
            .iter()
            .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
            .collect();
        refusal.details = Some(json!({
            "name": name, "group": group, "kind": kind, "causes": causes,
        }));
        refusal
    }

    /// Options of a request (a `meta.k8s.io` kind) that contradict each other, at each of `causes`.
    ///
    /// # Errors
    /// Themselves, if there are any.
    pub(crate) fn unless_empty(kind: &str, causes: &[Cause]) -> Result<(), Self> {
        if causes.is_empty() {
            return Ok(());
        }
        Err(Self::invalid_as(&format!("{kind}.meta.k8s.io"), "", "meta.k8s.io", kind, causes))
    }

    /// The rules of the cluster, rather than of the kind, are against it.
    pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", resource.qualified());
        Self::new(403, "Forbidden", message).about(resource, name)
    }

    /// The request can't be understood.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The request is well formed but can't be done to this object. Kubernetes keeps to itself
    /// why.
    pub(crate) fn unfit(why: String) -> Self {
        let message = "the server rejected our request due to an error in our request";
        let mut refusal = Self::new(422, "Invalid", message);
        refusal.details = Some(json!({"causes": [{"message": why}]}));
        refusal
    }

    /// What a node's server said with `code`, as the API server passes it on.
    pub(crate) fn of_node(resource: &Resource, name: &str, code: u16, said: &str) -> Self {
        let reason = match code {
            400 => "BadRequest",
            404 => "NotFound",
            422 => "Invalid",
            _ => "InternalError",
        };
        Self::new(code, reason, said).about(resource, name)
    }

    /// The version asked for is no longer remembered: list again.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// Adds the token with which an expired list may go on.
    pub(crate) fn with_continue(mut self, token: &str) -> Self {
        self.go_on = Some(token.to_owned());
        self
    }

    /// The version asked for has not happened yet.
    pub(crate) fn too_large_version(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut refusal = Self::new(504, "Timeout", message);
        refusal.details = Some(json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }));
        refusal
    }

    /// The path exists but not with this method.
    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let mut refusal = Self::new(405, "MethodNotAllowed", message);
        refusal.details = Some(json!({}));
        refusal
    }

    /// The server can't do it, through no fault of the client's.
    pub(crate) fn internal(why: &str) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {why}"))
    }

    /// The server can't do it, which `message` says in full.
    pub(crate) fn internal_plain(message: &str) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// Not now; perhaps after some seconds (0 leaves that open). `kind` and `why` are its cause.
    pub(crate) fn too_many_requests(message: &str, seconds: u64, kind: &str, why: &str) -> Self {
        let mut refusal = Self::new(429, "TooManyRequests", message);
        let mut details = json!({"causes": [{"reason": kind, "message": why}]});
        if seconds > 0 {
            details["retryAfterSeconds"] = json!(seconds);
        }
        refusal.details = Some(details);
        refusal
    }

    /// Too much is under way already: again in a second.
    pub(crate) fn busy() -> Self {
        let message =
            "the server has received too many requests and has asked us to try again later";
        let mut refusal = Self::new(429, "TooManyRequests", message);
        refusal.details = Some(json!({"retryAfterSeconds": 1}));
        refusal
    }

    /// The client took too long to say what it wants.
    pub(crate) fn too_slow() -> Self {
        let message = "Timeout: request did not complete within the allotted timeout";
        let mut refusal = Self::new(504, "Timeout", message);
        refusal.details = Some(json!({}));
        refusal
    }

    /// After how many seconds the client may try again.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.details.as_ref()?["retryAfterSeconds"].as_u64()
    }

    /// `user` may not do what is asked.
    pub(crate) fn not_permitted(user: &str, question: &Question) -> Self {
        let why = format!("User {user:?} cannot {question}");
        let (what, details) = match &question.ask {
            Ask::Path(_) => (String::new(), json!({})),
            Ask::Resource { group, resource, name, .. } => {
                let dot = if group.is_empty() { "" } else { "." };
                let named = if name.is_empty() { String::new() } else { format!("{name:?} ") };
                let mut details = json!({"group": group, "kind": resource});
                if group.is_empty() {
                    details = json!({"kind": resource});
                }
                if !name.is_empty() {
                    details["name"] = json!(name);
                }
                (format!("{resource}{dot}{group} {named}is "), details)
            }
        };
        let mut refusal = Self::new(403, "Forbidden", format!("{what}forbidden: {why}"));
        refusal.details = Some(details);
        refusal
    }

    /// A review that is not stored breaks the rules of its kind; `what` is kind and group.
    pub(crate) fn invalid_review(what: &str, causes: &[Cause]) -> Self {
        let (kind, group) = what.split_once('.').unwrap_or((what, ""));
        Self::invalid_as(what, "", group, kind, causes)
    }

    /// No credentials, or unknown ones.
    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// None of the formats the client accepts can be written.
    pub(crate) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json";
        Self::new(406, "NotAcceptable", message)
    }

    /// The body is in a format that can't be read.
    pub(crate) fn unsupported_media_type(known: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             {known}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// What was asked could not be brought to the disk, and has not happened.
    pub(crate) fn not_stored(unsettled: &Unsettled) -> Self {
        let (code, reason) =
            if unsettled.full { (507, "InsufficientStorage") } else { (500, "InternalError") };
        Self::new(code, reason, format!("nothing was changed: {unsettled}"))
    }

    /// The body is larger than `limit` bytes.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// The object, as it would be stored, is larger than one may be.
    ///
    /// Source: etcd `ErrRequestTooLarge`, which Kubernetes passes on as it is.
    pub(crate) fn too_large_to_store() -> Self {
        Self::new(500, "", "etcdserver: request is too large")
    }

    /// All objects together would be larger than they may be.
    ///
    /// Source: etcd `ErrNoSpace`, as above.
    pub(crate) fn no_space() -> Self {
        Self::new(500, "", "etcdserver: mvcc: database space exceeded")
    }

    /// The `Status` object that says all this.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        if let Some(token) = &self.go_on {
            status["metadata"]["continue"] = json!(token);
        }
        status
    }
}

/// Conflicts as one text: by owner if there are several.
///
/// Source: k8s.io/apimachinery `managedfields/internal/conflict.go`.
fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", one.owner, one.field);
    }
    let mut lines = Vec::new();
    let mut owner = "";
    for conflict in conflicts {
        if conflict.owner != owner {
            owner = &conflict.owner;
            lines.push(format!("conflicts with {owner}:"));
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}
