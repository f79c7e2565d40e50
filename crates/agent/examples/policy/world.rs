//! A cluster of 100 nodes with many pods and policies, as the World of one of them.
//!
//! Namespaces and apps make a thousand workloads. Each may have up to ten policies: each lets one workload in,
//! and out to it, at one port, and one of them names the workload itself. So the rules that a connection
//! within a workload meets are as many, however many policies the cluster has.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use model::{
    Attachment, AttachmentKey, Audit, IpBlock, LabelSelector, LabelTest, Labels, Mac, Namespace,
    Namespaces, NetworkPolicy, Node, ObjectName, Peer, Pod, PodRef, PodSelector, PortMatch,
    Protocol, Requirement, Rule, World,
};

use crate::turns::PORT;

const SPACES: u32 = 100;
const APPS: u32 = 10;

/// Policies of one workload.
const EACH: u32 = 10;

/// The last one of them.
pub(crate) const LAST: u32 = EACH - 1;

/// Pods of the node; the last of them is of the workload of the first.
pub(crate) const LOCAL: u32 = SPACES * APPS + 1;

/// The addresses of the first pod of the node and of the last.
pub(crate) const ENDS: [Ipv4Addr; 2] =
    [Ipv4Addr::new(10, 244, 0, 2), Ipv4Addr::new(10, 244, 255, 2)];

/// The node `a`, with so many pods on it and on others, and so many policies, of which of each workload
/// number `own` is about itself.
pub(crate) fn world(policies: u32, pods: u32, own: u32) -> World {
    let mut world = World::default();
    world.config.node = "a".into();
    world.nodes.insert("a".into(), Arc::new(Node::new("a".into())));
    for space in 0..SPACES {
        let space = space_row(space, "blue");
        world.namespaces.insert(Arc::clone(&space.name), Arc::new(space));
    }
    for number in 0..pods.max(LOCAL) {
        let pod = pod(number, "");
        if number < LOCAL {
            let attachment = joined(&pod);
            world.attachments.insert(attachment.key.clone(), Arc::new(attachment));
        }
        world.pods.insert(pod.name.clone(), Arc::new(pod));
    }
    for number in 0..policies {
        let policy = policy(number, own, PORT);
        world.policies.insert(policy.name.clone(), Arc::new(policy));
    }
    world
}

pub(crate) fn space_row(number: u32, color: &str) -> Namespace {
    let name: Arc<str> = format!("space-{number}").into();
    let labels = [(Namespace::NAME_LABEL, &*name), ("color", color)].into_iter().collect();
    Namespace { name, labels, is_terminating: false }
}

/// A pod with one label that workloads have, and another where `role` is not empty.
pub(crate) fn pod(number: u32, role: &str) -> Pod {
    let (space, app) = (number % SPACES, number / SPACES % APPS);
    let node = if number < LOCAL { "a".to_owned() } else { format!("node-{}", number % 99) };
    let labels: Labels = [("app", format!("app-{app}")), ("role", role.to_owned())]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    Pod {
        name: ObjectName::new(&format!("space-{space}"), &format!("pod-{number}")),
        uid: "".into(),
        labels,
        node: Some(node.as_str().into()),
        is_host_network: false,
        addrs: vec![addr(number)],
        ports: [].into(),
    }
}

fn addr(number: u32) -> IpAddr {
    IpAddr::V4(match number {
        0 => ENDS[0],
        number if number == LOCAL - 1 => ENDS[1],
        number => Ipv4Addr::from(0x0a80_0000 + number),
    })
}

fn joined(pod: &Pod) -> Attachment {
    let container_id = pod.name.name.as_ref().into();
    let key = AttachmentKey { container_id, ifname: "eth0".parse().expect("it is a link's name") };
    Attachment {
        network: "seaway".to_owned(),
        netns: PathBuf::from("/proc/self/ns/net"),
        pod: Some(PodRef {
            namespace: pod.name.namespace.to_string(),
            name: pod.name.name.to_string(),
            uid: String::new(),
        }),
        addrs: pod.addrs.clone(),
        mac: Mac::derive(&pod.name.name),
        port_mappings: Vec::new(),
        search: None,
        key,
    }
}

