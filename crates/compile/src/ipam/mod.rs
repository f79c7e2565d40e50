//! Addresses: which each node may give out, and which a new attachment gets.
//!
//! - A node's pools are its pod CIDRs, at most one per family, as the control plane wrote them into
//!   the Node object. Seaway allocates inside of them and never chooses them.
//! - A CIDR that overlaps another node's, holds a node's address or has no room for a pod is left
//!   out and reported, on every node alike: all agents see the same Nodes and decide the same.
//! - [`allocate()`] leases one address: the lowest that was never used, then the one released longest
//!   ago. The journal of the agent is the ledger; nothing here remembers anything.
//!
//! Sources: Node API `spec.podCIDRs`; CNI spec 1.1.0 §5 (delegated IPAM), capability `ips`.
//! Page: docs/ipam.md.

mod allocate;
mod nft;
mod pool;
mod table;

pub use allocate::{Allocation, IpamError, REST, Released, allocate};
pub use pool::{Pool, TooSmall};
pub use table::Pools;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{NodeName, World};

use plan::Plan;

use crate::{Fault, Rejected};

/// Resolves the usable pod CIDRs of every node and writes those of `me` where the rules of other
/// subsystems look them up.
pub(crate) fn compile(
    world: &World,
    me: &NodeName,
    plan: &mut Plan,
    rejected: &mut Vec<Rejected>,
) -> Pools {
    let pools = resolve(world, rejected);
    nft::local_pods(pools.of(me), plan);
    pools
}

/// The usable pod CIDRs of every node of `world`.
///
/// Of two CIDRs that overlap, the one of the node whose name sorts first stays: every agent decides
/// alike, whatever order the Nodes came in. A CIDR inside which a node has an address goes, because
/// a route to it would take the node away from the underlay.
pub(crate) fn resolve(world: &World, rejected: &mut Vec<Rejected>) -> Pools {
    let node_ips = node_ips(world);
    let mut taken = BTreeMap::new();
    let mut pools = Pools::default();
    for (name, node) in &world.nodes {
        let mut reject = |field: String, why: String| {
            let object = format!("Node {name}");
            rejected.push(Rejected { object, field, why, fault: Fault::Invalid });
        };
        if node.pod_cidrs.is_empty() {
            reject("spec.podCIDRs".to_owned(), "empty: the node can have no pods yet".to_owned());
        }
        for (i, cidr) in node.pod_cidrs.iter().enumerate() {
            match usable(*cidr, &taken, &node_ips) {
                Ok(pool) => {
                    taken.insert(cidr.network(), (*cidr, name));
                    pools.insert(name.clone(), pool);
                }
                Err(why) => reject(format!("spec.podCIDRs[{i}]"), why),
            }
        }
    }
    pools
}

/// CIDRs that are taken, by their network address, with the node that has them.
type Taken<'a> = BTreeMap<IpAddr, (IpNet, &'a NodeName)>;

fn usable(
    cidr: IpNet,
    taken: &Taken<'_>,
    node_ips: &BTreeMap<IpAddr, &NodeName>,
) -> Result<Pool, String> {
    let pool = Pool::new(cidr).map_err(|too_small| too_small.to_string())?;
    if let Some((other, owner)) = overlap(cidr, taken) {
        return Err(format!("{cidr} overlaps {other} of Node {owner}, which keeps it"));
    }
    if let Some(never) = never_pods().find(|never| never.contains(&cidr) || cidr.contains(never)) {
        return Err(format!("{cidr} overlaps {never}, which is no pod's"));
    }
    match node_ips.range(cidr.network()..=cidr.broadcast()).next() {
        Some((ip, owner)) => Err(format!("{cidr} holds {ip}, an address of Node {owner}")),
        None => Ok(pool),
    }
}

/// Loopback, link-local, multicast and unspecified addresses (RFC 6890): a CIDR that reaches into
/// them, a mistyped 0.0.0.0/0 first of all, would take the node's own traffic away.
fn never_pods() -> impl Iterator<Item = IpNet> {
    let never = [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/3",
        "::/127",
        "fe80::/10",
        "ff00::/8",
    ];
    never.into_iter().filter_map(|text| text.parse().ok())
}

/// Prefixes nest or are disjoint, so only the neighbors in order can overlap `cidr`.
fn overlap<'a>(cidr: IpNet, taken: &Taken<'a>) -> Option<(IpNet, &'a NodeName)> {
    let before = taken.range(..=cidr.network()).next_back();
    let after = taken.range(cidr.network()..).next();
    let mut near = [before, after].into_iter().flatten().map(|(_, row)| *row);
    near.find(|(other, _)| other.contains(&cidr) || cidr.contains(other))
}

fn node_ips(world: &World) -> BTreeMap<IpAddr, &NodeName> {
    let nodes = world.nodes.iter();
    nodes.flat_map(|(name, node)| node.internal_ips.iter().map(move |ip| (*ip, name))).collect()
}
