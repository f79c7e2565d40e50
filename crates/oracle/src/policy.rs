//! Whether policies let the first packet of a flow through.
//!
//! Written from the NetworkPolicy and ClusterNetworkPolicy APIs, packet by packet and with nothing
//! remembered: every question looks at every object. Where the APIs leave something open it says what
//! Seaway does (NP-U1 to NP-U8).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use model::{
    AUDIT, Audit, ClusterPolicy, ClusterPolicyName, ClusterTier, Direction, DomainName,
    LabelSelector, LabelTest, Labels, Namespaces, NetworkPolicy, NodeName, ObjectName, Peer, Pod,
    PodSelector, PortMatch, Rule, RuleAction, World,
};

use crate::Packet;

/// Protocol number of ICMPv6, whose type stands in a packet's destination port.
const ICMPV6: u8 = 58;

/// Types of ICMPv6 without which no address can be used: multicast listener and neighbor discovery
/// (RFC 2710, RFC 3810, RFC 4861).
const DISCOVERY: [u16; 9] = [130, 131, 132, 133, 134, 135, 136, 137, 143];

/// The addresses that names stand for, as the subject's node has lately answered, names in lower case.
/// What has expired is not among them (NP-F5).
pub type Learned = BTreeMap<DomainName, BTreeSet<IpAddr>>;

/// The first packet of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Who sends it.
    pub origin: Origin,
    /// The packet as its destination sees it: after any Service (NP-U2), from whom it then seems to be.
    pub packet: Packet,
    /// Whether a Service led it where it goes.
    pub is_led: bool,
}

/// Who sends a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A pod with an address of its own.
    Pod(ObjectName),
    /// A process of a node, or a pod of its host network.
    Process(NodeName),
    /// Anybody else.
    Elsewhere,
}

/// What policies say of a flow at both of its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    /// Where it comes from.
    pub egress: Verdict,
    /// Where it goes.
    pub ingress: Verdict,
}

impl Verdicts {
    /// Whether both ends allow it (NP-N2).
    pub fn is_allowed(&self) -> bool {
        self.egress.is_allowed && self.ingress.is_allowed
    }
}

/// What policies say of a flow at one of its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is allowed.
    pub is_allowed: bool,
    /// Who says so.
    pub by: By,
}

/// Who decides about a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// There is no pod that policy could be about.
    NoPod,
    /// It never leaves its pod (NP-N20).
    Itself,
    /// It is between a pod and its own node (NP-N19).
    OwnNode,
    /// It is what addresses are found by (NP-U3).
    Discovery,
    /// This rule of a policy of the cluster.
    ClusterRule(ClusterTier, ClusterPolicyName, usize),
    /// This rule of a NetworkPolicy, the first by name of those that allow it.
    Rule(ObjectName, usize),
    /// NetworkPolicies select the pod, and none of their rules allows it.
    Isolated(Vec<ObjectName>),
    /// No policy says anything.
    Nothing,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::NoPod => f.write_str("no pod"),
            By::Itself => f.write_str("itself"),
            By::OwnNode => f.write_str("own node"),
            By::Discovery => f.write_str("discovery"),
            By::ClusterRule(tier, policy, i) => write!(f, "{tier:?} {policy} rule {i}"),
            By::Rule(policy, i) => write!(f, "NetworkPolicy {policy} rule {i}"),
            By::Isolated(policies) => {
                let names: Vec<String> = policies.iter().map(ToString::to_string).collect();
                write!(f, "isolated by {}", names.join(", "))
            }
            By::Nothing => f.write_str("nothing"),
        }
    }
}

/// What policies say of `flow`. Those that are audited say nothing.
pub fn verdicts(world: &World, learned: &Learned, flow: &Flow) -> Verdicts {
    said(world, learned, flow, false)
}

/// What policies would say of `flow` if none were audited.
pub fn would_be(world: &World, learned: &Learned, flow: &Flow) -> Verdicts {
    said(world, learned, flow, true)
}

