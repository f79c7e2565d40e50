//! From the pods that a Service selects to endpoints.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Group, ZONE};
use crate::plane::pods;
use crate::plane::runtime::Cluster;

/// A Service's selector, if it has one.
pub(in crate::plane) fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    service.spec.as_ref()?.selector.as_ref().filter(|selector| !selector.is_empty())
}

/// The endpoints of a Service with a selector. A family without endpoints has an empty group, so
/// that whoever waits for its slice finds one.
pub(super) fn groups(cluster: &Cluster, service: &Service) -> Vec<Group> {
    let (Some(spec), Some(selector)) = (&service.spec, selector(service)) else {
        return Vec::new();
    };
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let mut groups: Vec<Group> = Vec::new();
    let families = spec.ip_families.iter().flatten();
    for family in families.filter_map(|family| ["IPv4", "IPv6"].into_iter().find(|f| f == family)) {
        let before = groups.len();
        for pod in cluster.pods.labeled(namespace, selector).filter(|pod| !pods::is_over(pod)) {
            let Some(address) = address(pod, family) else { continue };
            let ports = ports(service, pod);
            let endpoint = endpoint(cluster, service, pod, address.clone());
            let group = groups[before..].iter().position(|group| group.ports == ports);
            let at = group.map_or_else(
                || {
                    groups.push(Group { family, ports, endpoints: BTreeMap::new() });
                    groups.len() - 1
                },
                |at| before + at,
            );
            groups[at].endpoints.insert(address, endpoint);
        }
        if groups.len() == before {
            groups.push(Group { family, ports: Vec::new(), endpoints: BTreeMap::new() });
        }
    }
    groups
}

/// A pod's address of `family`.
pub(in crate::plane) fn address(pod: &Pod, family: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).chain(status.pod_ip.clone());
    let is_of = |text: &String| {
        text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4() == (family == "IPv4"))
    };
    { all }.find(is_of)
}

/// The ports of a Service as they are on `pod`. One that names a port the pod does not have is left
/// out.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
    let port = |port: &ServicePort| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(target(port, pod)?),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
    };
    ports.filter_map(port).collect()
}

/// The number of a Service's port on `pod`.
pub(in crate::plane) fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let is_it = |port: &&k8s_openapi::api::core::v1::ContainerPort| {
        port.name.as_ref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
    };
    ports.find(is_it).map(|port| port.container_port)
}

fn endpoint(cluster: &Cluster, service: &Service, pod: &Pod, address: String) -> Endpoint {
    let spec = service.spec.as_ref();
    let publishes = spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let (serving, terminating) = (pods::is_ready(pod), pods::is_leaving(pod));
    let ready = publishes || (serving && !terminating);
    let node = pods::node_of(pod);
    let zone = node.and_then(|name| cluster.nodes.get(name)?.metadata.labels.as_ref()?.get(ZONE));
    let distribution = spec.and_then(|spec| spec.traffic_distribution.as_deref());
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hints: if ready { hints(distribution, zone, node) } else { None },
        hostname: hostname(service, pod),
        node_name: node.map(str::to_owned),
        target_ref: Some(reference(pod)),
        zone: zone.cloned(),
        deprecated_topology: None,
    }
}

/// For whom an endpoint is, when its Service asks for traffic to stay close (KEP-4444, KEP-3015).
fn hints(
    distribution: Option<&str>,
    zone: Option<&String>,
    node: Option<&str>,
) -> Option<EndpointHints> {
    let for_zones = || zone.map(|zone| vec![ForZone { name: zone.clone() }]);
    match distribution {
        Some("PreferClose" | "PreferSameZone") => {
            Some(EndpointHints { for_zones: Some(for_zones()?), for_nodes: None })
        }
        Some("PreferSameNode") => {
            let for_nodes = Some(vec![ForNode { name: node?.to_owned() }]);
            Some(EndpointHints { for_nodes, for_zones: for_zones() })
        }
        Some(_) | None => None,
    }
}

/// The name under which the pod is found in the Service's domain.
pub(in crate::plane) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let is_below = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|name| is_below && !name.is_empty())
}

/// A pod as endpoints refer to it.
pub(in crate::plane) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}
