//! Which endpoints of a Service port this node chooses from, and why not from the others.
//!
//! Under policy Cluster: those that are ready, as far as hints send this node to them; when none is
//! ready anywhere, those that terminate and still serve. Under policy Local the same of this node's
//! own, whatever the hints say. Each set falls back for itself (S-11 to S-17).
//!
//! Sources: KEP-1669, KEP-1672, KEP-2086, KEP-2433, KEP-3015, KEP-4444.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::{
    Conditions, EndpointSlice, Family, Hints, NodeName, Protocol, ServicePort, TrafficPolicy,
};
use plan::Serving;

use super::table::Backend;

/// An endpoint of one port of a Service.
#[derive(Debug, Clone)]
pub(super) struct Candidate<'a> {
    pub(super) backend: Backend,
    pub(super) conditions: Conditions,
    pub(super) hints: Option<&'a Hints>,
    pub(super) node: Option<&'a NodeName>,
    /// Whether it is what this node answers by itself: a packet that comes this far is one that it
    /// did not answer.
    pub(super) is_own: bool,
}

impl Candidate<'_> {
    /// Whether it is there to send packets to, ready or not.
    fn is_usable(&self) -> bool {
        !self.is_own && !is_special(self.backend.addr)
    }

    /// The last resort: it is about to go, and still answers.
    fn is_draining(&self) -> bool {
        !self.conditions.ready && self.conditions.serving && self.conditions.terminating
    }

    fn is_hinted_for(&self, here: Here<'_>, topology: Topology) -> bool {
        let Some(hints) = self.hints else { return topology == Topology::Anywhere };
        match topology {
            Topology::Anywhere => true,
            Topology::SameZone => {
                here.zone.is_some_and(|zone| hints.zones.iter().any(|z| z == zone))
            }
            Topology::SameNode => hints.nodes.contains(here.node),
        }
    }
}

/// The node that chooses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) node: &'a NodeName,
    pub(super) zone: Option<&'a str>,
}

/// How far the endpoints' hints narrow policy Cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// Not at all.
    Anywhere,
    /// To those meant for this node's zone.
    SameZone,
    /// To those meant for this node.
    SameNode,
}

/// How one node chooses among the endpoints of one port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice<'a> {
    here: Here<'a>,
    pub(super) topology: Topology,
    /// Whether any endpoint is ready.
    is_ready: bool,
    /// Whether any endpoint of this node is ready.
    is_ready_here: bool,
}

