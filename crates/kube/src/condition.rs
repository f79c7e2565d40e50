//! What a node's network is like, told on its Node object as conditions. `NetworkUnavailable` is the way in
//! which network plugins say that pods may, or may not, be placed there; `NetworkPressure` is Seaway's own.
//!
//! Source: Node API, `status.conditions`; well-known taint `node.kubernetes.io/network-unavailable`.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube_rs::api::{Patch, PatchParams};
use kube_rs::{Api, Client, Error};
use model::NodeName;
use serde_json::json;

/// Type of the condition that says whether pods have no network.
pub const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";

/// Type of the condition that says whether a table of the kernel that Services need is almost full.
pub const NETWORK_PRESSURE: &str = "NetworkPressure";

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCondition {
    /// Its type: one of those above.
    pub kind: &'static str,
    /// Whether it is so.
    pub is_true: bool,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// Why the condition is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("tell the condition {kind} of Node {node}")]
pub struct ConditionError {
    /// Type of the condition.
    pub kind: &'static str,
    /// The node.
    pub node: NodeName,
    /// What the API server said, or that it could not be asked.
    #[source]
    pub cause: Box<Error>,
}

/// Writes the condition, unless it says that already. The time of its last change is kept while its status
/// stays, and other conditions are not touched.
///
/// # Errors
/// [`ConditionError`]; asking again is all a caller can do.
pub async fn tell_condition(
    client: &Client,
    node: &NodeName,
    told: &NodeCondition,
) -> Result<(), ConditionError> {
    let kind = told.kind;
    let fail = |cause| ConditionError { kind, node: node.clone(), cause: Box::new(cause) };
    let api = Api::<Node>::all(client.clone());
    let object = api.get(node.as_str()).await.map_err(fail)?;
    let conditions = object.status.and_then(|status| status.conditions).unwrap_or_default();
    let old = conditions.into_iter().find(|condition| condition.type_ == kind);
    let status = if told.is_true { "True" } else { "False" };
    let since = old.as_ref().filter(|old| old.status == status);
    let is_told = since.is_some_and(|old| {
        old.reason.as_deref() == Some(told.reason) && old.message.as_ref() == Some(&told.message)
    });
    if is_told {
        return Ok(());
    }
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let since = since.and_then(|old| old.last_transition_time.as_ref());
    let since = since.map_or(now.clone(), |time| time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let patch = json!({ "status": { "conditions": [{
        "type": kind, "status": status, "reason": told.reason, "message": told.message,
        "lastHeartbeatTime": now, "lastTransitionTime": since,
    }] } });
    let patch = Patch::Strategic(patch);
    api.patch_status(node.as_str(), &PatchParams::default(), &patch).await.map_err(fail)?;
    Ok(())
}
