//! What Services mean on a node follows from: who the node is, and which addresses are taken.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{
    Dns, EndpointSlice, Family, NodeName, NodePortAddrs, OrdMap, Service, ServicePort, World,
};

use super::endpoints::{self, Candidate, Here, is_special};

/// Who the node is and what it was told. Every Service follows from it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) node: Option<NodeName>,
    pub(super) zone: Option<String>,
    /// InternalIPs of the Node.
    pub(super) addrs: Vec<IpAddr>,
    pub(super) external_ips: Vec<IpNet>,
    pub(super) masquerade_all: bool,
    /// Which endpoints are the node's own server of DNS.
    pub(super) dns: Dns,
}

impl Own {
    pub(super) fn of(world: &World, me: &NodeName) -> Self {
        let node = world.nodes.get(me);
        Own {
            node: Some(me.clone()),
            zone: node.and_then(|node| node.zone.clone()),
            addrs: node.map(|node| node.internal_ips.clone()).unwrap_or_default(),
            external_ips: world.config.external_ips.clone(),
            masquerade_all: world.config.masquerade_all,
            dns: world.config.dns.clone(),
        }
    }

    /// The node as the one that chooses; `None` before anybody said who it is.
    pub(super) fn here(&self) -> Option<Here<'_>> {
        let node = self.node.as_ref()?;
        Some(Here { node, zone: self.zone.as_deref() })
    }

    /// The endpoints of `port` of `service`, in one family.
    pub(super) fn candidates<'a>(
        &self,
        (service, port): (&Service, &ServicePort),
        slices: &[&'a EndpointSlice],
        family: Family,
        here: Here<'_>,
    ) -> Vec<Candidate<'a>> {
        let mut found = endpoints::candidates(slices, port, family, here.node);
        for candidate in &mut found {
            let place = (candidate.backend.addr, candidate.backend.port);
            candidate.is_own = self.dns.is_own_endpoint(&service.name, &self.addrs, place);
        }
        found
    }
}

/// Addresses that have an owner in the cluster, which no Service's external addresses may take over
/// (CVE-2020-8554).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Reserved {
    /// Pod CIDRs and ServiceCIDRs, in order and without overlaps.
    nets: Vec<IpNet>,
    nodes: BTreeSet<IpAddr>,
    /// Where nodes answer DNS.
    dns: BTreeSet<IpAddr>,
}

impl Reserved {
    pub(super) fn of(world: &World) -> Self {
        let pods = world.nodes.values().flat_map(|node| node.pod_cidrs.iter().copied());
        let services = world.service_cidrs.values().flat_map(|row| row.cidrs.iter().copied());
        let mut nets = IpNet::aggregate(&pods.chain(services).collect());
        nets.sort_unstable_by_key(IpNet::network);
        let nodes = world.nodes.values().flat_map(|node| node.internal_ips.iter().copied());
        Reserved { nets, nodes: nodes.collect(), dns: world.dns_addrs().collect() }
    }

    /// Whether a Node has `addr`.
    pub(super) fn is_a_nodes(&self, addr: IpAddr) -> bool {
        self.nodes.contains(&addr)
    }

    /// Why `addr` may not be the address of a load balancer.
    pub(super) fn refuses_load_balancer(&self, addr: IpAddr) -> Option<&'static str> {
        if is_special(addr) {
            return Some("it means something else on every node");
        }
        if self.dns.contains(&addr) {
            return Some("cluster DNS is answered there");
        }
        let after = self.nets.partition_point(|net| net.network() <= addr);
        let inside = after.checked_sub(1).is_some_and(|at| self.nets[at].contains(&addr));
        inside.then_some("it is inside of a pod CIDR or a ServiceCIDR")
    }

    /// Why `addr` may not be an external IP. (The address of a node may well be that of a load
    /// balancer whose part the nodes play.)
    pub(super) fn refuses_external(&self, addr: IpAddr) -> Option<&'static str> {
        let node = self.is_a_nodes(addr).then_some("it is the address of a node");
        self.refuses_load_balancer(addr).or(node)
    }
}

