//! What policies ask of a node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::{
    ClusterPolicyName, ClusterTier, Direction, DomainPattern, LabelSelector, ObjectName, OrdMap,
    PodSelector, Protocol, RuleAction,
};

use crate::counted::Counted;

/// What policies ask of a node.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct PolicyTable {
    /// Whether there is any policy at all: a pod that is not known yet may be meant by one.
    pub has_policies: bool,
    /// The node's pods that have an address of their own.
    pub pods: OrdMap<ObjectName, PodPolicy>,
    /// The members of every set that a rule of those names.
    pub sets: OrdMap<SetKey, Members>,
}

/// What is asked about one pod. Pods of which the same is asked share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPolicy {
    /// About what comes in.
    pub ingress: Arc<Group>,
    /// About what goes out.
    pub egress: Arc<Group>,
}

impl PodPolicy {
    /// What is asked about one direction.
    pub fn group(&self, direction: Direction) -> &Arc<Group> {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// What is asked about some pods in one direction.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Rules of the Admin tier: the first one that matches counts.
    pub admin: Vec<PolicyRule>,
    /// What NetworkPolicies allow, if any selects the pods: all else is denied then.
    pub allowed: Option<Vec<PolicyRule>>,
    /// Rules of the Baseline tier, asked where no NetworkPolicy selects the pods.
    pub baseline: Vec<PolicyRule>,
    /// What would be asked if audited policies were enforced, where that is something else.
    pub audit: Option<Box<Group>>,
}

impl Group {
    /// Its rules, from tier to tier, then those that would be asked.
    pub fn rules(&self) -> impl Iterator<Item = &PolicyRule> {
        self.enforced().chain(self.audit.iter().flat_map(|would| would.enforced()))
    }

    pub(super) fn enforced(&self) -> impl Iterator<Item = &PolicyRule> {
        self.admin.iter().chain(self.allowed.iter().flatten()).chain(&self.baseline)
    }

    /// The sets that its rules name.
    pub(super) fn sets(&self) -> BTreeSet<&SetKey> {
        let targets = self.rules().flat_map(|rule| &rule.targets);
        let sets = targets.flat_map(|target| {
            let peers = match &target.peers {
                Peers::Any => None,
                Peers::Of { sets, .. } => Some(sets),
            };
            peers.into_iter().flatten().chain(target.destination.named())
        });
        sets.collect()
    }
}

/// A rule, as the pods of a group meet it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyRule {
    /// Which one it is.
    pub name: RuleName,
    /// What becomes of what it matches.
    pub action: RuleAction,
    /// What it matches: any of these.
    pub targets: Vec<Target>,
}

/// A rule of a policy, by its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleName {
    /// Of a policy of the cluster, in its tier.
    Cluster(ClusterTier, ClusterPolicyName, usize),
    /// Of a NetworkPolicy.
    Namespaced(ObjectName, usize),
}

/// As the oracle of policies says it.
impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleName::Cluster(tier, policy, i) => write!(f, "{tier:?} {policy} rule {i}"),
            RuleName::Namespaced(policy, i) => write!(f, "NetworkPolicy {policy} rule {i}"),
        }
    }
}

/// Peers at ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// At the other end.
    pub peers: Peers,
    /// At the destination.
    pub destination: Destination,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peers {
    /// Anybody.
    Any,
    /// Whoever has an address of any of these.
    Of {
        /// Pods and nodes.
        sets: BTreeSet<SetKey>,
        /// Ranges, none of which overlaps with another.
        blocks: Vec<IpNet>,
        /// What these names stand for.
        names: BTreeSet<DomainPattern>,
    },
}

/// Where a packet goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// Anywhere, by whatever protocol.
    Any,
    /// To one of these ports.
    Ports(Ports),
    /// To a member of this set: a port that pods have a name for.
    Named(SetKey),
}

impl Destination {
    /// The set of ports that it is a member of, if it is one.
    pub(super) fn named(&self) -> Option<&SetKey> {
        match self {
            Destination::Any | Destination::Ports(_) => None,
            Destination::Named(key) => Some(key),
        }
    }
}

/// Ranges of ports for each protocol, in order; none of them overlaps with or touches another.
pub type Ports = BTreeMap<Protocol, Vec<(u16, u16)>>;

/// What selects the members of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetKey {
    /// Addresses of pods.
    Pods(PodSelector),
    /// Addresses of nodes.
    Nodes(LabelSelector),
    /// Addresses and ports of all pods that have a port of this name, of this protocol if it says one.
    Ports(Arc<str>, Option<Protocol>),
}

/// The members of a set, with how many pods or nodes have each. A copy shares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// Addresses.
    Addrs(Counted<IpAddr>),
    /// Addresses with ports.
    Ports(Counted<(IpAddr, Protocol, u16)>),
}

impl Members {
    /// Nobody, of the kind that a set has.
    pub(super) fn none(of: &SetKey) -> Self {
        match of {
            SetKey::Pods(_) | SetKey::Nodes(_) => Members::Addrs(Counted::default()),
            SetKey::Ports(..) => Members::Ports(Counted::default()),
        }
    }
}
