//! Policies: who may speak with whom, in three tiers.
//!
//! The tiers are those of ClusterNetworkPolicy: Admin, then NetworkPolicy, then Baseline, then
//! everything is allowed. The older AdminNetworkPolicy and BaselineAdminNetworkPolicy are read as
//! ClusterNetworkPolicies of the same meaning.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::decode::DecodeError;
use crate::{Audit, DomainName, Edition, LabelSelector, ObjectName, Protocol};

/// Which way a packet goes, as seen from the pod that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the pod.
    Ingress,
    /// From the pod.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        })
    }
}

/// A NetworkPolicy, with the defaults of its API filled in.
///
/// Source: `networking.k8s.io/v1/NetworkPolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Namespace and name.
    pub name: ObjectName,
    /// `spec.podSelector`: the pods it is about, all in its own namespace.
    pub subject: PodSelector,
    /// What may come in; `None` where it says nothing of that (`spec.policyTypes`). Where it does, what
    /// no rule of any policy allows is forbidden.
    pub ingress: Option<Vec<Rule>>,
    /// What may go out, in the same way.
    pub egress: Option<Vec<Rule>>,
    /// Why rules that could not be read allow nothing.
    pub faults: Vec<DecodeError>,
    /// Whether it is enforced, as far as it says so itself: see [`World::is_audited`](crate::World::is_audited).
    pub audit: Audit,
}

impl NetworkPolicy {
    /// Its rules for `direction`, if it says anything of that.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// A policy of the whole cluster.
///
/// Source: `policy.networking.k8s.io/v1alpha2/ClusterNetworkPolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPolicy {
    /// Kind and name.
    pub name: ClusterPolicyName,
    /// What this is a reading of.
    pub edition: Edition,
    /// `spec.tier`.
    pub tier: ClusterTier,
    /// `spec.priority`, 0 to 1000: the lowest is asked first.
    pub priority: u16,
    /// `spec.subject`: the pods it is about.
    pub subject: PodSelector,
    /// `spec.ingress`: the first rule that matches counts.
    pub ingress: Vec<ClusterRule>,
    /// `spec.egress`, in the same way.
    pub egress: Vec<ClusterRule>,
    /// Why rules that could not be read accept nothing or deny everything.
    pub faults: Vec<DecodeError>,
    /// Whether it is enforced.
    pub audit: Audit,
}

impl ClusterPolicy {
    /// Its rules for `direction`, in order.
    pub fn rules(&self, direction: Direction) -> &[ClusterRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Which of two policies of a tier is asked first: by priority; of equal ones, where the API leaves
    /// it open, by name (NP-U6).
    pub fn before(&self, other: &ClusterPolicy) -> Ordering {
        let key = |policy: &ClusterPolicy| (policy.priority, policy.name.clone());
        key(self).cmp(&key(other))
    }
}

/// Name of a cluster's policy. It orders by name, then by kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterPolicyName {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Which of the kinds has it.
    pub kind: ClusterPolicyKind,
}

/// The kinds of a cluster's policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterPolicyKind {
    /// `policy.networking.k8s.io/v1alpha2/ClusterNetworkPolicy`.
    ClusterNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1/AdminNetworkPolicy`.
    AdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1/BaselineAdminNetworkPolicy`.
    BaselineAdminNetworkPolicy,
}

impl ClusterPolicyKind {
    /// The kind's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            ClusterPolicyKind::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            ClusterPolicyKind::AdminNetworkPolicy => "AdminNetworkPolicy",
            ClusterPolicyKind::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
        }
    }
}

impl fmt::Display for ClusterPolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// The tiers that a cluster's policies can be of, in the order they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterTier {
    /// Before NetworkPolicies, which can't change what it says.
    Admin,
    /// After them, for what they say nothing of.
    Baseline,
}

/// A rule of a cluster's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRule {
    /// `name`, which has no meaning for packets.
    pub name: Option<Arc<str>>,
    /// What becomes of what it matches.
    pub action: RuleAction,
    /// What it matches.
    pub rule: Rule,
}

/// What becomes of a connection that a rule of a cluster's policy matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleAction {
    /// It is allowed, and nobody else is asked.
    Accept,
    /// It is dropped, and nobody else is asked.
    Deny,
    /// The next tier is asked.
    Pass,
}

/// What a rule matches: any of its peers at any of its ports.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// At the other end; `None` for anybody, outside of the cluster too.
    pub peers: Option<Vec<Peer>>,
    /// At the destination; `None` for everything, whatever its protocol.
    pub ports: Option<Vec<PortMatch>>,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Pods with an address of their own.
    Pods(PodSelector),
    /// Addresses, whoever has them.
    Block(IpBlock),
    /// The addresses of nodes with these labels. Only a cluster's policies have it, for egress.
    Nodes(LabelSelector),
    /// The addresses that names stand for. Only a cluster's policies have it, for egress they accept.
    Names(DomainPattern),
}