/// The addresses of `me` at which node ports are open: those the settings name that the machine
/// carries. Loopback is never among them (S-23).
pub(super) fn node_port_addrs(world: &World, me: &NodeName) -> BTreeSet<IpAddr> {
    let all = || world.host.addrs().map(IpNet::addr);
    let named = |setting: &NodePortAddrs| -> Vec<IpAddr> {
        match setting {
            NodePortAddrs::Primary => {
                Family::ALL.into_iter().filter_map(|family| world.own_source(me, family)).collect()
            }
            NodePortAddrs::All => all().collect(),
            NodePortAddrs::Cidr(cidr) => all().filter(|addr| cidr.contains(addr)).collect(),
        }
    };
    let addrs = world.config.node_port_addrs.iter().flat_map(named);
    addrs.filter(|addr| !addr.is_loopback()).collect()
}

/// Whether two maps are one, found without looking inside.
pub(super) fn is_same<K: Ord, V>(a: &OrdMap<K, V>, b: &OrdMap<K, V>) -> bool {
    a.ptr_eq(b) || (a.is_empty() && b.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Config, Host, Node, Uplink};

    use super::*;

    fn world(settings: &str) -> World {
        let node = Node {
            internal_ips: ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).into(),
            pod_cidrs: vec!["10.244.1.0/24".parse().unwrap()],
            ..Node::new("a".into())
        };
        let link = |name: &str, addrs: &[&str]| Uplink {
            name: name.parse().unwrap(),
            mtu: 1500,
            addrs: addrs.iter().map(|net| net.parse().unwrap()).collect(),
        };
        let uplinks = vec![
            link("eth0", &["192.0.2.1/24", "192.0.2.9/24", "2001:db8::1/64"]),
            link("eth1", &["10.9.0.1/24"]),
        ];
        let node_port_addrs = settings.split(',').map(|word| word.parse().unwrap()).collect();
        World {
            config: Config { node: "a".into(), node_port_addrs, ..Config::default() },
            host: Host { uplinks, ..Host::default() },
            nodes: [(node.name.clone(), Arc::new(node))].into_iter().collect(),
            ..World::default()
        }
    }

    #[test]
    fn node_ports_are_open_at_the_addresses_that_are_named() {
        let cases = [
            ("primary", "192.0.2.1 2001:db8::1"),
            ("all", "10.9.0.1 192.0.2.1 192.0.2.9 2001:db8::1"),
            ("10.0.0.0/8", "10.9.0.1"),
            ("primary,10.0.0.0/8", "10.9.0.1 192.0.2.1 2001:db8::1"),
            ("127.0.0.0/8", ""),
        ];
        for (settings, want) in cases {
            let got = node_port_addrs(&world(settings), &"a".into());
            let got: Vec<String> = got.iter().map(IpAddr::to_string).collect();
            assert_eq!(got.join(" "), want, "{settings}");
        }
        let mut moved = world("primary");
        moved.host.uplinks[0].addrs.remove(0);
        assert_eq!(node_port_addrs(&moved, &"a".into()).len(), 1, "an address that is gone");
    }

    #[test]
    fn external_addresses_must_be_nobody_elses() {
        let reserved = Reserved::of(&world("primary"));
        let cases = [
            ("203.0.113.1", true, true),
            ("10.244.1.7", false, false),
            ("10.245.0.1", true, true),
            ("192.0.2.1", true, false),
            ("127.0.0.1", false, false),
            ("2001:db8::1", true, false),
        ];
        for (addr, load_balancer, external) in cases {
            let addr = addr.parse().unwrap();
            assert_eq!(reserved.refuses_load_balancer(addr).is_none(), load_balancer, "{addr}");
            assert_eq!(reserved.refuses_external(addr).is_none(), external, "{addr}");
        }
    }
}
