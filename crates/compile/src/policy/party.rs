//! Who has which address.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use model::{NodeName, ObjectName, World};

/// Who is at an end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A pod with an address of its own.
    Pod(ObjectName),
    /// A node's own processes, and pods of its host network.
    Node(NodeName),
    /// Anybody else.
    Elsewhere,
}

/// Who has which address in `world`. A pod's address is the pod's, whatever nodes say.
pub fn parties(world: &World) -> BTreeMap<IpAddr, Party> {
    let nodes = world.nodes.values();
    let nodes = nodes.flat_map(|node| node.ips().map(|ip| (ip, Party::Node(node.name.clone()))));
    let pods = world.pods.values().filter(|pod| !pod.is_host_network);
    let pods =
        pods.flat_map(|pod| pod.addrs.iter().map(|addr| (*addr, Party::Pod(pod.name.clone()))));
    nodes.chain(pods).collect()
}

/// Who has both of these addresses in `world`, as [`parties`] says it, by one look at each pod and node.
pub fn both_parties(world: &World, addrs: [IpAddr; 2]) -> [Party; 2] {
    let mut found = [Party::Elsewhere, Party::Elsewhere];
    for node in world.nodes.values() {
        for ip in node.ips() {
            put(&mut found, addrs, ip, || Party::Node(node.name.clone()));
        }
    }
    for pod in world.pods.values().filter(|pod| !pod.is_host_network) {
        for addr in &pod.addrs {
            put(&mut found, addrs, *addr, || Party::Pod(pod.name.clone()));
        }
    }
    found
}

fn put(found: &mut [Party; 2], addrs: [IpAddr; 2], has: IpAddr, who: impl Fn() -> Party) {
    for (party, addr) in found.iter_mut().zip(addrs) {
        if addr == has {
            *party = who();
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Pod(name) => write!(f, "pod {name}"),
            Party::Node(name) => write!(f, "node {name}"),
            Party::Elsewhere => f.write_str("elsewhere"),
        }
    }
}
