//! What packets look like that leave the cluster.
//!
//! - A packet from a pod to outside of the cluster takes the address of the node it leaves by
//!   (masquerade): nobody out there has a route to pods.
//! - Inside of the cluster, pod to pod and pod to node, nothing is ever translated; nor to
//!   `nonMasqueradeCIDRs`, nor to link-local and multicast destinations, which no router takes.
//! - TCP gets source ports at random; other protocols keep theirs where they can.
//! - With masquerade off there are no rows at all.
//!
//! Sources: Kubernetes network model; ip-masq-agent (`nonMasqueradeCIDRs`, `masqLinkLocal`);
//! RFC 6056 (ports); E-1, E-2. Page: docs/egress.md.

mod nft;
mod table;

pub(crate) use table::Unmasqueraded;

use model::{NodeName, World};
use plan::Plan;

use crate::Pools;

/// Writes the masquerade rules of `me`, when they are wanted and it has pods.
pub(crate) fn compile(world: &World, me: &NodeName, pools: &Pools, plan: &mut Plan) {
    if world.config.masquerade && !pools.of(me).is_empty() {
        nft::lower(&Unmasqueraded::resolve(world), plan);
    }
}
