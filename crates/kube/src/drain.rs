//! What a node has stopped doing, told in a Lease of its own: nobody but who waits for it looks at that,
//! while a change of a Node is told to everybody.
//!
//! Source: Lease API; KEP-589, why heartbeats are Leases.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube_rs::api::{Patch, PatchParams};
use kube_rs::{Api, Client, Error};
use model::NodeName;
use serde_json::json;

/// Namespace of the Leases.
pub const NAMESPACE: &str = "kube-system";

/// Annotation that holds a `resourceVersion`: what EndpointSlices said then is what new flows on this node
/// follow. An endpoint that was terminating in a slice of that version or an older one gets none from it,
/// unless no other is left (KEP-1669).
pub const DRAINED: &str = "seaway.io/drained";

/// Label of the Leases.
pub const LABEL: &str = "seaway.io/node";

/// A Lease could not be written.
#[derive(Debug, thiserror::Error)]
#[error("tell in Lease {NAMESPACE}/{name} what new flows follow")]
pub struct DrainError {
    /// Its name.
    pub name: String,
    /// What the API server said, or that it could not be asked.
    #[source]
    pub cause: Box<Error>,
}

/// Writes that new flows on `node` follow the EndpointSlices as of `revision`.
///
/// # Errors
/// [`DrainError`]; asking again is all a caller can do.
pub async fn tell_drained(
    client: &Client,
    node: &NodeName,
    revision: u64,
) -> Result<(), DrainError> {
    let name = format!("seaway-{node}");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": name, "labels": { LABEL: node.as_str() },
            "annotations": { DRAINED: revision.to_string() },
        },
        "spec": {
            "holderIdentity": node.as_str(),
            "renewTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
        },
    });
    let api = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let params = PatchParams::apply("seaway-agent").force();
    let told = api.patch(&name, &params, &Patch::Apply(lease)).await;
    told.map(drop).map_err(|cause| DrainError { name, cause: Box::new(cause) })
}
