//! What the machine itself shows: facts Seaway reads and never writes.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::IfName;

/// The node's own network, as observed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Host {
    /// Links that carry an address and are not Seaway's own, in index order.
    pub uplinks: Vec<Uplink>,
    /// Destinations of the routes that others have written into the main table, in order: neither to one
    /// address alone, nor to everywhere, nor what follows from the addresses of links.
    pub routes: Vec<IpNet>,
}

/// One underlay link of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Its name.
    pub name: IfName,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// Its addresses, each with the prefix of the subnet it is on.
    pub addrs: Vec<IpNet>,
}

impl Host {
    /// Its addresses, each with the prefix of the subnet it is on.
    pub fn addrs(&self) -> impl Iterator<Item = &IpNet> {
        self.uplinks.iter().flat_map(|link| &link.addrs)
    }

    /// The uplink that carries `addr` itself.
    pub fn uplink_of(&self, addr: IpAddr) -> Option<&Uplink> {
        self.uplinks.iter().find(|link| link.addrs.iter().any(|net| net.addr() == addr))
    }

    /// Links with a subnet inside of `cidr`, each with its address there: where `cidr` is a pod CIDR, another
    /// network has pods on it. Links to one address alone have no subnet.
    pub fn subnets_of(&self, cidr: IpNet) -> impl Iterator<Item = (&IfName, IpNet)> {
        let all =
            self.uplinks.iter().flat_map(|link| link.addrs.iter().map(|net| (&link.name, *net)));
        all.filter(move |(_, net)| {
            net.prefix_len() < net.max_prefix_len() && cidr.contains(&net.trunc())
        })
    }

    /// The uplink on whose subnet `addr` is: it can be reached without a router.
    pub fn on_link(&self, addr: IpAddr) -> Option<&Uplink> {
        self.uplinks.iter().find(|link| link.addrs.iter().any(|net| net.contains(&addr)))
    }
}
