//! What all frontends of one kind have in common: a chain of constant rules.

use std::fmt;

use model::Family;
use plan::nft::ChainName;

use super::names::{Backends, Place};
use crate::ruleset::by_family;
use crate::services::{Action, At, Frontend, PortEntry, Source};

/// Whose packet it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    /// A pod of this node.
    Pod,
    /// A process of this node.
    Node,
    /// Anybody else.
    Outside,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// To one of so many backends.
    Forward {
        /// Of this set.
        backends: Backends,
        /// How many.
        count: u32,
        /// With an address of the node as its source.
        masquerade: bool,
    },
    /// Refused.
    Reject,
    /// Dropped.
    Drop,
}

/// Where packets of one kind of frontends go, by whose they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    /// Family of the frontends.
    pub(super) family: Family,
    /// Where they are.
    pub(super) place: Place,
    /// For how many seconds clients are remembered, where any of them comes to a backend.
    pub(super) affinity: Option<u32>,
    /// Only some clients are let in.
    pub(super) is_limited: bool,
    /// Packets of this node's pods.
    pub(super) pods: Fate,
    /// Packets of its processes.
    pub(super) node: Fate,
    /// All others.
    pub(super) outside: Fate,
}

impl Shape {
    /// The shape of `frontend`, one of `port`'s.
    pub(super) fn of(port: &PortEntry, frontend: &Frontend) -> Self {
        let fate = |action, client| Fate::of(action, client, port);
        let mut shape = Shape {
            family: port.family,
            place: match frontend.at {
                At::Ip(_) => Place::Address,
                At::NodeAddresses => Place::Node,
            },
            affinity: port.affinity.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
            is_limited: frontend.allowed.is_some(),
            pods: fate(frontend.inside, Client::Pod),
            node: fate(frontend.inside, Client::Node),
            outside: fate(frontend.outside, Client::Outside),
        };
        if !shape.fates().into_iter().any(|fate| matches!(fate, Fate::Forward { .. })) {
            shape.affinity = None;
        }
        shape
    }

    /// Its fates, by whose packets meet them.
    pub(super) fn fates(&self) -> [Fate; 3] {
        [self.pods, self.node, self.outside]
    }

    /// Whether a chain of its own tells clients apart.
    pub(super) fn tells_apart(&self) -> bool {
        self.is_limited || self.fates() != [self.pods; 3]
    }

    /// The chain of all its frontends.
    pub(super) fn chain(&self) -> ChainName {
        if !self.tells_apart() {
            return self.chain_of(self.pods);
        }
        let [pods, node, outside] = self.fates().map(|fate| self.chain_of(fate).0);
        let limited = match (self.is_limited, self.place) {
            (false, _) => "",
            (true, Place::Address) => "allowed/",
            (true, Place::Node) => "node_allowed/",
        };
        let family = by_family(self.family, 4, 6);
        ChainName(format!("from{family}/{limited}{pods}/{node}/{outside}").into())
    }

    /// The chain of one fate.
    pub(super) fn chain_of(&self, fate: Fate) -> ChainName {
        ChainName(Named { shape: self, fate }.to_string().into())
    }
}

impl Fate {
    fn of(action: Action, client: Client, port: &PortEntry) -> Self {
        match action {
            Action::Forward { to, source } => Fate::Forward {
                backends: to.into(),
                count: u32::try_from(port.backends(to).len()).unwrap_or(u32::MAX),
                masquerade: match source {
                    Source::Kept => false,
                    Source::KeptForPods => client == Client::Node,
                    Source::Node => true,
                },
            },
            Action::Reject => Fate::Reject,
            Action::Drop => Fate::Drop,
        }
    }
}

struct Named<'a> {
    shape: &'a Shape,
    fate: Fate,
}

/// `cluster4_2`, `node_local6_1_masqueraded`, `cluster4_3_for_10800s`, `refused`.
impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fate::Forward { backends, count, masquerade } = self.fate else {
            return f.write_str(if self.fate == Fate::Reject { "refused" } else { "dropped" });
        };
        if self.shape.place == Place::Node {
            f.write_str("node_")?;
        }
        f.write_str(match backends {
            Backends::Cluster => "cluster",
            Backends::Local => "local",
        })?;
        write!(f, "{}_{count}", by_family(self.shape.family, 4, 6))?;
        if let Some(seconds) = self.shape.affinity {
            write!(f, "_for_{seconds}s")?;
        }
        f.write_str(if masquerade { "_masqueraded" } else { "" })
    }
}
