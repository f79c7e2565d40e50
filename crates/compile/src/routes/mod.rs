//! Routes to the pods of other nodes, and back.
//!
//! - *direct*: the peer is on one of our subnets; a plain route leads to its address.
//! - *vxlan*: packets travel in UDP between the nodes (RFC 7348), with static neighbors and
//!   forwarding entries, so nothing is learned and nothing is flooded.
//! - *auto* takes direct where it can and VXLAN elsewhere, per peer and family.
//!
//! The overlay is symmetric: whenever one end is a pod and the peer needs VXLAN, both directions are
//! encapsulated, also between a pod and a node. So a strict reverse path filter holds, and no router
//! of the underlay ever sees a pod's address (docs/decisions/0003). The one exception goes around it
//! both ways: a peer's own connection to a hostPort of ours. A peer that can't be reached is reported
//! and costs the others nothing.
//!
//! Where another network has a route to the peer's pod CIDR, that is the way, in both directions, until
//! it is gone: the peer may have no Seaway yet.
//!
//! Sources: RFC 7348; RFC 8200 §5 (MTU); P-9, P-15, P-20 to P-22. Page: docs/routes.md.

mod around;
mod lower;
mod mtu;
mod resolve;
mod table;

pub use mtu::{LEAST, MtuTooSmall, pod_mtu};
pub(crate) use resolve::peers as resolve;
pub use table::{Peer, Peers, Reach, Vtep};

use model::{NodeName, World};
use plan::Plan;

use crate::{Pools, Rejected};

/// Resolves the way to every peer of `me` and writes its rows.
pub(crate) fn compile(
    world: &World,
    me: &NodeName,
    pools: &Pools,
    plan: &mut Plan,
    rejected: &mut Vec<Rejected>,
) -> Peers {
    let peers = resolve(world, me, pools, rejected);
    lower::lower(world, me, pools, &peers, plan);
    peers
}
