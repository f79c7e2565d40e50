//! Which Node gets which pod CIDRs: the lowest parts of each range that nobody has. The same cluster gives the same
//! answer, whoever asks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Family, NodeName, NodeState, OrdMap};

use super::ranges::{PodCidrs, Range};

/// Nodes as they are known.
pub(super) type Nodes = OrdMap<NodeName, Arc<NodeState>>;

/// What was given and is not shown yet, or may have been given: by Node, with its uid.
pub(super) type Promised = BTreeMap<NodeName, (Arc<str>, Vec<IpNet>)>;

/// What there is to know, beside Nodes.
#[derive(Debug, Default, Clone)]
pub(super) struct Others {
    /// Networks of Services, and addresses of those that are in none.
    pub(super) services: Vec<IpNet>,
}

/// What follows for one Node without pod CIDRs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It gets these.
    Gets(Vec<IpNet>),
    /// It gets none, for this reason.
    Lacks(String),
}

/// The Nodes that wait for pod CIDRs.
pub(super) fn waiting(nodes: &Nodes) -> impl Iterator<Item = &Arc<NodeState>> {
    nodes.values().filter(|node| !node.has_pod_cidrs && !node.is_leaving && !node.is_incomplete)
}

/// A Node that somebody else has given pod CIDRs. Who that is gives others theirs, too.
pub(super) fn foreign(nodes: &Nodes) -> Option<&Arc<NodeState>> {
    nodes.values().find(|node| node.has_pod_cidrs && !node.is_ours)
}

/// What each of `candidates` gets. What is `promised` to a Node it gets, and nobody else does.
///
/// Claim: no part overlaps a pod CIDR of any Node, another part, a network of Services or an address of a Node, and
/// each is of its range.
pub(super) fn allocate(
    settings: &PodCidrs,
    nodes: &Nodes,
    others: &Others,
    promised: &Promised,
    candidates: &[Arc<NodeState>],
) -> Vec<(Arc<NodeState>, Verdict)> {
    let mut taken = Taken::of(nodes, promised);
    let faults = Faults::new(nodes, others);
    let mut given = Vec::new();
    for node in candidates {
        let promise = promised.get(&node.name).filter(|(uid, _)| *uid == node.uid);
        let verdict = match promise {
            Some((_, cidrs)) => Verdict::Gets(cidrs.clone()),
            None => parts(settings, node, &mut taken, &faults),
        };
        given.push((Arc::clone(node), verdict));
    }
    given
}

/// A part of each of its ranges, or of none.
fn parts(settings: &PodCidrs, node: &NodeState, taken: &mut Taken, faults: &Faults<'_>) -> Verdict {
    let ranges = settings.ranges(&families(node));
    if ranges.is_empty() {
        return Verdict::Lacks(
            "it has no InternalIP, which says of which families it is".to_owned(),
        );
    }
    let mut parts = Vec::new();
    for range in &ranges {
        if let Some(fault) = faults.of(range) {
            return Verdict::Lacks(fault);
        }
        match taken.free(range) {
            Some(part) => parts.push(part),
            None => {
                return Verdict::Lacks(format!("{range} has no /{} left for it", range.prefix));
            }
        }
    }
    parts.iter().for_each(|part| taken.add(*part));
    Verdict::Gets(parts)
}

/// Families of its addresses, in their order.
fn families(node: &NodeState) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for family in node.internal_ips.iter().map(|ip| Family::of(*ip)) {
        if !families.contains(&family) {
            families.push(family);
        }
    }
    families
}

/// Why a range is not one that pods may have.
struct Faults<'a> {
    nodes: &'a Nodes,
    others: &'a Others,
}

impl<'a> Faults<'a> {
    fn new(nodes: &'a Nodes, others: &'a Others) -> Self {
        Faults { nodes, others }
    }

    fn of(&self, range: &Range) -> Option<String> {
        let net = range.net;
        let overlaps = |other: &&IpNet| net.contains(*other) || other.contains(&net);
        if let Some(service) = self.others.services.iter().find(overlaps) {
            return Some(format!("{net} overlaps {service} of Services"));
        }
        let inside = |node: &&Arc<NodeState>| node.internal_ips.iter().any(|ip| net.contains(ip));
        let node = self.nodes.values().find(inside)?;
        Some(format!("{net} holds an address of Node {}", node.name))
    }
}

/// What somebody has, as first and last addresses.
#[derive(Debug, Default)]
struct Taken([BTreeMap<u128, u128>; 2]);

impl Taken {
    fn of(nodes: &Nodes, promised: &Promised) -> Self {
        let mut taken = Taken::default();
        // Of what another Node of that name was promised nothing has come.
        let stands = |(name, (uid, _)): &(&NodeName, &(Arc<str>, _))| {
            nodes.get(*name).is_some_and(|node| node.uid == *uid)
        };
        let promises = promised.iter().filter(stands).flat_map(|(_, (_, cidrs))| cidrs);
        let given = nodes.values().flat_map(|node| &node.pod_cidrs);
        given.chain(promises).for_each(|net| taken.add(*net));
        taken
    }

    fn add(&mut self, net: IpNet) {
        let end = number(net.broadcast());
        let last =
            self.of_family(Family::of(net.addr())).entry(number(net.network())).or_insert(end);
        *last = end.max(*last);
    }

    /// The lowest part of `range` that nobody has any of.
    fn free(&mut self, range: &Range) -> Option<IpNet> {
        let family = range.family();
        let bits = match family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        let size = 1_u128.checked_shl(u32::from(bits - range.prefix))?;
        let end = number(range.net.broadcast());
        let mut start = number(range.net.network());
        for (first, last) in self.of_family(family).iter() {
            if *last < start {
                continue;
            }
            if *first > start + (size - 1) {
                break;
            }
            // The first part that begins behind it.
            start = (last / size + 1).checked_mul(size)?;
        }
        if start > end {
            return None;
        }
        Some(match family {
            Family::V4 => {
                let addr = u32::try_from(start).ok()?;
                IpNet::V4(Ipv4Net::new(addr.into(), range.prefix).ok()?)
            }
            Family::V6 => IpNet::V6(Ipv6Net::new(start.into(), range.prefix).ok()?),
        })
    }

    fn of_family(&mut self, family: Family) -> &mut BTreeMap<u128, u128> {
        let Taken([v4, v6]) = self;
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u32::from(addr).into(),
        IpAddr::V6(addr) => addr.into(),
    }
}

#[cfg(test)]
#[path = "allocate_tests.rs"]
mod tests;
