//! Conditions in the status of objects.
//!
//! Source: k8s.io/apimachinery `pkg/api/meta/conditions.go`.
use serde_json::{Value, json};

use crate::time;

/// Sets a condition; its time is that of the last change of its status.
pub(crate) fn set(object: &mut Value, kind: &str, holds: bool, reason: &str, message: &str) {
    let status = if holds { "True" } else { "False" };
    let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let at = conditions.iter().position(|c| c["type"] == kind);
    let before = at.and_then(|at| conditions.get(at)).filter(|c| c["status"] == status);
    let since = before.map(|c| c["lastTransitionTime"].clone());
    let since = since.unwrap_or_else(|| json!(time::rfc3339(time::now())));
    let condition = json!({
        "type": kind, "status": status, "lastTransitionTime": since,
        "reason": reason, "message": message,
    });
    match at.and_then(|at| conditions.get_mut(at)) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
    object["status"]["conditions"] = json!(conditions);
}
