//! A cluster on paper: compiled nodes on an underlay, and the way a packet takes through them.
//!
//! A packet is judged by the plans alone: guards, translations, rules, routes, neighbors and
//! forwarding entries, with the strictest reverse path filter on every uplink. The underlay knows
//! node addresses and no others, like a router that nobody told about pods.

mod flows;
mod hop;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use model::{AttachmentKey, NodeName, World};
use seaway_compile::{Compiled, Scope, compile};

use flows::Flows;
pub(crate) use hop::{Flow, Origin};

/// Protocol number of ICMPv6, whose type stands in a flow's destination port.
const ICMPV6: u8 = 58;

/// ICMPv6 echo reply.
const ECHO_REPLY: u16 = 129;

/// Compiled nodes, each with the world it was compiled from.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) nodes: BTreeMap<NodeName, (World, Compiled)>,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It got there, with this source and destination.
    Arrives { at: Place, src: IpAddr, dst: IpAddr, dport: u16 },
    /// It did not, and why.
    Lost(String),
}

/// Where a packet can arrive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Pod(AttachmentKey),
    Node(NodeName),
    Outside,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Pod(key) => write!(f, "pod {}", key.container_id),
            Place::Node(node) => write!(f, "node {node}"),
            Place::Outside => f.write_str("outside"),
        }
    }
}

impl Network {
    /// Every node of `worlds`, compiled.
    pub(crate) fn new(worlds: impl IntoIterator<Item = (NodeName, World)>) -> Self {
        let compiled = worlds.into_iter().map(|(name, world)| {
            let compiled = compile(&world, &Scope::Node(name.clone()));
            (name, (world, compiled))
        });
        Network { nodes: compiled.collect() }
    }

    /// The node that an uplink carries `addr` of.
    pub(crate) fn owner(&self, addr: IpAddr) -> Option<&NodeName> {
        let mut nodes = self.nodes.iter();
        nodes.find(|(_, (world, _))| world.host.uplink_of(addr).is_some()).map(|(name, _)| name)
    }

    /// The node and the key of the container named `id`.
    pub(crate) fn pod(&self, id: &str) -> Option<(&NodeName, &AttachmentKey)> {
        self.nodes.iter().find_map(|(name, (world, _))| {
            let key = world.attachments.keys().find(|key| *key.container_id == *id)?;
            Some((name, key))
        })
    }

    /// Follows `flow` from `origin`, and its answer back: a flow whose answer is lost is lost.
    pub(crate) fn send(&self, origin: &Origin, flow: Flow) -> Fate {
        let mut flows = Flows::default();
        let there = hop::follow(self, origin, flow, &mut flows);
        let Fate::Arrives { at, src, dst, dport } = &there else { return there };
        let answer = Flow {
            src: *dst,
            dst: *src,
            sport: *dport,
            dport: reply_port(&flow),
            answer: true,
            ..flow
        };
        let from = match at {
            Place::Pod(key) => match self.pod(&key.container_id) {
                Some((node, key)) => Origin::Pod(node.clone(), key.clone()),
                None => return Fate::Lost(format!("{key} is gone")),
            },
            Place::Node(node) => Origin::Node(node.clone()),
            Place::Outside => return there, // Who answers out there knows the way or it does not.
        };
        match hop::follow(self, &from, answer, &mut flows) {
            Fate::Arrives { src, at, .. } if src == flow.dst && origin.is(&at) => there,
            Fate::Arrives { src, at, .. } => {
                Fate::Lost(format!("its answer comes from {src} to {at}"))
            }
            Fate::Lost(why) => Fate::Lost(format!("its answer: {why}")),
        }
    }
}

/// Where the answer to `flow` goes to; an echo reply for ICMPv6.
fn reply_port(flow: &Flow) -> u16 {
    if flow.protocol == ICMPV6 { ECHO_REPLY } else { flow.sport }
}
