//! Containers joined to the network: links, addresses, neighbors, routes, hostPorts and the rules
//! that keep each container to its own addresses.
//!
//! - *routed*: a veth pair with a host prefix inside and a link-local gateway; the node has a host
//!   route and static neighbors on both ends, so no container shares an L2 with another.
//! - *bridge*: a veth pair into `seaway0`, which carries the first address of each pod CIDR; a host prefix
//!   inside, static neighbors and forwarding entries, so containers meet at the node and none can take
//!   another's address.
//! - Either way a packet leaves a container only with the container's own hardware and IP address.
//! - A hostPort leads to its container for packets to an address of this node, and no others.
//!
//! Sources: CNI spec 1.1.0 §2; capability `portMappings`; P-4, P-17, P-22; T01, T04 to T08.
//! Page: docs/pod-network.md.

mod attach;
mod bridge;
mod check;
mod guard;
mod host_port;
mod resolve;
mod routed;
mod table;

pub use attach::{AttachError, Attaching, Request, attach};
pub use check::{Difference, check, rows};
pub use host_port::PortError;
pub use table::{Attachments, Joined};

use model::{NodeName, PodLinkMode, World};
use plan::Plan;

use crate::{Pools, Rejected};

/// Resolves the attachments of `me` and writes their rows.
pub(crate) fn compile(
    world: &World,
    me: &NodeName,
    pools: &Pools,
    mtu: u32,
    plan: &mut Plan,
    rejected: &mut Vec<Rejected>,
) -> Attachments {
    let attachments = resolve::attachments(world, me, pools, mtu, rejected);
    let mode = world.config.pod_link;
    match mode {
        PodLinkMode::Routed => routed::node(&world.host, pools.of(me), plan),
        PodLinkMode::Bridge => bridge::node(me, pools.of(me), mtu, plan),
    }
    guard::node(mode, me, plan);
    host_port::node(&world.config.dns, plan);
    host_port::others(world, plan);
    for (key, joined) in &attachments.rows {
        lower(world, me, key, joined, plan);
    }
    attachments
}

/// The rows of one attachment.
fn lower(
    world: &World,
    me: &NodeName,
    key: &model::AttachmentKey,
    joined: &Joined,
    plan: &mut Plan,
) {
    let mode = world.config.pod_link;
    plan.pods.insert(key.clone(), joined.link.clone());
    match mode {
        PodLinkMode::Routed => routed::attachment(world, me, joined, plan),
        PodLinkMode::Bridge => bridge::attachment(joined, plan),
    }
    guard::attachment(mode, joined, plan);
    host_port::attachment(joined, plan);
}
