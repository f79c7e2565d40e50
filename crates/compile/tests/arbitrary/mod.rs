//! Arbitrary clusters, small enough to read, and the packets worth sending in them.

use std::net::IpAddr;
use std::sync::Arc;

use model::{
    Attachment, AttachmentKey, Config, Family, Host, IfName, Mac, Node, NodeName, OrdMap,
    PodLinkMode, PortMapping, Protocol, Routing, Uplink, World,
};
use oracle::{Cluster, Packet, Sender};
use proptest::prelude::*;

/// The hostPort of every container that has one.
pub(crate) const HOST_PORT: u16 = 8080;

/// One node, as numbers.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Which underlay subnet it is on.
    subnet: u8,
    pods: u8,
    /// Whether its first container has a hostPort.
    host_port: bool,
    fault: Fault,
}

/// What is wrong with a Node object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    NoCidr,
    NoAddress,
    FirstNodesCidr,
}

fn machine() -> impl Strategy<Value = Machine> {
    let fault = prop_oneof![
        7 => Just(Fault::None),
        1 => Just(Fault::NoCidr),
        1 => Just(Fault::NoAddress),
        1 => Just(Fault::FirstNodesCidr),
    ];
    (0u8..2, 0u8..4, any::<bool>(), fault).prop_map(|(subnet, pods, host_port, fault)| Machine {
        subnet,
        pods,
        host_port,
        fault,
    })
}

fn config() -> impl Strategy<Value = Config> {
    let pod_link = prop_oneof![Just(PodLinkMode::Routed), Just(PodLinkMode::Bridge)];
    let routing = prop_oneof![Just(Routing::Auto), Just(Routing::Direct), Just(Routing::Vxlan)];
    (pod_link, routing, any::<bool>(), any::<bool>()).prop_map(
        |(pod_link, routing, masquerade, excepted)| Config {
            pod_link,
            routing,
            masquerade,
            non_masquerade_cidrs: if excepted {
                vec![net("203.0.113.0/24"), net("192.0.0.0/16")]
            } else {
                Vec::new()
            },
            ..Config::default()
        },
    )
}

/// One to four nodes on two subnets, of either or both families; one in three Nodes after the first
/// may have something wrong with it.
pub(crate) fn cluster() -> impl Strategy<Value = Cluster> {
    let families = prop_oneof![
        Just(vec![Family::V4]),
        Just(vec![Family::V6]),
        Just(vec![Family::V4, Family::V6]),
        Just(vec![Family::V6, Family::V4]),
    ];
    (config(), families, prop::collection::vec(machine(), 1..5)).prop_map(
        |(config, families, mut machines)| {
            machines[0].fault = Fault::None;
            build(&config, &families, &machines)
        },
    )
}

fn build(config: &Config, families: &[Family], machines: &[Machine]) -> Cluster {
    let nodes: OrdMap<NodeName, Arc<Node>> = (1u8..)
        .zip(machines)
        .map(|(i, machine)| {
            let cidr_of = if machine.fault == Fault::FirstNodesCidr { 1 } else { i };
            let cidrs = families.iter().map(|family| pod_cidr(*family, cidr_of)).collect();
            let ips = families.iter().map(|family| node_ip(*family, machine.subnet, i)).collect();
            let node = Node {
                name: name(i),
                zone: None,
                is_leaving: false,
                internal_ips: if machine.fault == Fault::NoAddress { Vec::new() } else { ips },
                pod_cidrs: if machine.fault == Fault::NoCidr { Vec::new() } else { cidrs },
            };
            (node.name.clone(), Arc::new(node))
        })
        .collect();
    let worlds = (1u8..).zip(machines).map(|(i, machine)| {
        let on_subnet = |family: &Family| {
            let length = if *family == Family::V4 { 24 } else { 64 };
            ipnet::IpNet::new(node_ip(*family, machine.subnet, i), length).expect("it fits")
        };
        let addrs = families.iter().map(on_subnet).collect();
        let uplink = Uplink { name: ifname("eth0"), mtu: 1500, addrs };
        let pods = if machine.fault == Fault::None { machine.pods } else { 0 };
        let attachments = (0..pods).map(|pod| {
            let ports = u16::from(machine.host_port && pod == 0);
            let attachment = attachment(families, i, pod, ports);
            (attachment.key.clone(), Arc::new(attachment))
        });
        let world = World {
            config: Config { node: name(i), ..config.clone() },
            host: Host { uplinks: vec![uplink] },
            nodes: nodes.clone(),
            attachments: attachments.collect(),
            ..World::default()
        };
        (name(i), world)
    });
    worlds.collect()
}

