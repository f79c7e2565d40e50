//! Nodes → [`Peers`]: the way to each pod CIDR, or why there is none.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::{Family, Mac, Node, NodeName, Routing, World};

use super::mtu::{self, Unmet};
use super::table::{Peer, Peers, Reach, Vtep};
use crate::ipam::Pool;
use crate::{Fault, Pools, Rejected};

/// The peers of `me`. Unreachable ones are in `rejected`.
pub(crate) fn peers(
    world: &World,
    me: &NodeName,
    pools: &Pools,
    rejected: &mut Vec<Rejected>,
) -> Peers {
    let Some(here) = world.nodes.get(me) else {
        return Peers { mtu: mtu::choose(&world.config, None, None).0, ..Peers::default() };
    };
    let ways = Ways { world, here, outer: outer_family(world), owners: owners(world) };
    let mut peers = Peers::default();
    for (name, node) in world.nodes.iter().filter(|(name, _)| *name != me) {
        let mut peer = Peer { addrs: node.internal_ips.clone(), vtep: None, pods: Vec::new() };
        for pool in pools.of(name) {
            // The peer may not know Seaway's way yet, and the one that is there both of them know.
            let is_others = world.host.routes.contains(&pool.cidr());
            match ways.reach(node, pool) {
                Ok((reach, vtep)) => {
                    // What it sends by the tunnel once it does is taken.
                    peer.vtep = peer.vtep.or(vtep);
                    let reach = if is_others { Reach::Other } else { reach };
                    peer.pods.push((pool.cidr(), reach));
                }
                Err(_) if is_others => peer.pods.push((pool.cidr(), Reach::Other)),
                Err(why) => rejected.push(Rejected {
                    object: format!("Node {name}"),
                    field: "status.addresses".to_owned(),
                    why: format!("{why}; {pool} can't be reached"),
                    fault: Fault::Invalid,
                }),
            }
        }
        if !peer.pods.is_empty() {
            peers.rows.insert(name.clone(), peer);
        }
    }
    if peers.rows.values().any(|peer| peer.vtep.is_some()) {
        peers.tunnel = here.internal_ip(ways.outer);
    }
    let tunneled = peers.tunnel.is_some() || world.config.routing == Routing::Vxlan;
    let (mtu, unmet) = mtu::choose(
        &world.config,
        underlay_mtu(world, here, rejected),
        tunneled.then_some(ways.outer),
    );
    peers.mtu = mtu;
    peers.mtu_too_small = unmet.and_then(|unmet| report(unmet, me, rejected));
    peers
}

/// What the way to a peer follows from.
struct Ways<'a> {
    world: &'a World,
    here: &'a Node,
    outer: Family,
    owners: BTreeMap<IpAddr, &'a NodeName>,
}

impl Ways<'_> {
    fn reach(&self, node: &Node, pool: &Pool) -> Result<(Reach, Option<Vtep>), String> {
        if node.internal_ips.is_empty() {
            return Err("has no InternalIP".to_owned());
        }
        for ip in &node.internal_ips {
            if let Some(owner) = self.owners.get(ip).filter(|owner| ***owner != node.name) {
                return Err(format!("{ip} is also an address of Node {owner}"));
            }
        }
        match self.world.config.routing {
            Routing::Vxlan => self.overlay(node),
            Routing::Direct => self.direct(node, pool),
            Routing::Auto => self.direct(node, pool).or_else(|_| self.overlay(node)),
        }
    }

    fn direct(&self, node: &Node, pool: &Pool) -> Result<(Reach, Option<Vtep>), String> {
        let family = pool.family();
        let via = node.internal_ip(family).ok_or_else(|| format!("has no {family} address"))?;
        let uplink = self.world.host.on_link(via).ok_or_else(|| {
            format!("{via} is on no subnet of this node, and routing is {}", Routing::Direct)
        })?;
        Ok((Reach::Direct { via, dev: uplink.name.clone() }, None))
    }

    fn overlay(&self, node: &Node) -> Result<(Reach, Option<Vtep>), String> {
        let outer = self.outer;
        if self.here.internal_ip(outer).is_none() {
            return Err(format!("Node {} has no {outer} address to tunnel from", self.here.name));
        }
        let addr = node
            .internal_ip(outer)
            .ok_or_else(|| format!("has no {outer} address, the family of the tunnel"))?;
        let mac = Mac::derive(&format!("vtep/{}", node.name));
        Ok((Reach::Overlay, Some(Vtep { mac, addr })))
    }
}

/// The family tunnel packets travel in: one for the whole cluster, because a VXLAN device has one.
/// IPv4 unless some node lacks it and every node has IPv6. Every agent sees the same Nodes and
/// decides the same.
fn outer_family(world: &World) -> Family {
    let everywhere = |family| {
        let mut nodes = world.nodes.values().filter(|node| !node.internal_ips.is_empty());
        nodes.all(|node| node.internal_ip(family).is_some())
    };
    if !everywhere(Family::V4) && everywhere(Family::V6) { Family::V6 } else { Family::V4 }
}

/// Address → the first node, by name, that says it has it.
fn owners(world: &World) -> BTreeMap<IpAddr, &NodeName> {
    let mut owners = BTreeMap::new();
    for (name, node) in &world.nodes {
        for ip in &node.internal_ips {
            owners.entry(*ip).or_insert(name);
        }
    }
    owners
}

/// The least MTU of the uplinks that carry this node's addresses; of all, when none is known to.
fn underlay_mtu(world: &World, here: &Node, rejected: &mut Vec<Rejected>) -> Option<u32> {
    let mut least = None;
    for ip in &here.internal_ips {
        match world.host.uplink_of(*ip) {
            Some(uplink) => least = Some(least.map_or(uplink.mtu, |mtu: u32| mtu.min(uplink.mtu))),
            None => rejected.push(Rejected {
                object: format!("Node {}", here.name),
                field: "status.addresses".to_owned(),
                why: format!("no link of this machine carries {ip}"),
                fault: Fault::Invalid,
            }),
        }
    }
    least.or_else(|| world.host.uplinks.iter().map(|uplink| uplink.mtu).min())
}

fn report(unmet: Unmet, me: &NodeName, rejected: &mut Vec<Rejected>) -> Option<super::MtuTooSmall> {
    let (object, field, why, refuse) = match unmet {
        Unmet::Underlay(error) => {
            (format!("Node {me}"), "uplink mtu", error.to_string(), Some(error))
        }
        Unmet::Configured(why) => ("settings".to_owned(), "mtu", why, None),
    };
    rejected.push(Rejected { object, field: field.to_owned(), why, fault: Fault::Invalid });
    refuse
}
