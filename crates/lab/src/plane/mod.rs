//! The lab's control plane: what a Kubernetes control plane decides beside its API server, as small
//! level-triggered controllers. They speak to the API server over HTTP as anyone does. What
//! namespaces come with is the API server's own doing.
//!
//! | controller | decides | like |
//! |---|---|---|
//! | `node_cidrs` | `Node.spec.podCIDRs` | node-ipam-controller |
//! | `scheduler` | `Pod.spec.nodeName` | kube-scheduler |
//! | `replica_set`, `deployment`, `stateful_set`, `daemon_set`, `job`, `cron_job` | the pods of those kinds | the controllers of that name |
//! | `budget` | how many pods of a PodDisruptionBudget may be evicted | disruption |
//! | `endpoint_slices`, `endpoints` | who answers for a Service | endpointslice, endpointslicemirroring and endpoint controllers |
//! | `service_cidrs` | IPAddresses, conditions of ServiceCIDRs | the API server's repair loops, service-cidrs-controller |
//! | `api_service` | Service `default/kubernetes` and range `kubernetes` | the API server's own controllers |
//! | [`node_health`] | `Ready` of nodes that fell silent, taints of nodes, the end of pods without a node | node-lifecycle, podgc |
//! | `taint_eviction` | the end of pods that do not tolerate a node's taints | taint-eviction |

mod api_service;
mod budget;
mod claim;
mod cron_job;
mod daemon_set;
mod deployment;
mod endpoint_slices;
mod endpoints;
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
mod scheduler;
mod selector;
mod service_cidrs;
mod stateful_set;
mod taint_eviction;

use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube_rs::{Api, Client};
use tokio::task::JoinSet;

use crate::spec::Spec;

/// Runs all controllers until the future is dropped.
pub async fn run(client: Client, spec: Arc<Spec>) {
    let mut controllers = JoinSet::new();
    let nodes = level::watch(Api::<Node>::all(client.clone()), &mut controllers);
    let pods = level::watch(Api::<Pod>::all(client.clone()), &mut controllers);
    let leases = Api::<Lease>::namespaced(client.clone(), node_health::LEASES);
    let leases = level::watch(leases, &mut controllers);
    controllers.spawn(node_cidrs::run(client.clone(), nodes.clone(), spec.clone()));
    controllers.spawn(node_health::run(client.clone(), nodes, pods, leases));
    let seats: Vec<Box<dyn runtime::Controller>> = vec![
        Box::<scheduler::Scheduler>::default(),
        Box::new(replica_set::ReplicaSets),
        Box::new(deployment::Deployments),
        Box::new(stateful_set::StatefulSets),
        Box::new(daemon_set::DaemonSets),
        Box::new(job::Jobs),
        Box::new(cron_job::CronJobs),
        Box::new(budget::Budgets),
        Box::<taint_eviction::TaintEviction>::default(),
        Box::new(endpoint_slices::EndpointSlices),
        Box::new(endpoints::Endpoints),
        Box::new(service_cidrs::Addresses::default()),
        Box::new(service_cidrs::Ranges),
        Box::new(api_service::ApiService(spec)),
    ];
    controllers.spawn(runtime::run(client, seats));
    while controllers.join_next().await.is_some() {}
}

/// Whether an API error only says that somebody was faster: what was to be made is there, what was to
/// be changed has changed, what was to be removed is gone. The next level tells.
pub(crate) fn is_overtaken(error: &kube_rs::Error) -> bool {
    matches!(error, kube_rs::Error::Api(status) if matches!(status.code, 404 | 409))
}
