//! Keeps the EndpointSlices of Services: of those with a selector from the pods it selects, of the
//! others from the Endpoints that somebody wrote by hand.
//!
//! ```text
//! Service + pods ──► endpoints ──┐
//!                                ├──► groups: one family, one set of ports ──► pack: slices of up to 100
//! Service + Endpoints ─► mirror ─┘
//! ```
//!
//! Source: Kubernetes, `pkg/controller/endpointslice`, `pkg/controller/endpointslicemirroring` and
//! `staging/src/k8s.io/endpointslice`; KEP-752, KEP-1672 (terminating), KEP-4444 and KEP-3015 (traffic
//! distribution). The proportional hints of `service.kubernetes.io/topology-mode` are not made.

pub(super) mod endpoints;
pub(super) mod mirror;
mod pack;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::runtime::{Change, Changed, Cluster, Controller, Keys, Plan, Turn};

/// The label that says which Service a slice is of.
pub(super) const SERVICE: &str = "kubernetes.io/service-name";
/// The label that says who keeps a slice.
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The zone of a node.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";

/// Endpoints of one family that have the same ports.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    family: &'static str,
    ports: Vec<EndpointPort>,
    /// By address.
    endpoints: BTreeMap<String, Endpoint>,
}

/// Who keeps a slice, and what of its Service it repeats.
#[derive(Debug, Clone, PartialEq)]
struct Maker {
    name: &'static str,
    /// Labels of the Service that mean something else on a slice.
    reserved: &'static [&'static str],
}

const SLICES: Maker = Maker {
    name: "endpointslice-controller.k8s.io",
    reserved: &[SERVICE, MANAGED_BY, pack::HEADLESS],
};
const MIRROR: Maker =
    Maker { name: "endpointslicemirroring-controller.k8s.io", reserved: SLICES.reserved };

/// The controller of EndpointSlices.
pub(super) struct EndpointSlices;

impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most kinds have nothing to do with Services"
    )]
    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        match change {
            Change::Service(changed) => keys.add(changed.key.clone()),
            Change::Endpoints(changed) => keys.add(changed.key.clone()),
            Change::EndpointSlice(changed) => {
                keys.extend(changed.states().filter_map(|s| owner(s)))
            }
            Change::Pod(changed) => {
                for pod in changed.states() {
                    keys.extend(selecting(cluster, pod));
                }
            }
            Change::Node(changed) if is_moved(changed) => {
                let name = changed.last().and_then(|node| node.metadata.name.as_deref());
                let pods = name.into_iter().flat_map(|name| cluster.pods.on_node(name));
                pods.for_each(|pod| keys.extend(selecting(cluster, pod)));
            }
            _ => {}
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let service = cluster.services.get(key).filter(|s| s.metadata.deletion_timestamp.is_none());
        let Some(service) = service else { return Plan::nothing() };
        let (by_selector, by_hand) = match endpoints::selector(service) {
            _ if is_elsewhere(service) => (Vec::new(), Vec::new()),
            Some(_) => (endpoints::groups(cluster, service), Vec::new()),
            None => (Vec::new(), mirror::groups(cluster, key)),
        };
        let slices = of_service(cluster, service);
        let mut plan = Plan::nothing();
        for (maker, groups) in [(&SLICES, by_selector), (&MIRROR, by_hand)] {
            let own = slices.iter().filter(|slice| label(slice, MANAGED_BY) == Some(maker.name));
            let own = own.copied().cloned().collect();
            plan.writes.extend(pack::writes(service, maker, groups, own, turn.now));
        }
        plan
    }
}

/// Keys of the Services that select `pod`.
pub(super) fn selecting(cluster: &Cluster, pod: &Pod) -> Vec<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = pod.metadata.labels.as_ref();
    let has = |(key, value): (&String, &String)| labels.and_then(|l| l.get(key)) == Some(value);
    let services = cluster.services.in_namespace(namespace);
    let selecting = services.filter(|service| {
        endpoints::selector(service).is_some_and(|selector| selector.iter().all(has))
    });
    let name = |service: &std::sync::Arc<Service>| service.metadata.name.clone();
    selecting.filter_map(name).map(|name| format!("{namespace}/{name}")).collect()
}

/// Whether the Service is a name for something else and has no endpoints.
fn is_elsewhere(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName")
}

fn of_service<'c>(cluster: &'c Cluster, service: &Service) -> Vec<&'c EndpointSlice> {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let name = service.metadata.name.clone().unwrap_or_default();
    let label = BTreeMap::from([(SERVICE.to_owned(), name)]);
    let slices: Vec<_> = cluster.endpoint_slices.labeled(namespace, &label).cloned().collect();
    let keep = |slice: &std::sync::Arc<EndpointSlice>| {
        cluster.endpoint_slices.named(namespace, slice.metadata.name.as_deref()?).map(|s| &**s)
    };
    slices.iter().filter_map(keep).filter(|s| s.metadata.deletion_timestamp.is_none()).collect()
}

fn owner(slice: &EndpointSlice) -> Option<String> {
    let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
    Some(format!("{namespace}/{}", label(slice, SERVICE)?))
}

fn label<'a>(slice: &'a EndpointSlice, name: &str) -> Option<&'a str> {
    slice.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

/// Whether a node's zone is another than it was.
fn is_moved(changed: &Changed<k8s_openapi::api::core::v1::Node>) -> bool {
    let zone = |node: &std::sync::Arc<k8s_openapi::api::core::v1::Node>| {
        node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE).cloned())
    };
    changed.old.as_ref().and_then(zone) != changed.new.as_ref().and_then(zone)
}
