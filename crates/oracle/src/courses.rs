//! What should become of a packet in a cluster with Services, whichever endpoints they choose.
//!
//! Every node that a packet comes to by its own address, or from its own pods and processes, asks
//! [`services::answer`] once. What that leads it to is a packet like any other from then on: from the
//! client, or from the node where the endpoint has to see the node (S-44 to S-52).

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::{Family, NodeName, Protocol};

use crate::services::{self, Answer, Client, Remembered, Seen};
use crate::{
    Cluster, Outcome, Packet, Receiver, Sender, Source, arrives, home, is_stillborn, node_of,
    outcome, pods, way_to_node,
};

/// Which endpoint each client had last, at each node.
pub type Memory = BTreeMap<(NodeName, Remembered), (IpAddr, u16)>;

/// One of the ways that things may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// The endpoints that it was led to, in order.
    pub chosen: Vec<Choice>,
    /// What should become of it then.
    pub outcome: Outcome,
}

/// A Service led a packet to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The node that did.
    pub node: NodeName,
    /// Address and port of the endpoint.
    pub endpoint: (IpAddr, u16),
    /// What the client is remembered by there, if it is.
    pub affinity: Option<Remembered>,
}

/// What should become of `packet` from `sender` in `cluster`: one course for every endpoint that it
/// may be led to. A packet from outside comes by the node `by`, where somebody told the routers out
/// there that its destination is behind that.
///
/// # Panics
/// When the sender is not in the cluster.
pub fn courses(
    cluster: &Cluster,
    (sender, by): (&Sender, Option<&NodeName>),
    packet: &Packet,
    memory: &Memory,
) -> Vec<Course> {
    if is_stillborn(cluster, sender, packet) {
        return vec![ends(Outcome::Lost)];
    }
    let first = home(sender).or(by).or_else(|| node_of(cluster, packet.dst));
    let Some(first) = first else { return vec![ends(outcome(cluster, sender, packet))] };
    Judge { cluster, memory }.at(first, sender, packet)
}

fn ends(outcome: Outcome) -> Course {
    Course { chosen: Vec::new(), outcome }
}

struct Judge<'a> {
    cluster: &'a Cluster,
    memory: &'a Memory,
}

impl Judge<'_> {
    /// `packet` is at `node`, which has not looked at it yet.
    fn at(&self, node: &NodeName, sender: &Sender, packet: &Packet) -> Vec<Course> {
        let Some(protocol) = protocol(packet) else {
            return vec![ends(outcome(self.cluster, sender, packet))];
        };
        let client = match sender {
            Sender::Pod(home, _) if home == node => Client::Pod,
            Sender::Node(home) if home == node => Client::Process,
            Sender::Pod(..) | Sender::Node(_) | Sender::Outside => Client::Elsewhere,
        };
        let to = (packet.dst, protocol, packet.dport);
        match services::answer(&self.cluster[node], node, (client, packet.src), to) {
            Answer::NotForAService => self.untouched(node, sender, packet),
            Answer::Refused => vec![ends(Outcome::Refused)],
            Answer::Dropped => vec![ends(Outcome::Lost)],
            Answer::Unsaid => vec![ends(Outcome::Unsaid)],
            Answer::Forward { to, source, affinity } => {
                let had = affinity.as_ref().and_then(|key| {
                    self.memory.get(&(node.clone(), key.clone())).filter(|had| to.contains(had))
                });
                let mut courses = Vec::new();
                for endpoint in to.iter().filter(|one| had.is_none_or(|had| had == *one)) {
                    let choice = Choice {
                        node: node.clone(),
                        endpoint: *endpoint,
                        affinity: affinity.clone(),
                    };
                    for mut course in self.led(&choice, source, sender, packet) {
                        course.chosen.insert(0, choice.clone());
                        courses.push(course);
                    }
                }
                courses
            }
        }
    }

    /// No Service of `node` wants it: it may be for another node, which asks its own.
    fn untouched(&self, node: &NodeName, sender: &Sender, packet: &Packet) -> Vec<Course> {
        match node_of(self.cluster, packet.dst) {
            Some(other) if other != node => {
                match way_to_node(self.cluster, sender, packet, other) {
                    Some(kept_away) => vec![ends(kept_away)],
                    None => self.at(other, sender, packet),
                }
            }
            Some(_) => vec![ends(outcome(self.cluster, sender, packet))],
            // Nobody says what a node does with strangers' packets to strangers.
            None if home(sender) != Some(node) => vec![ends(Outcome::Unsaid)],
            None => vec![ends(outcome(self.cluster, sender, packet))],
        }
    }

    /// A Service led it to an endpoint.
    fn led(&self, choice: &Choice, seen: Seen, sender: &Sender, packet: &Packet) -> Vec<Course> {
        let Choice { node, endpoint: (dst, dport), .. } = choice;
        let seen = match node_of(self.cluster, *dst) == Some(node) {
            // The node itself answers, and so by here, whomever it saw.
            true if seen == Seen::Node => Seen::Either,
            false if self.must_see_node(node, sender, *dst) => Seen::Node,
            true | false => seen,
        };
        let own = self.cluster[node].nodes.get(node).and_then(|n| n.internal_ip(Family::of(*dst)));
        let source = match seen {
            Seen::Client => None,
            Seen::Node => Some(Source::Node(node.clone())),
            Seen::Either => Some(Source::Either(node.clone())),
        };
        let Some(source) = source else {
            return self.onwards(node, sender, &Packet { dst: *dst, dport: *dport, ..*packet });
        };
        let Some(own) = own else { return vec![ends(Outcome::Unsaid)] };
        let packet = Packet { src: own, dst: *dst, dport: *dport, ..*packet };
        let mut courses = self.onwards(node, &Sender::Node(node.clone()), &packet);
        for course in &mut courses {
            if let Outcome::Arrives { src: src @ Source::Kept, .. } = &mut course.outcome {
                *src = source.clone();
            }
        }
        courses
    }

    /// Whether the endpoint's answer would miss the translation otherwise: it is the client itself.
    fn must_see_node(&self, node: &NodeName, sender: &Sender, endpoint: IpAddr) -> bool {
        let Sender::Pod(from, key) = sender else { return false };
        from == node && self.cluster[node].attachments[key].addrs.contains(&endpoint)
    }

    /// `packet` leaves `node`, which has translated it.
    fn onwards(&self, node: &NodeName, sender: &Sender, packet: &Packet) -> Vec<Course> {
        match node_of(self.cluster, packet.dst) {
            Some(here) if here == node => {
                vec![ends(arrives(Receiver::Node(node.clone()), packet.dport))]
            }
            Some(other) if home(sender) == Some(node) => {
                match way_to_node(self.cluster, sender, packet, other) {
                    Some(kept_away) => vec![ends(kept_away)],
                    None => self.at(other, sender, packet),
                }
            }
            None if home(sender) == Some(node) => {
                vec![ends(outcome(self.cluster, sender, packet))]
            }
            // From elsewhere under its own address: that is for endpoints of the node, and whoever
            // writes that one is which is not has no say in what becomes of it.
            Some(_) | None => match pods::holder(self.cluster, packet.dst) {
                Some((holder, key)) if holder == node => {
                    vec![ends(arrives(Receiver::Pod(key.clone()), packet.dport))]
                }
                Some(_) | None => vec![ends(Outcome::Unsaid)],
            },
        }
    }
}

fn protocol(packet: &Packet) -> Option<Protocol> {
    let known = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    known.into_iter().find(|protocol| protocol.number() == packet.protocol)
}