/// Container `pod` of node `i`, with its first `ports` (0 or 1) hostPorts.
pub(crate) fn attachment(families: &[Family], i: u8, pod: u8, ports: u16) -> Attachment {
    let key =
        AttachmentKey { container_id: format!("pod-{i}-{pod}").into(), ifname: ifname("eth0") };
    let mapping = |at| PortMapping {
        host_port: HOST_PORT + at,
        container_port: 80,
        protocol: Protocol::Tcp,
        host_ip: None,
    };
    Attachment {
        network: "seaway".to_owned(),
        netns: format!("/run/netns/{}", key.container_id).into(),
        pod: None,
        addrs: families.iter().map(|family| pod_ip(*family, i, pod)).collect(),
        mac: Mac::derive(&format!("pod/{key}")),
        port_mappings: (0..ports).map(mapping).collect(),
        key,
    }
}

/// A sender of `cluster` and a packet: to a pod, a node, a hole in a pod CIDR, or outside; a few lie
/// about their source.
pub(crate) fn packet(
    cluster: &Cluster,
    family: Family,
    who: prop::sample::Index,
    whom: prop::sample::Index,
    what: prop::sample::Index,
) -> Option<(Sender, Packet)> {
    let addr_of = |addrs: &[IpAddr]| addrs.iter().copied().find(|a| Family::of(*a) == family);
    let (mut senders, mut targets) = (Vec::new(), Vec::new());
    let outside = if family == Family::V4 { "203.0.113.9" } else { "2001:db8:1::9" };
    let outside: IpAddr = outside.parse().ok()?;
    senders.push((Sender::Outside, outside));
    for (node, world) in cluster {
        for (key, attachment) in &world.attachments {
            let Some(addr) = addr_of(&attachment.addrs) else { continue };
            senders.push((Sender::Pod(node.clone(), key.clone()), addr));
            targets.push(addr);
        }
        if let Some(addr) = world.nodes[node].internal_ip(family) {
            senders.push((Sender::Node(node.clone()), addr));
            targets.push(addr);
        }
    }
    let hole = if family == Family::V4 { "10.244.2.99" } else { "fd00:10:244:2::99" };
    targets.extend([hole.parse().ok()?, outside]);
    let (sender, own) = senders[who.index(senders.len())].clone();
    let dst = targets[whom.index(targets.len())];
    let kinds = [(6, 80), (6, HOST_PORT), (17, 53), (17, 8472), (17, HOST_PORT)];
    let (protocol, dport) = kinds[what.index(kinds.len())];
    let lies = matches!(sender, Sender::Pod(..)) && who.index(7) == 0;
    let src = if lies { targets[what.index(targets.len())] } else { own };
    Some((sender, Packet { src, dst, protocol, dport }))
}

fn name(i: u8) -> NodeName {
    NodeName(format!("node-{i}"))
}

fn ifname(text: &str) -> IfName {
    IfName::new(text).expect("a plain name")
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().expect("a prefix")
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn pod_cidr(family: Family, i: u8) -> ipnet::IpNet {
    match family {
        Family::V4 => net(&format!("10.244.{i}.0/24")),
        Family::V6 => net(&format!("fd00:10:244:{i}::/64")),
    }
}

fn pod_ip(family: Family, i: u8, pod: u8) -> IpAddr {
    match family {
        Family::V4 => addr(&format!("10.244.{i}.{}", pod + 2)),
        Family::V6 => addr(&format!("fd00:10:244:{i}::{}", pod + 2)),
    }
}

fn node_ip(family: Family, subnet: u8, i: u8) -> IpAddr {
    match family {
        Family::V4 => addr(&format!("192.0.{subnet}.{i}")),
        Family::V6 => addr(&format!("2001:db8:{subnet}::{i}")),
    }
}
