//! The lab's control plane: what a Kubernetes control plane decides beside its API server, as small
//! level-triggered controllers. They speak to the API server over HTTP as anyone does. What
//! namespaces come with is the API server's own doing.
//!
//! | controller | decides | like |
//! |---|---|---|
//! | `node_cidrs` | `Node.spec.podCIDRs` | node-ipam-controller |
//! | `scheduler` | `Pod.spec.nodeName` | kube-scheduler |
//! | `replica_set`, `deployment`, `stateful_set`, `daemon_set`, `job`, `cron_job` | the pods of those kinds | the controllers of that name |
//! | `autoscaler` | sizes within their bounds, and why no metric moves them | horizontal-pod-autoscaling |
//! | `budget` | how many pods of a PodDisruptionBudget may be evicted | disruption |
//! | `endpoint_slices`, `endpoints` | who answers for a Service | endpointslice, endpointslicemirroring and endpoint controllers |
//! | `service_cidrs` | IPAddresses, conditions of ServiceCIDRs | the API server's repair loops, service-cidrs-controller |
//! | `api_service` | Service `default/kubernetes` and range `kubernetes` | the API server's own controllers |
//! | `dns_service` | Service `kube-system/kube-dns`, whose endpoints are the nodes | kubeadm, and the controller of DNS pods' endpoints |
//! | [`node_lifecycle`] | conditions of nodes that fell silent and of their pods, taints of nodes | node-lifecycle |
//! | `pod_gc` | the end of pods that no node will end | podgc |
//! | `taint_eviction` | the end of pods that do not tolerate a node's taints | taint-eviction |

mod api_service;
mod autoscaler;
mod budget;
mod claim;
mod cron_job;
mod daemon_set;
mod deployment;
mod dns_service;
mod endpoint_slices;
mod endpoints;
mod history;
mod job;
mod node_cidrs;
pub mod node_lifecycle;
mod numbers;
mod placement;
mod pod_gc;
mod pods;
mod replica_set;
pub(crate) mod runtime;
mod scheduler;
mod selector;
mod service_cidrs;
mod stateful_set;
mod taint_eviction;

use std::collections::BTreeSet;
use std::sync::Arc;

use kube_rs::Client;

use crate::spec::{Spec, SpecError};

pub(crate) use runtime::key as object_key;

/// Runs all controllers of the lab until the future is dropped.
pub async fn run(client: Client, spec: Arc<Spec>) {
    let mut seats = seats(&spec);
    seats.retain(|seat| !spec.no_controllers.iter().any(|name| name == seat.name()));
    runtime::run(client, seats).await;
}

/// Refuses a lab that is to lack a controller that there is none of.
pub(crate) fn check(spec: &Spec) -> Result<(), SpecError> {
    let seats = seats(&Arc::new(spec.clone()));
    let known: BTreeSet<&'static str> = seats.iter().map(|seat| seat.name()).collect();
    match spec.no_controllers.iter().find(|name| !known.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let known = known.into_iter().collect();
            Err(SpecError::Controller { name: name.clone(), known })
        }
    }
}

fn seats(spec: &Arc<Spec>) -> Vec<Box<dyn runtime::Controller>> {
    vec![
        Box::new(node_cidrs::NodeCidrs::new(spec.clone())),
        Box::<node_lifecycle::NodeLifecycle>::default(),
        Box::new(node_lifecycle::pods::SilentPods),
        Box::<pod_gc::PodGc>::default(),
        Box::<scheduler::Scheduler>::default(),
        Box::new(replica_set::ReplicaSets),
        Box::new(deployment::Deployments),
        Box::new(stateful_set::StatefulSets),
        Box::new(daemon_set::DaemonSets),
        Box::new(job::Jobs),
        Box::<cron_job::CronJobs>::default(),
        Box::new(autoscaler::Autoscalers),
        Box::new(budget::Budgets),
        Box::<taint_eviction::TaintEviction>::default(),
        Box::new(endpoint_slices::EndpointSlices),
        Box::new(endpoints::Endpoints),
        Box::new(service_cidrs::Addresses::default()),
        Box::new(service_cidrs::Ranges),
        Box::new(api_service::ApiService(spec.clone())),
        Box::new(dns_service::DnsService(spec.clone())),
    ]
}

/// Whether an API error only says that somebody was faster: what was to be made is there, what was to
/// be changed has changed, what was to be removed is gone. The next level tells.
pub(crate) fn is_overtaken(error: &kube_rs::Error) -> bool {
    matches!(error, kube_rs::Error::Api(status) if matches!(status.code, 404 | 409))
}