/// Pods of some namespaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodSelector {
    /// Where they are.
    pub namespaces: Namespaces,
    /// Which of those.
    pub pods: LabelSelector,
}

/// Some namespaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespaces {
    /// The one of this name.
    Only(Arc<str>),
    /// Those with these labels.
    Matching(LabelSelector),
}

/// A range of addresses, of one family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpBlock {
    /// The range, without host bits.
    pub cidr: IpNet,
    /// Ranges inside of it that are not meant, sorted.
    pub except: Vec<IpNet>,
}

/// Ports of the destination, as it sees them: after any Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMatch {
    /// These, the last one included; all of a protocol are 0 to 65535.
    Numbers {
        /// The protocol.
        protocol: Protocol,
        /// The first one.
        first: u16,
        /// The last one, not below the first.
        last: u16,
    },
    /// The ports that the destination's containers call so.
    Named {
        /// Their name.
        name: Arc<str>,
        /// Their protocol; any when `None`.
        protocol: Option<Protocol>,
    },
}

/// Names of the DNS: one, or all below one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainPattern {
    is_below: bool,
    name: Box<DomainName>,
}

impl DomainPattern {
    /// The name that is meant, or that all that are meant are below.
    pub fn name(&self) -> &DomainName {
        &self.name
    }

    /// Whether the names below are meant, and not the name itself.
    pub fn is_below(&self) -> bool {
        self.is_below
    }

    /// Whether `name`, in lower case, is meant: the very name, or under `*.` one or more labels more.
    pub fn matches(&self, name: &DomainName) -> bool {
        if self.is_below {
            name.is_under(&self.name) && *name != *self.name
        } else {
            *name == *self.name
        }
    }
}

/// `www.example.org` or `*.example.org`, a dot at the end or not. What the pattern of the CRD lets
/// through by its `A-z` is refused (NP-F10).
impl FromStr for DomainPattern {
    type Err = InvalidDomainPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (is_below, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        let is_label = |label: &str| {
            let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            let ends = [label.bytes().next(), label.bytes().next_back()];
            ends.iter().all(|byte| byte.is_some_and(|byte| byte.is_ascii_alphanumeric()))
                && label.bytes().all(is_inside)
        };
        let labels = rest.strip_suffix('.').unwrap_or(rest);
        let name = (labels.contains('.') && labels.split('.').all(is_label))
            .then(|| labels.parse::<DomainName>().ok())
            .flatten();
        let name = name.ok_or_else(|| InvalidDomainPattern(text.to_owned()))?;
        Ok(DomainPattern { is_below, name: Box::new(name.lowered()) })
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_below { "*." } else { "" }, self.name)
    }
}

/// Text that stands for no names of the DNS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a domain name of two labels or more, nor one after \"*.\"")]
pub struct InvalidDomainPattern(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npf2_a_wildcard_stands_for_one_label_or_more_and_nothing_else() {
        let cases = "
            kubernetes.io      | kubernetes.io                 | yes
            kubernetes.io      | www.kubernetes.io             | no
            kubernetes.io      | my-kubernetes.io              | no
            Kubernetes.IO.     | kubernetes.io                 | yes
            blog.kubernetes.io | kubernetes.io                 | no
            *.kubernetes.io    | kubernetes.io                 | no
            *.kubernetes.io    | www.kubernetes.io             | yes
            *.kubernetes.io    | latest.blog.kubernetes.io     | yes
            *.kubernetes.io    | wikipedia.org                 | no
            *.kubernetes.io    | www.my-kubernetes.io          | no
            *.a_b.example      | x.a_b.example                 | yes";
        for line in cases.trim().lines() {
            let [pattern, name, want] = line.split('|').map(str::trim).collect::<Vec<_>>()[..]
            else {
                panic!("{line}")
            };
            let pattern: DomainPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&name.parse().unwrap()), want == "yes", "{line}");
        }
    }

    #[test]
    fn npf10_what_the_crd_lets_through_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        for bad in [
            "", ".", "*", "*.", "io", "*.io", "a..b", ".a.b", "a.*.b", "*a.b", "*.*.a.b", "[a.b",
            "a.b^", "a.\\b", "`.a", "]x.a", "_a.b", "a_.b", "-a.b", "a.b-", "a b.c", "a.b..",
            &long,
        ] {
            assert!(bad.parse::<DomainPattern>().is_err(), "{bad}");
        }
        assert_eq!("*.Example.org".parse::<DomainPattern>().unwrap().to_string(), "*.example.org.");
    }
}
