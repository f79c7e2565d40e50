//! What a node does by now, told in a Lease of its own: nobody but who waits for it looks at that, while a
//! change of a Node is told to everybody.
//!
//! Each annotation has a field manager of its own, so that who tells the one need not know the other.
//!
//! Source: Lease API; KEP-589, why heartbeats are Leases.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube_rs::api::{Patch, PatchParams};
use kube_rs::{Api, Client, Error};
use model::{NodeName, REALISED, Realised, fnv1a};
use serde_json::{Value, json};

/// Namespace of the Leases.
pub const NAMESPACE: &str = "kube-system";

/// Annotation that holds a `resourceVersion`: what EndpointSlices said then is what new flows on this node
/// follow. An endpoint that was terminating in a slice of that version or an older one gets none from it,
/// unless no other is left (KEP-1669).
pub const DRAINED: &str = "seaway.io/drained";

/// Label of the Leases. Its value is the node's name, where that is not too long for one.
pub const LABEL: &str = "seaway.io/node";

/// Longest value of a label.
const LONGEST_VALUE: usize = 63;

/// A Lease could not be written.
#[derive(Debug, thiserror::Error)]
#[error("tell {what} in Lease {NAMESPACE}/{name}")]
pub struct TellError {
    /// What was to be told.
    pub what: &'static str,
    /// Name of the Lease.
    pub name: String,
    /// What the API server said, or that it could not be asked.
    #[source]
    pub cause: Box<Error>,
}

/// Writes that new flows on `node` follow the EndpointSlices as of `revision`.
///
/// # Errors
/// [`TellError`]; asking again is all a caller can do.
pub async fn tell_drained(
    client: &Client,
    node: &NodeName,
    revision: u64,
) -> Result<(), TellError> {
    let told = ("what new flows follow", DRAINED, revision.to_string());
    tell(client, node, "seaway-agent", told).await
}

/// Writes which policies of the cluster the kernel of `node` goes by.
///
/// # Errors
/// [`TellError`]; asking again is all a caller can do.
pub async fn tell_realised(
    client: &Client,
    node: &NodeName,
    realised: &Realised,
) -> Result<(), TellError> {
    let told = ("which policies are in place", REALISED, realised.to_string());
    tell(client, node, "seaway-policies", told).await
}

/// Has the Lease of `node` go with the Node of this `uid`: garbage collection deletes what has no owner left.
///
/// # Errors
/// [`TellError`]. Where the plugin `OwnerReferencesPermissionEnforcement` is on, always: that asks for the right
/// to delete every Lease there.
pub async fn tell_owner(client: &Client, node: &NodeName, uid: &str) -> Result<(), TellError> {
    let owner = json!({ "apiVersion": "v1", "kind": "Node", "name": node.as_str(), "uid": uid });
    let lease = lease(node, json!({ "ownerReferences": [owner] }));
    apply(client, node, "seaway-owner", "whose it is", lease).await
}

/// Writes `value` to an annotation of the Lease of `node`, as `manager`.
///
/// # Errors
/// [`TellError`].
pub(crate) async fn tell(
    client: &Client,
    node: &NodeName,
    manager: &str,
    (what, annotation, value): (&'static str, &str, String),
) -> Result<(), TellError> {
    let annotated =
        json!({ "labels": { LABEL: label(node.as_str()) }, "annotations": { annotation: value } });
    let mut lease = lease(node, annotated);
    lease["spec"] = json!({
        "holderIdentity": node.as_str(),
        "renewTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
    });
    apply(client, node, manager, what, lease).await
}

/// The Lease of `node` with this `metadata`, and its name.
fn lease(node: &NodeName, mut metadata: Value) -> Value {
    metadata["name"] = name(node).into();
    json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata })
}

async fn apply(
    client: &Client,
    node: &NodeName,
    manager: &str,
    what: &'static str,
    lease: Value,
) -> Result<(), TellError> {
    let name = name(node);
    let api = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let params = PatchParams::apply(manager).force();
    let told = api.patch(&name, &params, &Patch::Apply(lease)).await;
    told.map(drop).map_err(|cause| TellError { what, name, cause: Box::new(cause) })
}

/// Name of the Lease of `node`.
pub(crate) fn name(node: &NodeName) -> String {
    format!("seaway-{node}")
}

/// The value of the label for a node of this name.
fn label(node: &str) -> String {
    match node.len() <= LONGEST_VALUE {
        true => node.to_owned(),
        false => format!("{:016x}", fnv1a(node.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_for_a_label_is_another_word() {
        for (length, same) in [(1, true), (63, true), (64, false), (253, false)] {
            let name = "n".repeat(length);
            assert_eq!(label(&name) == name, same);
            assert!(label(&name).len() <= LONGEST_VALUE);
        }
    }
}
