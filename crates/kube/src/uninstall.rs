//! What agents have written in the API is taken back when Seaway goes from a node: what is about the node, and
//! with the last one what is about the cluster.
//!
//! What stays: `spec.podCIDRs`, which can't be changed, with the annotation that says whose they are; conditions of
//! policies, which are of the generation that they name; and events, which the API server lets expire.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Service};
use kube_rs::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube_rs::{Api, Client, Error, ResourceExt};
use model::NodeName;
use serde_json::{Value, json};

use crate::condition::{NETWORK_PRESSURE, NETWORK_UNAVAILABLE};
use crate::dns_service::is_made;
use crate::node_lease::{LABEL, NAMESPACE, name};
use crate::{election, question};

/// Name of the Service of DNS that may be deleted: the one that agents make.
const DNS: &str = "kube-dns";

/// What was deleted, as `KIND NAME`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Uninstalled {
    /// Objects that are gone, and conditions.
    pub gone: Vec<String>,
    /// A node that has Seaway still, for which everything of the cluster stays.
    pub other: Option<String>,
}

/// Something could not be taken back.
#[derive(Debug, thiserror::Error)]
#[error("{attempt} {object}")]
pub struct UninstallError {
    /// What was to be done.
    pub attempt: &'static str,
    /// With what.
    pub object: String,
    /// What the API server said, or that it could not be asked.
    #[source]
    pub cause: Box<Error>,
}

fn fail(attempt: &'static str, object: String) -> impl FnOnce(Error) -> UninstallError {
    move |cause| UninstallError { attempt, object, cause: Box::new(cause) }
}

/// Takes back what the agent of `node`, which runs no more and has left nothing in the kernel, has written: its
/// conditions and its Lease. When no other Node has such a Lease, also what was there for all: the Lease of
/// whoever leads, the question to all nodes, and the Service of DNS if an agent has made it, with which its
/// EndpointSlices go. Leases of Nodes that are gone are deleted.
///
/// # Errors
/// [`UninstallError`]; calling it again goes on.
pub async fn uninstall(client: &Client, node: &NodeName) -> Result<Uninstalled, UninstallError> {
    let nodes = Api::<Node>::all(client.clone());
    let leases = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let mut done = Uninstalled::default();
    conditions(&nodes, node, &mut done).await?;
    delete(&leases, &name(node), &mut done).await?;
    let params = ListParams::default().labels(LABEL);
    let listed = leases.list(&params).await;
    for lease in listed.map_err(fail("list Leases of", NAMESPACE.to_owned()))? {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        let holder = holder.unwrap_or_default();
        if holder != node.as_str() && get(&nodes, &holder).await?.is_some() {
            done.other = Some(holder);
            return Ok(done);
        }
        delete(&leases, &lease.name_any(), &mut done).await?;
    }
    for name in [election::NAME, question::NAME] {
        delete(&leases, name, &mut done).await?;
    }
    let services = Api::<Service>::namespaced(client.clone(), NAMESPACE);
    if let Some(service) = get(&services, DNS).await?.filter(|service| is_made(service.labels())) {
        delete_one(&services, DNS, service.uid(), &mut done).await?;
    }
    Ok(done)
}

/// Removes the conditions of `node` that Seaway has written. Those of another network stay.
async fn conditions(
    nodes: &Api<Node>,
    node: &NodeName,
    done: &mut Uninstalled,
) -> Result<(), UninstallError> {
    let Some(object) = get(nodes, node.as_str()).await? else { return Ok(()) };
    let there = object.status.and_then(|status| status.conditions).unwrap_or_default();
    let ours = there.iter().filter(|condition| match condition.type_.as_str() {
        NETWORK_PRESSURE => true,
        NETWORK_UNAVAILABLE => {
            condition.reason.as_deref().is_some_and(|reason| reason.starts_with("Seaway"))
        }
        _ => false,
    });
    let ours: Vec<&str> = ours.map(|condition| condition.type_.as_str()).collect();
    if ours.is_empty() {
        return Ok(());
    }
    let gone: Vec<Value> =
        ours.iter().map(|kind| json!({ "type": kind, "$patch": "delete" })).collect();
    let patch = Patch::Strategic(json!({ "status": { "conditions": gone } }));
    let patched = nodes.patch_status(node.as_str(), &PatchParams::default(), &patch).await;
    patched.map_err(fail("remove conditions of", format!("Node {node}")))?;
    done.gone.extend(ours.iter().map(|kind| format!("condition {kind} of Node {node}")));
    Ok(())
}

/// The object called `name`, if there is one.
async fn get<K>(api: &Api<K>, name: &str) -> Result<Option<K>, UninstallError>
where
    K: kube_rs::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    if name.is_empty() {
        return Ok(None);
    }
    api.get_opt(name).await.map_err(fail("get", format!("{} {name}", K::kind(&()))))
}

async fn delete(
    leases: &Api<Lease>,
    name: &str,
    done: &mut Uninstalled,
) -> Result<(), UninstallError> {
    delete_one(leases, name, None, done).await
}

/// Deletes the object called `name`, if it is there, and has this `uid` if one is said.
async fn delete_one<K>(
    api: &Api<K>,
    name: &str,
    uid: Option<String>,
    done: &mut Uninstalled,
) -> Result<(), UninstallError>
where
    K: kube_rs::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let object = format!("{} {NAMESPACE}/{name}", K::kind(&()));
    let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::background() };
    match api.delete(name, &params).await {
        Ok(_) => done.gone.push(object),
        // Somebody else was faster.
        Err(Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(cause) => return Err(fail("delete", object)(cause)),
    }
    Ok(())
}
