//! The lab's control plane: what a Kubernetes control plane decides beside its API server, as small
//! level-triggered controllers. They speak to the API server over HTTP as anyone does. What
//! namespaces come with is the API server's own doing.
//!
//! | controller | decides | like |
//! |---|---|---|
//! | `node_cidrs` | `Node.spec.podCIDRs` | node-ipam-controller |
//! | [`scheduler`] | `Pod.spec.nodeName` | kube-scheduler |
//! | `replica_set`, `deployment`, `stateful_set`, `daemon_set`, `job` | the pods of those kinds | the controllers of that name |
//! | [`node_health`] | `Ready` of nodes that fell silent, and what becomes of their pods | node-lifecycle, podgc |

mod claim;
mod daemon_set;
mod deployment;
mod history;
mod job;
pub mod level;
mod node_cidrs;
pub mod node_health;
mod numbers;
mod placement;
mod pods;
mod replica_set;
pub(crate) mod runtime;
pub mod scheduler;
mod selector;
mod stateful_set;

use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube_rs::{Api, Client};
use tokio::task::JoinSet;

use crate::events::Events;
use crate::spec::Spec;

/// Runs all controllers until the future is dropped.
pub async fn run(client: Client, spec: Arc<Spec>) {
    let mut controllers = JoinSet::new();
    let nodes = level::watch(Api::<Node>::all(client.clone()), &mut controllers);
    let pods = level::watch(Api::<Pod>::all(client.clone()), &mut controllers);
    let leases = Api::<Lease>::namespaced(client.clone(), node_health::LEASES);
    let leases = level::watch(leases, &mut controllers);
    controllers.spawn(node_cidrs::run(client.clone(), nodes.clone(), spec));
    let events = Events::start(client.clone(), "default-scheduler", None);
    controllers.spawn(scheduler::run(client.clone(), events, nodes.clone(), pods.clone()));
    controllers.spawn(node_health::run(client.clone(), nodes, pods, leases));
    let seats: Vec<Box<dyn runtime::Controller>> = vec![
        Box::new(replica_set::ReplicaSets),
        Box::new(deployment::Deployments),
        Box::new(stateful_set::StatefulSets),
        Box::new(daemon_set::DaemonSets),
        Box::new(job::Jobs),
    ];
    controllers.spawn(runtime::run(client, seats));
    while controllers.join_next().await.is_some() {}
}

/// Whether an API error only says that somebody was faster: what was to be made is there, what was to
/// be changed has changed, what was to be removed is gone. The next level tells.
pub(crate) fn is_overtaken(error: &kube_rs::Error) -> bool {
    matches!(error, kube_rs::Error::Api(status) if matches!(status.code, 404 | 409))
}
