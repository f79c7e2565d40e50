//! Where packets end that policies drop, and what the kernel says of them.
//!
//! Whatever drops a packet leads to the chain of an [`Ending`]. That shows some of them to whoever listens to
//! [`LOG_GROUP`], counts all and drops them; or has them go on, where only an audited policy would drop them. The words that go with a packet are an ending and which way the packet
//! goes, so they are always the same; who denied it is found out by a [`super::Judge`].

use std::fmt;

use model::{Direction, DropReason};

/// The group of NFLOG in which dropped packets are shown.
pub const LOG_GROUP: u16 = 8376;

/// Why packets are dropped, and at which end of their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ending {
    /// Why.
    pub reason: DropReason,
    /// About which way; `None` for what has no connection.
    pub direction: Option<Direction>,
    /// Whether they would be dropped if audited policies were enforced, and go on.
    pub is_audit: bool,
}

/// Which way of its connection a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From its client.
    There,
    /// From its server.
    Back,
}

impl Ending {
    /// Every ending.
    pub fn all() -> impl Iterator<Item = Ending> {
        DropReason::ALL.into_iter().flat_map(|reason| {
            let both = [Direction::Egress, Direction::Ingress].map(Some);
            let (directions, audits) = match reason {
                DropReason::NoConnection => (vec![None], vec![false]),
                DropReason::UnknownPod => (both.into(), vec![false]),
                DropReason::NotAllowed | DropReason::Denied => (both.into(), vec![false, true]),
            };
            let of = move |direction| {
                let audits = audits.clone().into_iter();
                audits.map(move |is_audit| Ending { reason, direction, is_audit })
            };
            directions.into_iter().flat_map(of)
        })
    }

    /// Its reason's name: `would-…` where nothing is dropped.
    pub fn reason_name(self) -> String {
        format!("{}{}", if self.is_audit { "would-" } else { "" }, self.reason.name())
    }

    /// What its rules say of themselves in the kernel.
    pub(super) fn comment(self) -> String {
        match self.direction {
            None => self.reason.to_string(),
            Some(direction) => rule_comment(direction, &self.reason, self.is_audit),
        }
    }

    /// The chain in which its packets end.
    pub fn chain(self) -> String {
        format!("policy_{self}").replace([' ', '-'], "_")
    }

    /// What is said of a packet that goes this way.
    pub(super) fn prefix(self, way: Option<Way>) -> String {
        match way {
            None => self.to_string(),
            Some(Way::There) => format!("{self} original"),
            Some(Way::Back) => format!("{self} reply"),
        }
    }

    /// The ending that is meant by what is said of a packet, and which way that goes; `None` for other words.
    pub fn of(prefix: &str) -> Option<(Ending, Way)> {
        let ways =
            [(None, Way::There), (Some(Way::There), Way::There), (Some(Way::Back), Way::Back)];
        Ending::all().find_map(|ending| {
            let (_, way) = ways.into_iter().find(|(said, _)| ending.prefix(*said) == prefix)?;
            Some((ending, way))
        })
    }
}

/// What a rule in the kernel says of itself: `what` it is, and whether it is asked for an audit alone.
pub(super) fn rule_comment(
    direction: Direction,
    what: &dyn fmt::Display,
    is_audit: bool,
) -> String {
    format!("{}{direction} {what}", if is_audit { "audit " } else { "" })
}

/// As `denied ingress`.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason_name())?;
        self.direction.map_or(Ok(()), |direction| write!(f, " {direction}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npx4_what_is_said_of_a_packet_is_understood_and_nothing_else() {
        for ending in Ending::all() {
            for way in [Way::There, Way::Back] {
                assert_eq!(Ending::of(&ending.prefix(Some(way))), Some((ending, way)));
            }
            assert_eq!(Ending::of(&ending.prefix(None)), Some((ending, Way::There)));
        }
        for other in ["", "denied", "denied egress ", "denied egress sideways", "x"] {
            assert_eq!(Ending::of(other), None, "{other}");
        }
        let chains: Vec<String> = Ending::all().map(Ending::chain).collect();
        assert_eq!(chains.len(), 11);
        let ends = [&*chains[0], &*chains[1], &*chains[10]];
        let want = [
            "policy_not_allowed_egress",
            "policy_would_not_allowed_egress",
            "policy_no_connection",
        ];
        assert_eq!(ends, want);
    }
}