fn said(world: &World, learned: &Learned, flow: &Flow, asks_audited: bool) -> Verdicts {
    let judge = Judge { world, learned, packet: flow.packet, asks_audited };
    let both = |verdict: Verdict| Verdicts { egress: verdict.clone(), ingress: verdict };
    if flow.packet.protocol == ICMPV6 && DISCOVERY.contains(&flow.packet.dport) {
        return both(allowed(By::Discovery));
    }
    let dst = flow.packet.dst;
    let from = match &flow.origin {
        Origin::Pod(name) => world.pods.get(name).filter(|pod| !pod.is_host_network),
        Origin::Process(_) | Origin::Elsewhere => None,
    };
    // It comes back to where it came from: led by a Service, or without ever leaving.
    let is_back = from.is_some_and(|pod| pod.addrs.contains(&dst));
    if is_back && !flow.is_led {
        return both(allowed(By::Itself));
    }
    Verdicts {
        egress: match from {
            Some(pod) => judge.egress(pod, is_back),
            None => allowed(By::NoPod),
        },
        ingress: match judge.pods_at(dst).next() {
            Some(pod) => judge.ingress(pod, &flow.origin, is_back),
            None => allowed(By::NoPod),
        },
    }
}

fn allowed(by: By) -> Verdict {
    Verdict { is_allowed: true, by }
}

fn denied(by: By) -> Verdict {
    Verdict { is_allowed: false, by }
}

/// One packet and everything there is to know about it.
struct Judge<'a> {
    world: &'a World,
    learned: &'a Learned,
    packet: Packet,
    /// Whether policies are asked that are audited.
    asks_audited: bool,
}