impl<'a> Choice<'a> {
    /// How `here` chooses among `candidates`.
    pub(super) fn among(candidates: &[Candidate<'_>], here: Here<'a>) -> Self {
        let mut ready = candidates.iter().filter(|c| is_ready(c));
        Choice {
            here,
            topology: topology(candidates, here),
            is_ready: ready.clone().next().is_some(),
            is_ready_here: ready.any(|c| c.backend.is_local),
        }
    }

    /// Why `candidate` is not chosen under `policy`; `None` when it is.
    pub(super) fn excluded(
        &self,
        candidate: &Candidate<'_>,
        policy: TrafficPolicy,
    ) -> Option<Excluded> {
        if candidate.is_own {
            return Some(Excluded::Own);
        }
        if !candidate.is_usable() {
            return Some(Excluded::Unusable);
        }
        let (others_are_ready, topology) = match policy {
            TrafficPolicy::Cluster => (self.is_ready, self.topology),
            TrafficPolicy::Local => (self.is_ready_here, Topology::Anywhere),
        };
        if policy == TrafficPolicy::Local && !candidate.backend.is_local {
            return Some(Excluded::Elsewhere);
        }
        if candidate.conditions.ready {
            let hinted = candidate.is_hinted_for(self.here, topology);
            return match topology {
                Topology::SameZone if !hinted => Some(Excluded::OtherZone),
                Topology::SameNode if !hinted => Some(Excluded::OtherNode),
                Topology::Anywhere | Topology::SameZone | Topology::SameNode => None,
            };
        }
        match (candidate.is_draining(), others_are_ready) {
            (true, false) => None,
            (true, true) => Some(Excluded::Terminating),
            (false, _) => Some(Excluded::NotReady),
        }
    }

    /// The backends under `policy`.
    pub(super) fn backends(
        &self,
        candidates: &[Candidate<'_>],
        policy: TrafficPolicy,
    ) -> Arc<[Backend]> {
        let chosen = candidates.iter().filter(|c| self.excluded(c, policy).is_none());
        chosen.map(|c| c.backend).collect()
    }
}

/// Those that answer: ready or not, about to go or not, on whatever node and whomever they are meant
/// for (S-60). One that is merely not ready does not (S-65).
pub(super) fn serving(candidates: &[Candidate<'_>]) -> Serving {
    let answers = |c: &&Candidate<'_>| c.conditions.ready || c.conditions.serving;
    let usable = candidates.iter().filter(answers).filter(|c| c.is_usable());
    usable.map(|c| SocketAddr::new(c.backend.addr, c.backend.port)).collect()
}

/// Whether it takes new connections, at an address they can be sent to.
fn is_ready(candidate: &Candidate<'_>) -> bool {
    candidate.conditions.ready && candidate.is_usable()
}

/// Hints narrow the choice when every ready endpoint has one and one is for this node, or else for
/// its zone: a single endpoint without a hint means that not all of them are known yet (S-14).
fn topology(candidates: &[Candidate<'_>], here: Here<'_>) -> Topology {
    let ready = || candidates.iter().filter(|c| is_ready(c));
    let works = |topology, has_hint: fn(&Hints) -> bool| {
        ready().all(|c| c.hints.is_some_and(has_hint))
            && ready().any(|c| c.is_hinted_for(here, topology))
    };
    if works(Topology::SameNode, |hints| !hints.nodes.is_empty()) {
        Topology::SameNode
    } else if works(Topology::SameZone, |hints| !hints.zones.is_empty()) {
        Topology::SameZone
    } else {
        Topology::Anywhere
    }
}

/// Why an endpoint is not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excluded {
    /// It neither takes new connections nor ends the ones it has.
    NotReady,
    /// It is about to go, and there are others that stay.
    Terminating,
    /// Its hints are for other zones.
    OtherZone,
    /// Its hints are for other nodes.
    OtherNode,
    /// It is not on this node.
    Elsewhere,
    /// It is this node's own server of DNS, which answers before a packet comes to the Service.
    Own,
    /// Packets must not be sent to such an address: loopback, link-local, multicast, unspecified.
    Unusable,
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Excluded::NotReady => "not ready",
            Excluded::Terminating => "terminating, and others are ready",
            Excluded::OtherZone => "hinted for other zones",
            Excluded::OtherNode => "hinted for other nodes",
            Excluded::Elsewhere => "on another node",
            Excluded::Own => "this node itself, which would have answered",
            Excluded::Unusable => "no address to send packets to",
        })
    }
}

/// Whether nothing may be sent to `addr` on anybody's word: it means something else on every node
/// (CVE-2021-25737).
pub(super) fn is_special(addr: IpAddr) -> bool {
    let link_local = match addr {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    addr.is_loopback() || addr.is_unspecified() || addr.is_multicast() || link_local
}

/// The endpoints of `port` in `slices`, by address and port. Where two slices have the same one, the
/// copy that stays counts, then the one on this node, then that of the first slice (S-4). (An address
/// may have gone from a pod that is about to end to another. Source: kube-proxy's
/// `endpointslicecache.go`.)
pub(super) fn candidates<'a>(
    slices: &[&'a EndpointSlice],
    port: &ServicePort,
    family: Family,
    me: &NodeName,
) -> Vec<Candidate<'a>> {
    let mut all = Vec::new();
    for slice in slices.iter().filter(|slice| slice.family == family) {
        for number in numbers(slice, &port.name, port.protocol) {
            all.extend(slice.endpoints.iter().map(|endpoint| Candidate {
                backend: Backend {
                    addr: endpoint.addr,
                    port: number,
                    is_local: endpoint.node.as_ref() == Some(me),
                },
                conditions: endpoint.conditions,
                hints: endpoint.hints.as_deref(),
                node: endpoint.node.as_ref(),
                is_own: false,
            }));
        }
    }
    let place = |c: &Candidate<'_>| (c.backend.addr, c.backend.port);
    all.sort_by_key(|c| (place(c), c.conditions.terminating, !c.backend.is_local));
    all.dedup_by_key(|c| place(c));
    all
}

fn numbers(slice: &EndpointSlice, name: &str, protocol: Protocol) -> impl Iterator<Item = u16> {
    let same = slice.ports.iter().filter(move |p| *p.name == *name && p.protocol == protocol);
    same.map(|port| port.port)
}

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
