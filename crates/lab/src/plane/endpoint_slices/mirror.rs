//! From Endpoints that somebody wrote by hand to endpoints.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{self as core, EndpointAddress, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use super::Group;
use crate::plane::runtime::Cluster;

/// The label of Endpoints that are not to be mirrored.
pub(in crate::plane) const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// The annotation of Endpoints that are a lock, as old leader elections made them.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Most endpoints of one family that are mirrored of a subset (`--mirroring-max-endpoints-per-subset`).
const MOST: usize = 1000;

/// The endpoints of Endpoints `key`, unless they are not for this.
pub(super) fn groups(cluster: &Cluster, key: &str) -> Vec<Group> {
    let Some(endpoints) = cluster.endpoints.get(key).filter(|endpoints| is_mirrored(endpoints))
    else {
        return Vec::new();
    };
    let mut groups: Vec<Group> = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<_> = subset.ports.iter().flatten().map(port).collect();
        for family in ["IPv4", "IPv6"] {
            let mut found = BTreeMap::new();
            let ready = subset.addresses.iter().flatten().map(|address| (address, true));
            let not = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
            for (address, ready) in ready.chain(not).filter(|(a, _)| is_of(a, family)).take(MOST) {
                found.insert(address.ip.clone(), endpoint(address, ready));
            }
            let same = |group: &&mut Group| group.family == family && group.ports == ports;
            match groups.iter_mut().find(same) {
                Some(group) => group.endpoints.extend(found),
                None if found.is_empty() => {}
                None => groups.push(Group { family, ports: ports.clone(), endpoints: found }),
            }
        }
    }
    groups
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let skips = meta.labels.as_ref().and_then(|labels| labels.get(SKIP));
    let is_lock = meta.annotations.as_ref().is_some_and(|all| all.contains_key(LEADER));
    meta.deletion_timestamp.is_none() && skips.is_none_or(|skip| skip != "true") && !is_lock
}

fn is_of(address: &EndpointAddress, family: &str) -> bool {
    address.ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == (family == "IPv4"))
}

fn port(port: &core::EndpointPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    let conditions = EndpointConditions { ready: Some(ready), serving: None, terminating: None };
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(conditions),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}
