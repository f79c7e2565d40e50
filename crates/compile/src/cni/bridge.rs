//! The bridge pod link: containers of a node are on one bridge, `seaway0`, and meet at the node.
//!
//! A container has its address with a host prefix and the bridge's for its gateway, so what it sends to
//! another one of the node is forwarded by the node and not by the bridge: by the rules of Services and
//! policies, which packets from port to port of a bridge do not meet. It needs neither ARP nor NDP for
//! that, and may send packets to no other port, so none gets past the node or can answer for another. See
//! docs/decisions/0033.

use model::{Mac, NodeName};
use plan::{Fdb, FdbKey, Link, LinkKind, Neighbor, NeighborKey, Plan, SysctlKey};

use super::Joined;
use crate::device;
use crate::ipam::Pool;

/// Hardware address of the bridge of `me`.
pub(super) fn mac(me: &NodeName) -> Mac {
    Mac::derive(&format!("bridge/{me}"))
}

pub(super) fn node(me: &NodeName, pools: &[Pool], mtu: u32, plan: &mut Plan) {
    let dev = device::bridge();
    plan.links.insert(dev.clone(), Link { kind: LinkKind::Bridge, mtu, mac: mac(me) });
    plan.addrs.extend(pools.iter().map(|pool| ((dev.clone(), pool.gateway()), ())));
    // A pod that is told of a shorter way to its neighbor sends frames that nobody forwards. The kernel
    // tells it while the switch of the link or that of all links says so.
    plan.sysctls.insert(SysctlKey("net/ipv4/conf/all/send_redirects".to_owned()), "0".into());
}

pub(super) fn attachment(joined: &Joined, plan: &mut Plan) {
    let mac = joined.link.mac;
    plan.fdb.insert(FdbKey { dev: joined.host_link.clone(), mac }, Fdb::Port);
    for addr in &joined.addrs {
        plan.neighbors.insert(NeighborKey { dev: device::bridge(), addr: *addr }, Neighbor { mac });
    }
}
