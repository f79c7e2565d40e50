//! Connection tracking on paper: what each node made of a flow, and what it makes of the answer.

use std::collections::BTreeSet;

use model::NodeName;
use plan::nft::CtStatus;

use super::Flow;

/// The flow that is followed, at every node that saw it.
#[derive(Debug, Default)]
pub(super) struct Flows {
    seen: Vec<Seen>,
}

/// One flow at one node.
#[derive(Debug)]
struct Seen {
    node: NodeName,
    /// As it came.
    came: Flow,
    /// As it left.
    left: Flow,
}

impl Seen {
    fn status(&self) -> BTreeSet<CtStatus> {
        let dnat = (self.came.dst, self.came.dport) != (self.left.dst, self.left.dport);
        let snat = self.came.src != self.left.src;
        let bits = [(dnat, CtStatus::Dnat), (snat, CtStatus::Snat)];
        bits.into_iter().filter_map(|(set, bit)| set.then_some(bit)).collect()
    }
}

impl Flows {
    /// `node` made `left` of the flow that was `came` at this hook.
    pub(super) fn saw(&mut self, node: &NodeName, came: Flow, left: Flow) {
        match self.seen.iter_mut().find(|seen| seen.node == *node && seen.left == came) {
            Some(seen) => seen.left = left,
            None => self.seen.push(Seen { node: node.clone(), came, left }),
        }
    }

    /// What `node` knows about the flow of `packet`, of which it may be the answer.
    pub(super) fn status(&self, node: &NodeName, packet: &Flow) -> BTreeSet<CtStatus> {
        let of = |seen: &&Seen| match packet.answer {
            false => seen.left == *packet,
            true => came_back(&seen.left, packet) || routed_back(seen, packet),
        };
        let seen = self.seen.iter().find(|seen| seen.node == *node && of(seen));
        seen.map(Seen::status).unwrap_or_default()
    }

    /// An answer's destination before routing: whoever the flow's source was.
    pub(super) fn restore_destination(&self, node: &NodeName, answer: &mut Flow) {
        let mut seen = self.seen.iter().filter(|seen| seen.node == *node);
        if let Some(seen) = seen.find(|seen| came_back(&seen.left, answer)) {
            (answer.dst, answer.dport) = (seen.came.src, seen.came.sport);
        }
    }

    /// An answer's source behind routing: whatever the flow was sent to.
    pub(super) fn restore_source(&self, node: &NodeName, answer: &mut Flow) {
        let mut seen = self.seen.iter().filter(|seen| seen.node == *node);
        if let Some(seen) = seen.find(|seen| routed_back(seen, answer)) {
            (answer.src, answer.sport) = (seen.came.dst, seen.came.dport);
        }
    }
}

/// Whether `answer` is what `left` is answered with.
fn came_back(left: &Flow, answer: &Flow) -> bool {
    (left.dst, left.src, left.protocol) == (answer.src, answer.dst, answer.protocol)
        && left.dport == answer.sport
}

/// The same, once its destination is the flow's source again.
fn routed_back(seen: &Seen, answer: &Flow) -> bool {
    came_back(&Flow { src: seen.came.src, ..seen.left }, answer)
}