impl<'a> Judge<'a> {
    /// The pods of their own network that have `addr`.
    fn pods_at(&self, addr: IpAddr) -> impl Iterator<Item = &'a Pod> {
        let all = self.world.pods.values().map(|pod| &**pod);
        all.filter(move |pod| !pod.is_host_network && pod.addrs.contains(&addr))
    }

    /// What goes back to its pod by a Service (NP-U4) and what goes to its own node (NP-N24) is no matter
    /// of NetworkPolicies.
    fn egress(&self, subject: &Pod, is_back: bool) -> Verdict {
        let node = subject.node.as_ref().and_then(|name| self.world.nodes.get(name));
        let is_own_node = node.is_some_and(|node| node.ips().any(|ip| ip == self.packet.dst));
        let asks_all = !is_back && !is_own_node;
        self.tiers(subject, Direction::Egress, self.packet.dst, asks_all)
    }

    /// What comes back is from the pod itself, whatever it was masqueraded as (NP-U4).
    fn ingress(&self, subject: &Pod, origin: &Origin, is_back: bool) -> Verdict {
        if let (Origin::Process(node), Some(own)) = (origin, &subject.node)
            && node == own
        {
            return allowed(By::OwnNode);
        }
        let peer = if is_back { self.packet.dst } else { self.packet.src };
        self.tiers(subject, Direction::Ingress, peer, !is_back)
    }

    /// Admin, then NetworkPolicies, then Baseline, then everything is allowed (NP-C1).
    fn tiers(
        &self,
        subject: &Pod,
        direction: Direction,
        peer: IpAddr,
        asks_network_policies: bool,
    ) -> Verdict {
        let cluster = |tier| self.cluster_tier(tier, subject, direction, peer);
        let namespaced =
            || self.network_policies(subject, direction, peer).filter(|_| asks_network_policies);
        cluster(ClusterTier::Admin)
            .or_else(namespaced)
            .or_else(|| cluster(ClusterTier::Baseline))
            .unwrap_or_else(|| allowed(By::Nothing))
    }

    /// The first rule that matches, by priority, then by name, then in order; one that passes ends the tier.
    fn cluster_tier(
        &self,
        tier: ClusterTier,
        subject: &Pod,
        direction: Direction,
        peer: IpAddr,
    ) -> Option<Verdict> {
        let is_asked = |policy: &&std::sync::Arc<ClusterPolicy>| {
            policy.tier == tier && (self.asks_audited || policy.audit != Audit::On)
        };
        let all = self.world.cluster_policies.values().filter(is_asked);
        let mut about: Vec<_> = all.filter(|policy| self.is_in(&policy.subject, subject)).collect();
        about.sort_by_key(|policy| (policy.priority, &policy.name));
        for policy in about {
            for (i, rule) in policy.rules(direction).iter().enumerate() {
                if !self.matches(&rule.rule, subject, direction, peer) {
                    continue;
                }
                let by = By::ClusterRule(tier, policy.name.clone(), i);
                return match rule.action {
                    RuleAction::Accept => Some(allowed(by)),
                    RuleAction::Deny => Some(denied(by)),
                    RuleAction::Pass => None,
                };
            }
        }
        None
    }

    /// Whether any policy allows it, if any selects the pod for that direction (NP-N1, NP-N2).
    fn network_policies(
        &self,
        subject: &Pod,
        direction: Direction,
        peer: IpAddr,
    ) -> Option<Verdict> {
        let all =
            self.world.policies.values().filter(|policy| self.is_in(&policy.subject, subject));
        let mut isolating = Vec::new();
        for policy in all.filter(|policy| self.asks_audited || !self.is_audited(policy)) {
            let Some(rules) = policy.rules(direction) else { continue };
            let matches = |rule: &Rule| self.matches(rule, subject, direction, peer);
            if let Some(i) = rules.iter().position(matches) {
                return Some(allowed(By::Rule(policy.name.clone(), i)));
            }
            isolating.push(policy.name.clone());
        }
        (!isolating.is_empty()).then(|| denied(By::Isolated(isolating)))
    }

    /// The policy's own word counts; where it has none, its namespace's.
    fn is_audited(&self, policy: &NetworkPolicy) -> bool {
        let namespace = self.world.namespaces.get(&policy.name.namespace);
        let label = namespace.and_then(|namespace| namespace.labels.get(AUDIT));
        policy.audit == Audit::On || policy.audit == Audit::Unsaid && label == Some("true")
    }

    fn matches(&self, rule: &Rule, subject: &Pod, direction: Direction, peer: IpAddr) -> bool {
        let is_peer = match &rule.peers {
            None => true,
            Some(peers) => peers.iter().any(|one| self.is_peer(one, peer)),
        };
        let is_port = |port: &PortMatch| match direction {
            Direction::Ingress => self.is_port(port, subject),
            Direction::Egress => match port {
                PortMatch::Numbers { .. } => self.is_port(port, subject),
                PortMatch::Named { .. } => self.pods_at(peer).any(|pod| self.is_port(port, pod)),
            },
        };
        is_peer && rule.ports.as_ref().is_none_or(|ports| ports.iter().any(is_port))
    }

    fn is_peer(&self, peer: &Peer, addr: IpAddr) -> bool {
        match peer {
            Peer::Pods(selector) => self.pods_at(addr).any(|pod| self.is_in(selector, pod)),
            Peer::Block(block) => {
                let is_excepted = block.except.iter().any(|net| net.contains(&addr));
                block.cidr.contains(&addr) && !is_excepted
            }
            Peer::Nodes(selector) => self.world.nodes.values().any(|node| {
                selects(selector, &node.labels) && node.ips().any(|node_ip| node_ip == addr)
            }),
            Peer::Names(pattern) => self
                .learned
                .iter()
                .any(|(name, addrs)| pattern.matches(name) && addrs.contains(&addr)),
        }
    }

    /// Whether it is a port of `destination` that the packet goes to.
    fn is_port(&self, port: &PortMatch, destination: &Pod) -> bool {
        let Packet { protocol: number, dport, .. } = self.packet;
        match port {
            PortMatch::Numbers { protocol, first, last } => {
                protocol.number() == number && (*first..=*last).contains(&dport)
            }
            PortMatch::Named { name, protocol } => destination.ports.iter().any(|port| {
                port.name == *name
                    && protocol.is_none_or(|protocol| protocol == port.protocol)
                    && port.protocol.number() == number
                    && port.port == dport
            }),
        }
    }

    fn is_in(&self, selector: &PodSelector, pod: &Pod) -> bool {
        let is_there = match &selector.namespaces {
            Namespaces::Only(name) => pod.name.namespace == *name,
            Namespaces::Matching(namespaces) => {
                let namespace = self.world.namespaces.get(&pod.name.namespace);
                namespace.is_some_and(|namespace| selects(namespaces, &namespace.labels))
            }
        };
        is_there && !pod.is_host_network && selects(&selector.pods, &pod.labels)
    }
}

/// As the page "Labels and Selectors" says: NotIn and DoesNotExist hold where the label is missing.
fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    selector.requirements().iter().all(|requirement| {
        let value = labels.get(&requirement.key);
        let is_one_of =
            |values: &[std::sync::Arc<str>]| values.iter().any(|one| Some(&**one) == value);
        match &requirement.test {
            LabelTest::In(values) => is_one_of(values),
            LabelTest::NotIn(values) => !is_one_of(values),
            LabelTest::Exists => value.is_some(),
            LabelTest::Missing => value.is_none(),
        }
    })
}
