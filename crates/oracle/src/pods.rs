//! Which pods there are, and which nodes can carry packets between them.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{AttachmentKey, Family, Node, NodeName, Routing};

use crate::Cluster;

/// The pod CIDRs that count, with their nodes: those with room for a pod, without a node's address
/// inside, and without an overlap with one of a node that comes first by name.
pub fn usable_cidrs(cluster: &Cluster) -> Vec<(&NodeName, IpNet)> {
    let mut usable: Vec<(&NodeName, IpNet)> = Vec::new();
    for (name, node) in nodes(cluster) {
        for cidr in &node.pod_cidrs {
            let room = cidr.max_prefix_len() - cidr.prefix_len() >= 2;
            let inside =
                nodes(cluster).any(|(_, n)| n.internal_ips.iter().any(|ip| cidr.contains(ip)));
            let taken =
                usable.iter().any(|(_, other)| other.contains(cidr) || cidr.contains(other));
            if room && !inside && !taken {
                usable.push((name, *cidr));
            }
        }
    }
    usable
}

/// Whether `addr` is inside of any node's pod CIDR.
pub(crate) fn inside(cluster: &Cluster, addr: IpAddr) -> bool {
    nodes(cluster).any(|(_, node)| node.pod_cidrs.iter().any(|cidr| cidr.contains(&addr)))
}

/// The container that has `addr`, on the node whose pod CIDR it is in.
pub(crate) fn holder(cluster: &Cluster, addr: IpAddr) -> Option<(&NodeName, &AttachmentKey)> {
    let cidrs = usable_cidrs(cluster);
    let (node, _) = cidrs.into_iter().find(|(_, cidr)| cidr.contains(&addr))?;
    let world = cluster.get(node)?;
    let mut all = world.attachments.values();
    all.find(|attachment| attachment.addrs.contains(&addr)).map(|there| (node, &there.key))
}

/// Whether the settings allow any way between the pods of `a` and those of `b` in `family`: on one
/// subnet, or in a tunnel between addresses of one family that both have.
pub(crate) fn reachable(cluster: &Cluster, a: &NodeName, b: &NodeName, family: Family) -> bool {
    if a == b {
        return true;
    }
    let both_have_pods = [a, b].iter().all(|name| {
        let mut cidrs = usable_cidrs(cluster).into_iter();
        let addressed = nodes(cluster).any(|(node, n)| node == *name && !n.internal_ips.is_empty());
        addressed && cidrs.any(|(node, cidr)| node == *name && Family::of(cidr.addr()) == family)
    });
    let direct = neighbors(cluster, a, b, family);
    let tunnel = tunnel_family(cluster).is_some();
    both_have_pods
        && match cluster[a].config.routing {
            Routing::Direct => direct,
            Routing::Vxlan => tunnel,
            Routing::Auto => direct || tunnel,
        }
}

/// Whether packets between the pods of `a` and `b` travel in the tunnel.
fn tunneled(cluster: &Cluster, a: &NodeName, b: &NodeName, family: Family) -> bool {
    match cluster[a].config.routing {
        Routing::Direct => false,
        Routing::Vxlan => true,
        Routing::Auto => !neighbors(cluster, a, b, family),
    }
}

/// Whether any packets between the pods of `node` and another's travel in the tunnel.
pub(crate) fn in_tunnel(cluster: &Cluster, node: &NodeName) -> bool {
    let addressed = |name: &NodeName| {
        let mut all = nodes(cluster);
        all.any(|(other, n)| other == name && !n.internal_ips.is_empty())
    };
    addressed(node)
        && usable_cidrs(cluster).into_iter().any(|(other, cidr)| {
            let family = Family::of(cidr.addr());
            other != node && addressed(other) && tunneled(cluster, node, other, family)
        })
}

/// Whether both nodes are on one subnet in `family`.
fn neighbors(cluster: &Cluster, a: &NodeName, b: &NodeName, family: Family) -> bool {
    let sees = |from: &NodeName, to: &NodeName| {
        let addr =
            nodes(cluster).find(|(name, _)| *name == to).and_then(|(_, n)| n.internal_ip(family));
        addr.is_some_and(|addr| cluster[from].host.on_link(addr).is_some())
    };
    sees(a, b) && sees(b, a)
}

/// The family every node that has an address has one of, if there is such a family.
fn tunnel_family(cluster: &Cluster) -> Option<Family> {
    let everywhere = |family: &Family| {
        let mut addressed = nodes(cluster).filter(|(_, n)| !n.internal_ips.is_empty());
        addressed.all(|(_, n)| n.internal_ip(*family).is_some())
    };
    Family::ALL.into_iter().find(everywhere)
}

fn nodes(cluster: &Cluster) -> impl Iterator<Item = (&NodeName, &Node)> {
    let first = cluster.values().next();
    first.into_iter().flat_map(|world| world.nodes.iter().map(|(name, node)| (name, &**node)))
}
