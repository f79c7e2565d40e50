//! The bridge pod link: containers of a node share one L2, the bridge `seaway0`.

use model::{Mac, NodeName};
use plan::{Fdb, FdbKey, Link, LinkKind, Neighbor, NeighborKey, Plan};

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
    plan.sysctls.extend(device::settings(&dev, "1"));
}

pub(super) fn attachment(joined: &Joined, plan: &mut Plan) {
    let mac = joined.link.mac;
    plan.fdb.insert(FdbKey { dev: joined.host_link.clone(), mac }, Fdb::Port);
    for addr in &joined.addrs {
        plan.neighbors.insert(NeighborKey { dev: device::bridge(), addr: *addr }, Neighbor { mac });
    }
}