/// The policies of a workload follow each other; the one with the number `own` is about itself.
pub(crate) fn policy(number: u32, own: u32, port: u16) -> NetworkPolicy {
    let (slot, other) = (number / EACH, (number + EACH - own) % EACH);
    let (space, app) = (slot % SPACES, slot / SPACES % APPS);
    let home: Arc<str> = format!("space-{space}").into();
    let peer = format!("space-{}", (space + other) % SPACES);
    let peer = Peer::Pods(PodSelector {
        namespaces: Namespaces::Matching(is(Namespace::NAME_LABEL, &peer)),
        pods: is("app", &format!("app-{}", (app + other) % APPS)),
    });
    let ports = PortMatch::Numbers { protocol: Protocol::Tcp, first: port, last: port };
    let rule = Rule { peers: Some(vec![peer]), ports: Some(vec![ports]) };
    NetworkPolicy {
        name: ObjectName::new(&home, &format!("policy-{}", number % EACH + app * EACH)),
        subject: PodSelector {
            namespaces: Namespaces::Only(home),
            pods: is("app", &format!("app-{app}")),
        },
        ingress: Some(vec![rule.clone()]),
        egress: Some(vec![rule]),
        faults: Vec::new(),
        audit: Audit::Unsaid,
    }
}

/// A world in which every pod has a policy and ports of its own, in and out, so that there is nothing that
/// pods or ports have in common.
pub(crate) fn scattered() -> World {
    let mut world = world(0, 0, LAST);
    let pods: Vec<Arc<Pod>> = world.pods.values().cloned().collect();
    for (port, pod) in (10_000..).zip(pods) {
        let Pod { name, labels, .. } = &*pod;
        let labels: Labels =
            labels.entries().cloned().chain([("pod".into(), Arc::clone(&name.name))]).collect();
        world.pods.insert(name.clone(), Arc::new(Pod { labels, ..(*pod).clone() }));
        let rule = |peer: Option<Peer>, last: u16| Rule {
            peers: peer.map(|peer| vec![peer]),
            ports: Some(vec![PortMatch::Numbers { protocol: Protocol::Tcp, first: port, last }]),
        };
        let app = PodSelector {
            namespaces: Namespaces::Matching(LabelSelector::default()),
            pods: is("app", &format!("app-{}", port % 10)),
        };
        let policy = NetworkPolicy {
            name: name.clone(),
            subject: PodSelector {
                namespaces: Namespaces::Only(Arc::clone(&name.namespace)),
                pods: is("pod", &name.name),
            },
            ingress: Some(vec![rule(Some(Peer::Pods(app)), port)]),
            egress: Some(vec![rule(None, port + 100)]),
            faults: Vec::new(),
            audit: Audit::Unsaid,
        };
        world.policies.insert(policy.name.clone(), Arc::new(policy));
    }
    world
}

/// One that lets the first pod out to so many ranges, none of which touches another.
pub(crate) fn wide(ranges: u32) -> NetworkPolicy {
    let range = |number: u32| -> Peer {
        let addr = Ipv4Addr::from(0x2000_0000 + (number << 9));
        let cidr = IpNet::new(addr.into(), 24).expect("24 is a length");
        Peer::Block(IpBlock { cidr, except: Vec::new() })
    };
    let rule = Rule { peers: Some((0..ranges).map(range).collect()), ports: None };
    NetworkPolicy { egress: Some(vec![rule]), ..policy(0, LAST, PORT) }
}

fn is(key: &str, value: &str) -> LabelSelector {
    let one = Requirement { key: key.into(), test: LabelTest::In([value.into()].into()) };
    LabelSelector::new([one])
}
