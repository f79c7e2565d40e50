//! Pod CIDRs of Nodes, given by the agent that leads where nobody else gives them; and the Leases that tell
//! whether somebody else is there who may.
//!
//! Source: Node API, `spec.podCIDRs`, which can't be changed once they are set; kube-controller-manager and
//! cloud-controller-manager, `--leader-elect`, for the names of the Leases.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube_rs::api::{Patch, PatchParams};
use kube_rs::{Api, Client, Error};
use model::{GIVEN_BY, NodeState, SEAWAY};
use serde_json::json;

use crate::node_lease::NAMESPACE;

/// Those that may give Nodes their pod CIDRs, by their Leases.
const MANAGERS: [&str; 2] = ["kube-controller-manager", "cloud-controller-manager"];

/// A Node could not be given its pod CIDRs.
#[derive(Debug, thiserror::Error)]
#[error("give Node {node} its pod CIDRs")]
pub struct CidrsError {
    /// The Node.
    pub node: String,
    /// What the API server said, or that it could not be asked.
    #[source]
    pub cause: Box<Error>,
}

/// A controller manager that is elected, as its Lease tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Name of the Lease.
    pub name: &'static str,
    /// Who has it; empty when nobody does.
    pub holder: String,
    /// When it was renewed, by that one's clock, as text: nothing but whether it changes is of any use.
    pub renewed: String,
}

/// Gives `node` these pod CIDRs, unless it has some by now, or is another Node of that name. Returns whether it
/// was done: whoever comes first wins.
///
/// # Errors
/// [`CidrsError`]. It may have been done all the same.
pub async fn give_cidrs(
    client: &Client,
    node: &NodeState,
    cidrs: &[String],
) -> Result<bool, CidrsError> {
    let fail = |cause| CidrsError { node: node.name.to_string(), cause: Box::new(cause) };
    let api = Api::<Node>::all(client.clone());
    let Some(now) = api.get_opt(node.name.as_str()).await.map_err(fail)? else {
        return Ok(false);
    };
    let spec = now.spec.unwrap_or_default();
    let has = spec.pod_cidr.is_some_and(|cidr| !cidr.is_empty())
        || spec.pod_cidrs.is_some_and(|cidrs| !cidrs.is_empty());
    let is_same = now.metadata.uid.as_deref().unwrap_or_default() == &*node.uid;
    if has || !is_same || now.metadata.deletion_timestamp.is_some() {
        return Ok(false);
    }
    // Refused when somebody else has written since.
    let patch = json!({
        "metadata": {
            "resourceVersion": now.metadata.resource_version,
            "annotations": { GIVEN_BY: SEAWAY },
        },
        "spec": { "podCIDR": cidrs.first(), "podCIDRs": cidrs },
    });
    let params = PatchParams {
        field_manager: Some("seaway-pod-cidrs".to_owned()),
        ..PatchParams::default()
    };
    match api.patch(node.name.as_str(), &params, &Patch::Merge(patch)).await {
        Ok(_) => Ok(true),
        Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(error) => Err(fail(error)),
    }
}

/// The controller managers of the cluster that have Leases.
///
/// # Errors
/// When the API server did not answer.
pub async fn controller_managers(client: &Client) -> Result<Vec<Seat>, Error> {
    let api = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let mut seats = Vec::new();
    for name in MANAGERS {
        let Some(lease) = api.get_opt(name).await? else { continue };
        let spec = lease.spec.unwrap_or_default();
        seats.push(Seat {
            name,
            holder: spec.holder_identity.unwrap_or_default(),
            renewed: spec.renew_time.map(|time| time.0.to_string()).unwrap_or_default(),
        });
    }
    Ok(seats)
}
