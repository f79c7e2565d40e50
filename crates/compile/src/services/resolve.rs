//! One Service and its slices → what it opens on this node.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use model::{
    EndpointSlice, Family, NodeName, Protocol, Rfc3339, Service, ServiceKind, TrafficPolicy,
};
use plan::Serving;

use super::context::{Own, Reserved};
use super::endpoints::{self, Choice, Here};
use super::frontends::{self, Addresses, Sets};
use super::table::{HealthCheck, PortEntry, Resolved};
use crate::{Fault, Rejected};

/// The value of label `service.kubernetes.io/service-proxy-name` by which a Service asks for us.
const OUR_PROXY_NAME: &str = "seaway";

/// What one Service opens, before others' claims to the same frontends are looked at.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Resolution {
    /// When the Service was made.
    pub(super) created: Option<Rfc3339>,
    pub(super) resolved: Arc<Resolved>,
    pub(super) rejected: Vec<Rejected>,
}

/// Why a Service opens nothing, whatever its endpoints (S-1, S-2).
pub(super) fn is_not_ours(service: &Service) -> Option<String> {
    match &service.proxy {
        Some(proxy) if proxy != OUR_PROXY_NAME => {
            return Some(format!("the proxy {proxy:?} serves it"));
        }
        Some(_) | None => {}
    }
    match service.kind {
        ServiceKind::ExternalName => Some("it is a name in DNS only (ExternalName)".to_owned()),
        ServiceKind::ClusterIp | ServiceKind::NodePort | ServiceKind::LoadBalancer => service
            .cluster_ips
            .is_empty()
            .then(|| "it has no cluster IP (headless, or none given yet)".to_owned()),
    }
}

/// What `service` opens on the node of `own`, given its `slices`.
pub(super) fn resolve(
    service: &Service,
    slices: &[&EndpointSlice],
    own: &Own,
    reserved: &Reserved,
) -> Resolution {
    let (Some(here), None) = (own.here(), is_not_ours(service)) else {
        return Resolution::default();
    };
    let mut rejected = unusable(slices);
    let mut resolved = Resolved::default();
    let mut taken = BTreeSet::new();
    let mut families = Vec::new();
    for family in Family::ALL {
        let found = frontends::addresses(service, family, own, reserved, &mut rejected);
        families.extend(found.map(|addresses| (family, addresses)));
    }
    for port in &service.ports {
        for (family, addresses) in &families {
            let candidates = own.candidates((service, port), slices, *family, here);
            let choice = Choice::among(&candidates, here);
            let local = frontends::needs_local(service);
            let sets = Sets {
                cluster: choice.backends(&candidates, TrafficPolicy::Cluster),
                local: match local {
                    true => choice.backends(&candidates, TrafficPolicy::Local),
                    false => Arc::default(),
                },
            };
            let mut open = frontends::frontends(service, port, addresses, &sets, own);
            open.retain(|frontend| {
                taken.insert((frontend.at, *family, port.protocol, frontend.port))
            });
            if !open.is_empty() {
                resolved.ports.push(PortEntry {
                    name: Arc::clone(&port.name),
                    protocol: port.protocol,
                    family: *family,
                    affinity: service.affinity,
                    cluster: sets.cluster,
                    local: sets.local,
                    serving: match port.protocol {
                        Protocol::Tcp => Serving::default(),
                        Protocol::Udp | Protocol::Sctp => endpoints::serving(&candidates),
                    },
                    frontends: open,
                });
            }
        }
    }
    // Most Services have one port in one family, and there are thousands.
    resolved.ports.shrink_to_fit();
    if !service.ports.is_empty() {
        let vips = |(_, addresses): &(Family, Addresses)| addresses.vips(reserved);
        resolved.vips = families.iter().flat_map(vips).collect();
    }
    resolved.health_checks = health_checks(service, slices, &families, here);
    Resolution { created: service.created, resolved: Arc::new(resolved), rejected }
}

fn health_checks<T>(
    service: &Service,
    slices: &[&EndpointSlice],
    families: &[(Family, T)],
    here: Here<'_>,
) -> Vec<HealthCheck> {
    let Some(port) = frontends::health_check_port(service) else { return Vec::new() };
    let check = |(family, _): &(Family, T)| HealthCheck {
        family: *family,
        port,
        local_endpoints: staying(slices, *family, here.node).len(),
    };
    families.iter().map(check).collect()
}

/// The addresses of `me` that take new connections and are not about to go (S-78).
fn staying(slices: &[&EndpointSlice], family: Family, me: &NodeName) -> BTreeSet<IpAddr> {
    let of_family = slices.iter().filter(|slice| slice.family == family);
    let endpoints = of_family.filter(|s| !s.ports.is_empty()).flat_map(|slice| &slice.endpoints);
    let stays = endpoints.filter(|endpoint| {
        endpoint.node.as_ref() == Some(me)
            && endpoint.conditions.ready
            && !endpoint.conditions.terminating
            && !endpoints::is_special(endpoint.addr)
    });
    stays.map(|endpoint| endpoint.addr).collect()
}

/// Endpoints nothing may be sent to.
fn unusable(slices: &[&EndpointSlice]) -> Vec<Rejected> {
    let mut rejected = Vec::new();
    for slice in slices {
        let bad = slice.endpoints.iter().map(|e| e.addr).filter(|a| endpoints::is_special(*a));
        rejected.extend(bad.map(|addr| Rejected {
            object: format!("EndpointSlice {}/{}", slice.key.service.namespace, slice.key.slice),
            field: "endpoints".to_owned(),
            why: format!("{addr} is no address to send packets to; it is left out"),
            fault: Fault::Invalid,
        }));
    }
    rejected
}
