//! Keeps what leads clients to cluster DNS: Service `kube-system/kube-dns`, and every node as an endpoint
//! of it. A node answers its own clients itself; the endpoints are who is asked while it does not.
//!
//! Whoever wants other DNS servers gives the Service a selector: the endpoints are theirs then.
//!
//! Source: kubeadm, which gives the Service the tenth address of its range.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::Family;
use serde_json::{Value, json};

use super::endpoint_slices::{MANAGED_BY, SERVICE, ZONE, endpoints::selector};
use super::node_lifecycle::is_ready;
use super::runtime::{Action, Change, Cluster, Controller, Keys, Plan, Turn, Write};
use crate::services;
use crate::spec::Spec;

/// The one key of this controller.
const KEY: &str = "kube-system/kube-dns";
/// Who keeps the slices.
const KEEPER: &str = "seaway-lab";
/// Port at which nodes answer each other: the agent's default.
const PORT: u16 = 10053;

/// The controller of the Service of cluster DNS.
pub(super) struct DnsService(pub(super) Arc<Spec>);

impl Controller for DnsService {
    fn name(&self) -> &'static str {
        "cluster-dns"
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "most kinds are nothing to this one")]
    fn concerns(&mut self, _: &Cluster, change: &Change, keys: &mut Keys) {
        let is_ours = match change {
            Change::Service(changed) => &*changed.key == KEY,
            Change::EndpointSlice(changed) => {
                Family::ALL.iter().any(|family| *changed.key == slice_key(*family))
            }
            Change::Node(_) => true,
            _ => false,
        };
        if is_ours {
            keys.add(KEY);
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, _: &Turn<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let addresses = services::dns_addresses(&self.0);
        let Some(service) = cluster.services.get(key) else {
            let made = serde_json::from_value::<Service>(service(&addresses)).ok();
            let made = made.filter(|_| !addresses.is_empty());
            plan.writes.extend(made.map(|service| Write::new(Action::Create, service)));
            return plan;
        };
        let is_ours = selector(service).is_none() && service.metadata.deletion_timestamp.is_none();
        let families = addresses.iter().map(|address| Family::of(*address));
        for family in families {
            let there = cluster.endpoint_slices.get(&slice_key(family));
            plan.writes.extend(match is_ours {
                true => kept(service, there.map(|slice| &**slice), cluster, family),
                false => there.map(|slice| {
                    Write::new(Action::Delete { grace: None }, EndpointSlice::clone(slice))
                }),
            });
        }
        plan
    }
}

fn service(addresses: &[IpAddr]) -> Value {
    let policy = if addresses.len() > 1 { "RequireDualStack" } else { "SingleStack" };
    let labels = json!({ "k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS",
        "kubernetes.io/cluster-service": "true" });
    let port = |name, protocol| json!({ "name": name, "port": 53, "protocol": protocol, "targetPort": PORT });
    json!({ "metadata": { "name": "kube-dns", "namespace": "kube-system", "labels": labels }, "spec": {
        "type": "ClusterIP", "clusterIP": addresses.first(), "clusterIPs": addresses,
        "ipFamilyPolicy": policy, "sessionAffinity": "None",
        "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
    } })
}

/// What it takes for the slice of `family` to hold the nodes of now.
fn kept(
    service: &Service,
    there: Option<&EndpointSlice>,
    cluster: &Cluster,
    family: Family,
) -> Option<Write> {
    let wanted = slice(service, cluster, family);
    let Some(there) = there else { return Some(Write::new(Action::Create, wanted)) };
    if (&there.endpoints, &there.ports) == (&wanted.endpoints, &wanted.ports) {
        return None;
    }
    let kept = EndpointSlice { endpoints: wanted.endpoints, ports: wanted.ports, ..there.clone() };
    Some(Write::new(Action::Replace, kept))
}

fn slice(service: &Service, cluster: &Cluster, family: Family) -> EndpointSlice {
    let nodes = cluster.nodes.iter().map(|(_, node)| &**node);
    let endpoints: Vec<Value> = nodes.flat_map(|node| endpoint(node, family)).collect();
    let owner = json!({ "apiVersion": "v1", "kind": "Service", "name": "kube-dns",
        "uid": service.metadata.uid, "controller": true });
    let metadata = json!({ "name": slice_name(family), "namespace": "kube-system",
        "labels": { SERVICE: "kube-dns", MANAGED_BY: KEEPER }, "ownerReferences": [owner] });
    let port = |name, protocol| json!({ "name": name, "port": PORT, "protocol": protocol });
    let slice = json!({ "metadata": metadata, "addressType": type_of(family), "endpoints": endpoints,
        "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")] });
    serde_json::from_value(slice).expect("it is written as the type is read")
}

