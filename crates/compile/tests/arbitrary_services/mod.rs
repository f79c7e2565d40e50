//! Arbitrary Services, slices and nodes, few enough that they get into each other's way.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::{
    Conditions, Config, Endpoint, EndpointPort, EndpointSlice, Family, Hints, Host, Node, NodeName,
    Protocol, Service, ServiceCidr, ServiceKind, ServiceName, ServicePort, SliceKey, TrafficPolicy,
    Uplink, World,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Something that happens to a World.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Put(Service),
    Delete(ServiceName),
    PutSlice(EndpointSlice),
    DeleteSlice(SliceKey),
    PutCidr(Vec<IpNet>),
    Zone(usize, Option<String>),
    /// A third node is there, or is not.
    Third(bool),
    ExternalIps(Vec<IpNet>),
    MasqueradeAll(bool),
    /// The machine has its IPv4 address, or has not.
    Address(bool),
}

/// The node that is looked at.
pub(crate) fn me() -> NodeName {
    "node-1".into()
}

/// A World with two nodes and nothing else.
pub(crate) fn world() -> World {
    let mut world =
        World { config: Config { node: me(), ..Config::default() }, ..World::default() };
    for i in 1..=2 {
        put_node(&mut world, i, Some("east"));
    }
    set_address(&mut world, true);
    world
}

fn put_node(world: &mut World, i: usize, zone: Option<&str>) {
    let node = Node {
        name: NodeName(format!("node-{i}")),
        zone: zone.map(str::to_owned),
        is_leaving: false,
        internal_ips: vec![ip(&format!("192.0.2.{i}")), ip(&format!("2001:db8::{i}"))],
        pod_cidrs: vec![net(&format!("10.244.{i}.0/24")), net(&format!("fd00:10:244:{i}::/64"))],
    };
    world.nodes.insert(node.name.clone(), Arc::new(node));
}

fn set_address(world: &mut World, has_it: bool) {
    let mut addrs = vec![net("2001:db8::1/64")];
    addrs.extend(has_it.then(|| net("192.0.2.1/24")));
    let uplink = Uplink { name: "eth0".parse().expect("a name"), mtu: 1500, addrs };
    world.host = Host { uplinks: vec![uplink] };
}

/// `world` after `event`.
pub(crate) fn happen(world: &mut World, event: Event) {
    match event {
        Event::Put(service) => {
            world.services.insert(service.name.clone(), Arc::new(service));
        }
        Event::Delete(name) => {
            world.services.remove(&name);
        }
        Event::PutSlice(slice) => {
            world.slices.insert(slice.key.clone(), Arc::new(slice));
        }
        Event::DeleteSlice(key) => {
            world.slices.remove(&key);
        }
        Event::PutCidr(cidrs) => {
            let row = ServiceCidr { name: "kubernetes".into(), cidrs };
            world.service_cidrs.insert(row.name.clone(), Arc::new(row));
        }
        Event::Zone(i, zone) => put_node(world, i, zone.as_deref()),
        Event::Third(true) => put_node(world, 3, None),
        Event::Third(false) => {
            world.nodes.remove(&NodeName::from("node-3"));
        }
        Event::ExternalIps(nets) => world.config.external_ips = nets,
        Event::MasqueradeAll(all) => world.config.masquerade_all = all,
        Event::Address(has_it) => set_address(world, has_it),
    }
}

/// Anything that can happen.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let cidrs = || subsequence(vec![net("10.96.0.0/24"), net("fd00:96::/112")], 0..=2);
    let allowed =
        subsequence(vec![net("203.0.113.0/24"), net("192.0.2.0/24"), net("10.0.0.0/8")], 0..=3);
    prop_oneof![
        8 => service().prop_map(Event::Put),
        2 => name().prop_map(Event::Delete),
        8 => slice().prop_map(Event::PutSlice),
        2 => slice_key().prop_map(Event::DeleteSlice),
        1 => cidrs().prop_map(Event::PutCidr),
        1 => (1usize..=2, zone()).prop_map(|(i, zone)| Event::Zone(i, zone)),
        1 => any::<bool>().prop_map(Event::Third),
        1 => allowed.prop_map(Event::ExternalIps),
        1 => any::<bool>().prop_map(Event::MasqueradeAll),
        1 => any::<bool>().prop_map(Event::Address),
    ]
}

/// Every address that a frontend of such a World may have, and some that none has.
pub(crate) fn destinations() -> Vec<IpAddr> {
    let mut all = external();
    all.extend((0..4).flat_map(|i| [ip(&format!("10.96.0.{i}")), ip(&format!("fd00:96::{i}"))]));
    all.extend(["192.0.2.1", "192.0.2.2", "2001:db8::1", "203.0.113.99"].map(ip));
    all
}

/// Ports that may be open, and one that is not.
pub(crate) const PORTS: [u16; 5] = [53, 80, 30053, 30080, 9];

/// Addresses to come from.
pub(crate) fn sources() -> Vec<IpAddr> {
    ["198.51.100.7", "192.0.2.1", "10.244.1.2", "203.0.113.1", "2001:db8:9::7", "fd00:10:244:1::2"]
        .map(ip)
        .into()
}

fn external() -> Vec<IpAddr> {
    ["203.0.113.1", "203.0.113.2", "10.244.1.9", "10.96.0.1", "192.0.2.2", "2001:db8:1::1"]
        .map(ip)
        .into()
}

fn name() -> impl Strategy<Value = ServiceName> {
    select(vec!["api", "dns", "web"]).prop_map(|name| ServiceName::new("ns", name))
}

