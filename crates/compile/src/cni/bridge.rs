//! The bridge pod link: containers of a node share one L2, the bridge `seaway0`.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{Family, Mac, NodeName};
use plan::{Fdb, FdbKey, Link, LinkKind, Neighbor, NeighborKey, Plan};

use super::Joined;
use crate::device;
use crate::ipam::Pool;

/// Hardware address of the bridge of `me`.
pub(super) fn mac(me: &NodeName) -> Mac {
    Mac::derive(&format!("bridge/{me}"))
}

/// `addr` as a container of `pool` carries it: with the pool's prefix in IPv4, where neighbors find
/// each other by ARP; as a host prefix in IPv6, where they meet at the node. So no container needs
/// NDP, none may speak it, and none can answer for another: a neighbor advertisement names its
/// target where no rule of nftables looks.
pub(super) fn net(addr: IpAddr, pool: &Pool) -> Option<IpNet> {
    match pool.family() {
        Family::V4 => IpNet::new(addr, pool.cidr().prefix_len()).ok(),
        Family::V6 => Some(IpNet::from(addr)),
    }
}

pub(super) fn node(me: &NodeName, pools: &[Pool], mtu: u32, plan: &mut Plan) {
    let dev = device::bridge();
    plan.links.insert(dev.clone(), Link { kind: LinkKind::Bridge, mtu, mac: mac(me) });
    plan.addrs.extend(pools.iter().map(|pool| ((dev.clone(), pool.gateway()), ())));
}

pub(super) fn attachment(joined: &Joined, plan: &mut Plan) {
    let mac = joined.link.mac;
    plan.fdb.insert(FdbKey { dev: joined.host_link.clone(), mac }, Fdb::Port);
    for addr in &joined.addrs {
        plan.neighbors.insert(NeighborKey { dev: device::bridge(), addr: *addr }, Neighbor { mac });
    }
}