/// The node's own address of `family`, if it has one.
fn endpoint(node: &Node, family: Family) -> Option<Value> {
    let status = node.status.as_ref()?;
    let internal = status.addresses.iter().flatten().filter(|it| it.type_ == "InternalIP");
    let mut addresses = internal.filter_map(|it| it.address.parse::<IpAddr>().ok());
    let address = addresses.find(|address| Family::of(*address) == family)?;
    let is_ready = is_ready(node) && node.metadata.deletion_timestamp.is_none();
    let name = node.metadata.name.as_deref()?;
    let mut endpoint = json!({ "addresses": [address], "nodeName": name,
        "conditions": { "ready": is_ready, "serving": is_ready, "terminating": false },
        "targetRef": { "kind": "Node", "name": name, "uid": node.metadata.uid } });
    if let Some(zone) = node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE)) {
        endpoint["zone"] = json!(zone);
    }
    Some(endpoint)
}

fn slice_key(family: Family) -> String {
    format!("kube-system/{}", slice_name(family))
}

fn slice_name(family: Family) -> String {
    format!("kube-dns-{family}")
}

fn type_of(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::runtime::testing::World;

    fn controller() -> DnsService {
        DnsService(Arc::new(Spec::new("lab".parse().unwrap())))
    }

    fn node(number: u8, ready: &str) -> Value {
        let addresses = [
            json!({ "type": "Hostname", "address": format!("node-{number}") }),
            json!({ "type": "InternalIP", "address": format!("10.80.1.1{number}") }),
            json!({ "type": "InternalIP", "address": format!("fd00:80:1::1{number}") }),
        ];
        json!({ "metadata": { "name": format!("node-{number}"), "namespace": "" },
            "status": { "addresses": addresses, "conditions": [{ "type": "Ready", "status": ready }] } })
    }

    /// `address ready` of every endpoint.
    fn endpoints(world: &World) -> Vec<String> {
        let slices = world.cluster.endpoint_slices.iter();
        let endpoints = slices.flat_map(|(_, slice)| slice.endpoints.clone());
        let line = |endpoint: k8s_openapi::api::discovery::v1::Endpoint| {
            let ready = endpoint.conditions.and_then(|conditions| conditions.ready);
            format!("{} {}", endpoint.addresses[0], ready.unwrap_or(true))
        };
        endpoints.map(line).collect()
    }

    #[test]
    fn every_node_is_an_endpoint_of_cluster_dns_and_ready_as_the_node_is() {
        let mut world = World::new();
        world.put::<Node>(&node(1, "True")).put::<Node>(&node(2, "Unknown"));
        let mut controller = controller();
        let made = world.made::<Node>("node-1");
        let told = world.told(&mut controller, made);
        assert_eq!(told, [KEY]);
        let done = world.settle(&mut controller, KEY);
        assert_eq!(done[0], "create Service kube-system/kube-dns");
        let service = world.cluster.services.get(KEY).unwrap().spec.clone().unwrap();
        assert_eq!(service.cluster_ips.unwrap(), ["10.96.0.10", "fd00:10:96::a"]);
        let all =
            ["10.80.1.11 true", "10.80.1.12 false", "fd00:80:1::11 true", "fd00:80:1::12 false"];
        assert_eq!(endpoints(&world), all);
        world.put::<Node>(&node(2, "True"));
        let done = world.settle(&mut controller, KEY);
        assert_eq!(done.len(), 2, "{done:?}");
        assert!(endpoints(&world).iter().all(|line| line.ends_with("true")));
        world.remove::<EndpointSlice>("kube-system/kube-dns-ipv6");
        world.remove::<Node>("node-1");
        world.settle(&mut controller, KEY);
        assert_eq!(endpoints(&world), ["10.80.1.12 true", "fd00:80:1::12 true"]);
    }

    #[test]
    fn a_service_with_a_selector_has_endpoints_of_its_own() {
        let mut world = World::new();
        world.put::<Node>(&node(1, "True"));
        let mut controller = controller();
        world.settle(&mut controller, KEY);
        let mut service =
            serde_json::to_value(&**world.cluster.services.get(KEY).unwrap()).unwrap();
        service["spec"]["selector"] = json!({ "app": "coredns" });
        world.put::<Service>(&service);
        world.settle(&mut controller, KEY);
        assert_eq!(endpoints(&world), [""; 0]);
    }
}