fn zone() -> impl Strategy<Value = Option<String>> {
    select(vec![None, Some("east"), Some("west")]).prop_map(|zone| zone.map(str::to_owned))
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}

fn service() -> impl Strategy<Value = Service> {
    let kinds = [
        ServiceKind::ClusterIp,
        ServiceKind::NodePort,
        ServiceKind::LoadBalancer,
        ServiceKind::LoadBalancer,
        ServiceKind::ExternalName,
    ];
    let proxy = select(vec![None, None, None, Some("seaway"), Some("others")]);
    let families = select(vec!["4", "6", "46", "64", ""]);
    let ranges = vec![net("198.51.100.0/24"), net("192.0.2.0/24"), net("2001:db8:9::/48")];
    let ranges = prop_oneof![
        2 => Just(Vec::new()),
        3 => subsequence(ranges, 1..=3),
        1 => Just(vec![net("0.0.0.0/0")]),
    ];
    let basics = (name(), proxy, select(kinds.to_vec()), families, 0u8..4, ports());
    let rest = (policy(), policy(), any::<bool>(), subsequence(external(), 0..=3));
    (basics, rest, subsequence(external(), 0..=3), ranges).prop_map(
        |((name, proxy, kind, families, at, ports), rest, load_balancer_ips, source_ranges)| {
            let (internal_policy, external_policy, sticky, external_ips) = rest;
            let on_nodes = kind == ServiceKind::NodePort || kind == ServiceKind::LoadBalancer;
            let address = |family| match family {
                '4' => ip(&format!("10.96.0.{at}")),
                _ => ip(&format!("fd00:96::{at}")),
            };
            let closed = |port: ServicePort| ServicePort {
                node_port: port.node_port.filter(|_| on_nodes),
                ..port
            };
            Service {
                name,
                proxy: proxy.map(str::to_owned),
                kind,
                cluster_ips: families.chars().map(address).collect(),
                ports: ports.into_iter().map(closed).collect(),
                internal_policy,
                external_policy,
                affinity: sticky.then_some(Duration::from_secs(60)),
                external_ips,
                load_balancer_ips: match kind {
                    ServiceKind::LoadBalancer => load_balancer_ips,
                    ServiceKind::ClusterIp | ServiceKind::NodePort | ServiceKind::ExternalName => {
                        Vec::new()
                    }
                },
                source_ranges,
                health_check_node_port: Some(32000),
            }
        },
    )
}

fn ports() -> impl Strategy<Value = Vec<ServicePort>> {
    let port = |name: &str, protocol, port, node_port: u16| ServicePort {
        name: name.into(),
        protocol,
        port,
        node_port: Some(node_port).filter(|port| *port != 0),
    };
    let all = vec![
        port("http", Protocol::Tcp, 80, 30080),
        port("dns", Protocol::Udp, 53, 30053),
        port("dns-tcp", Protocol::Tcp, 53, 0),
    ];
    subsequence(all, 1..=3)
}

fn slice_key() -> impl Strategy<Value = SliceKey> {
    (name(), select(vec!["x", "y"]))
        .prop_map(|(service, slice)| SliceKey { service, slice: slice.into() })
}

fn slice() -> impl Strategy<Value = EndpointSlice> {
    let port =
        |(name, protocol, port): (&str, _, _)| EndpointPort { name: name.into(), protocol, port };
    let all =
        [("http", Protocol::Tcp, 8080), ("dns", Protocol::Udp, 5353), ("dns", Protocol::Tcp, 1)];
    let ports = subsequence(all.map(port).to_vec(), 1..=3);
    let family = select(vec![Family::V4, Family::V4, Family::V6]);
    (slice_key(), family, ports, prop::collection::vec(endpoint(), 0..5)).prop_map(
        |(key, family, ports, endpoints)| {
            let of =
                |(at, node, conditions, hints): (u8, Option<&str>, Conditions, Hints)| Endpoint {
                    addr: match (family, at) {
                        (Family::V4, 9) => ip("127.0.0.1"),
                        (Family::V4, _) => ip(&format!("10.244.1.{at}")),
                        (Family::V6, _) => ip(&format!("fd00:10:244:1::{at}")),
                    },
                    node: node.map(NodeName::from),
                    conditions,
                    hints: (hints != Hints::default()).then(|| Box::new(hints)),
                };
            let endpoints = endpoints.into_iter().map(of).collect();
            EndpointSlice { key, family, ports, endpoints, triggered: None }
        },
    )
}

fn endpoint() -> impl Strategy<Value = (u8, Option<&'static str>, Conditions, Hints)> {
    let conditions = prop_oneof![
        3 => Just((true, true, false)),
        2 => Just((false, true, true)),
        1 => any::<(bool, bool, bool)>(),
    ];
    let conditions = conditions.prop_map(|(ready, serving, terminating)| Conditions {
        ready,
        serving,
        terminating,
    });
    let zones = prop_oneof![1 => Just(Vec::new()), 3 => subsequence(vec!["east", "west"], 1..=2)];
    let nodes =
        prop_oneof![2 => Just(Vec::new()), 1 => subsequence(vec!["node-1", "node-2"], 1..=2)];
    let hints = (zones, nodes).prop_map(|(zones, nodes)| Hints {
        zones: zones.into_iter().map(str::to_owned).collect(),
        nodes: nodes.into_iter().map(NodeName::from).collect(),
    });
    (2u8..10, select(vec![None, Some("node-1"), Some("node-2")]), conditions, hints)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}
