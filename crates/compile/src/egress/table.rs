//! Destinations that see a pod's own address, as a table that prints.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;
use model::World;

/// Prefixes no router forwards: link-local (RFC 3927, RFC 4291 §2.5.6), multicast (RFC 5771,
/// RFC 4291 §2.7) and the limited broadcast (RFC 919).
const NEVER: [&str; 5] =
    ["169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "fe80::/10", "ff00::/8"];

/// Destinations that packets from pods reach with the pod's own address; no two overlap.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Unmasqueraded {
    /// The prefixes, in order.
    pub(crate) prefixes: BTreeSet<IpNet>,
}

impl Unmasqueraded {
    /// Every node's pod CIDRs and addresses, the configured exceptions, and what is never routed.
    ///
    /// A CIDR counts even where its node can't be reached: a packet to it is still one inside of the
    /// cluster. Prefixes inside of others are left out, because a set of prefixes takes no overlap;
    /// neighbors are not joined, so that one node is its own rows.
    pub(crate) fn resolve(world: &World) -> Self {
        let never = NEVER.iter().filter_map(|text| text.parse().ok());
        let nodes = world.nodes.values().flat_map(|node| {
            let addrs = node.internal_ips.iter().map(|ip| IpNet::from(*ip));
            node.pod_cidrs.iter().copied().chain(addrs)
        });
        let all: BTreeSet<IpNet> = never
            .chain(world.config.non_masquerade_cidrs.iter().copied())
            .chain(nodes)
            .map(|net| net.trunc())
            .collect();
        // In order, a prefix stands before everything inside of it.
        let mut prefixes = BTreeSet::new();
        let mut last: Option<IpNet> = None;
        for net in all {
            if last.is_none_or(|outer| !outer.contains(&net)) {
                prefixes.insert(net);
                last = Some(net);
            }
        }
        Unmasqueraded { prefixes }
    }
}

impl fmt::Display for Unmasqueraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefixes.iter().try_for_each(|net| writeln!(f, "{net}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Node;

    use super::*;

    #[test]
    fn prefixes_inside_of_others_are_left_out_and_neighbors_stay_apart() {
        let node = |name: &str, ip: &str, cidr: &str| Node {
            internal_ips: vec![ip.parse().unwrap()],
            pod_cidrs: vec![cidr.parse().unwrap()],
            ..Node::new(name.into())
        };
        let mut world = World::default();
        world.config.non_masquerade_cidrs = vec!["192.0.2.0/24".parse().unwrap()];
        for node in [
            node("a", "192.0.2.1", "10.244.0.0/24"),
            node("b", "198.51.100.1", "10.244.1.0/24"),
            node("c", "2001:db8::1", "fd00::/64"),
        ] {
            world.nodes.insert(node.name.clone(), Arc::new(node));
        }
        let want = "10.244.0.0/24 10.244.1.0/24 169.254.0.0/16 192.0.2.0/24 198.51.100.1/32 \
                    224.0.0.0/4 255.255.255.255/32 2001:db8::1/128 fd00::/64 fe80::/10 ff00::/8";
        let got = Unmasqueraded::resolve(&world).to_string();
        assert_eq!(got.split_whitespace().collect::<Vec<_>>().join(" "), want);
    }
}
