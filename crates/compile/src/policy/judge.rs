//! What becomes of a connection, and which rules say so.
//!
//! A connection is judged at both its ends, each by the policies that are about its pod. What no table says
//! because it is the same for every pod is said here: what never leaves its pod, what is between a pod and
//! its own node, and what addresses are found by.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use model::{
    DNS_PORT, Direction, DomainName, DropReason, NetworkPolicy, ObjectName, Protocol, RuleAction,
    World,
};

use super::facing::{Decision, Goal, Membership};
use super::resolve::selecting;
use super::{Party, PolicyTable, RuleName};

/// The addresses that names stand for, names in lower case.
pub type Learned = BTreeMap<DomainName, BTreeSet<IpAddr>>;

/// Types of ICMPv6 without which no address can be used; conntrack tracks none of them (RFC 2710, RFC 3810,
/// RFC 4861).
pub(super) const DISCOVERY: [u8; 9] = [130, 131, 132, 133, 134, 135, 136, 137, 143];

/// Protocol number of ICMPv6.
const ICMPV6: u8 = 58;

/// A connection as its server sees it: after any Service (NP-U2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Who begins it.
    pub client: Party,
    /// From where it seems to come.
    pub from: IpAddr,
    /// Who answers it.
    pub server: Party,
    /// Where it goes.
    pub to: IpAddr,
    /// Number of its protocol.
    pub protocol: u8,
    /// The server's port; the type for ICMP and ICMPv6; 0 for other protocols.
    pub port: u16,
    /// Whether a Service led it there.
    pub is_led: bool,
}

/// Judges connections by the tables of their ends.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// The objects that the table follows from.
    pub world: &'a World,
    /// What is asked of the pods that are asked about here.
    pub table: &'a PolicyTable,
    /// What names stand for.
    pub learned: &'a Learned,
}

/// What is said of a connection at both its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    /// By its client's pod.
    pub egress: Verdict,
    /// By its server's pod.
    pub ingress: Verdict,
}

/// What is said of a connection at one of its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Who decides.
    pub by: By,
    /// What was passed over before.
    pub steps: Vec<Step>,
}

/// Who decides about a connection at one of its ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// There is no pod that policies could be about.
    NoPod,
    /// It never leaves its pod (NP-N20).
    Itself,
    /// It is from the pod's own node (NP-N19, NP-U8).
    OwnNode,
    /// Addresses are found by it (NP-U3).
    Discovery,
    /// No policy says anything, so it is allowed.
    Nothing,
    /// This rule allows it.
    Accept(RuleName),
    /// This rule denies it.
    Deny(RuleName),
    /// These NetworkPolicies select the pod, and no rule of theirs allows it.
    NotAllowed(Vec<ObjectName>),
    /// Nobody knows yet what policies say of the pod.
    UnknownPod,
}

/// What is passed over on the way to a verdict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A rule about other peers.
    OtherPeer(RuleName),
    /// A rule about this peer at other ports.
    OtherPort(RuleName),
    /// A rule that passes it on to the next tier.
    Passes(RuleName),
    /// NetworkPolicies select the pod, and are not asked.
    NotAsked(Exemption),
}

/// Why NetworkPolicies are not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exemption {
    /// It goes to its pod's own node (NP-N24).
    OwnNode,
    /// A Service leads it back to its own pod (NP-U4).
    Itself,
}

impl Verdicts {
    /// Whether both ends allow it (NP-N2).
    pub fn is_allowed(&self) -> bool {
        self.egress.dropped().is_none() && self.ingress.dropped().is_none()
    }

    /// What is said at one end.
    pub fn of(&self, direction: Direction) -> &Verdict {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// The end that decides: the one that denies it, the client's first; else the server's.
    pub fn decisive(&self) -> (Direction, &Verdict) {
        match self.egress.dropped() {
            Some(_) => (Direction::Egress, &self.egress),
            None => (Direction::Ingress, &self.ingress),
        }
    }
}

impl Verdict {
    /// Why it is dropped here, if it is.
    pub fn dropped(&self) -> Option<DropReason> {
        match self.by {
            By::Deny(_) => Some(DropReason::Denied),
            By::NotAllowed(_) => Some(DropReason::NotAllowed),
            By::UnknownPod => Some(DropReason::UnknownPod),
            By::NoPod | By::Itself | By::OwnNode | By::Discovery | By::Nothing | By::Accept(_) => {
                None
            }
        }
    }
}

impl Judge<'_> {
    /// What both ends say of a connection.
    pub fn judge(&self, connection: &Connection) -> Verdicts {
        Verdicts { egress: self.egress(connection), ingress: self.ingress(connection) }
    }

    /// What its client's pod may send.
    pub fn egress(&self, connection: &Connection) -> Verdict {
        self.sent(connection, Asked::Enforced)
    }

    /// What its server's pod takes.
    pub fn ingress(&self, connection: &Connection) -> Verdict {
        self.taken(connection, Asked::Enforced)
    }

    /// What would be said at one end if audited policies were enforced; `None` where none is about it.
    pub fn audit(&self, connection: &Connection, direction: Direction) -> Option<Verdict> {
        let party = match direction {
            Direction::Egress => &connection.client,
            Direction::Ingress => &connection.server,
        };
        let Party::Pod(name) = party else { return None };
        self.table.pods.get(name)?.group(direction).audit.as_ref()?;
        Some(match direction {
            Direction::Egress => self.sent(connection, Asked::All),
            Direction::Ingress => self.taken(connection, Asked::All),
        })
    }

    fn sent(&self, connection: &Connection, asked: Asked) -> Verdict {
        if let Some(by) = connection.exempt() {
            return at_once(by);
        }
        let Party::Pod(name) = &connection.client else { return at_once(By::NoPod) };
        let node = self.world.pods.get(name).and_then(|pod| pod.node.as_ref());
        let node = node.and_then(|node| self.world.nodes.get(node));
        let is_own = node.is_some_and(|node| node.ips().any(|ip| ip == connection.to));
        let exempt = if connection.is_back() {
            Some(Exemption::Itself)
        } else if let Some(verdict) = self.question(connection, (name, asked), is_own) {
            return verdict;
        } else if is_own {
            Some(Exemption::OwnNode)
        } else {
            None
        };
        self.tiers((name, Direction::Egress, asked), connection.to, connection, exempt)
    }

    /// What is said of a question at a node's own port: what is said of one at the addresses of the cluster's
    /// DNS, if any of those may be asked. Of the pod's own node no more is asked; another one may be allowed
    /// like anybody else.
    fn question(
        &self,
        connection: &Connection,
        (name, asked): (&ObjectName, Asked),
        is_own: bool,
    ) -> Option<Verdict> {
        let dns = &self.world.config.dns;
        let by = [Protocol::Udp, Protocol::Tcp].map(Protocol::number);
        let is_one = dns.is_served && connection.port == dns.node_port;
        let is_one = is_one && by.contains(&connection.protocol);
        let mut nodes = self.world.nodes.values().flat_map(|node| node.ips());
        if !is_one || !nodes.any(|ip| ip == connection.to) {
            return None;
        }
        let mut first = None;
        for to in self.world.dns_addrs() {
            let there = Connection { to, port: DNS_PORT, ..connection.clone() };
            let verdict = self.tiers((name, Direction::Egress, asked), to, &there, None);
            if verdict.dropped().is_none() {
                return Some(verdict);
            }
            first.get_or_insert(verdict);
        }
        first.filter(|_| is_own)
    }

    /// What comes back is from the pod itself, whatever it was masqueraded as (NP-U4).
    fn taken(&self, connection: &Connection, asked: Asked) -> Verdict {
        if let Some(by) = connection.exempt() {
            return at_once(by);
        }
        let Party::Pod(name) = &connection.server else { return at_once(By::NoPod) };
        let node = self.world.pods.get(name).and_then(|pod| pod.node.as_ref());
        if matches!(&connection.client, Party::Node(from) if Some(from) == node) {
            return at_once(By::OwnNode);
        }
        let (peer, exempt) = match connection.is_back() {
            true => (connection.to, Some(Exemption::Itself)),
            false => (connection.from, None),
        };
        self.tiers((name, Direction::Ingress, asked), peer, connection, exempt)
    }

    fn tiers(
        &self,
        (name, direction, asked): (&ObjectName, Direction, Asked),
        peer: IpAddr,
        connection: &Connection,
        exempt: Option<Exemption>,
    ) -> Verdict {
        let Some(policy) = self.table.pods.get(name) else {
            return at_once(if self.table.has_policies { By::UnknownPod } else { By::Nothing });
        };
        let group = policy.group(direction);
        let group = match (asked, &group.audit) {
            (Asked::All, Some(would)) => would,
            (Asked::All, None) | (Asked::Enforced, _) => &**group,
        };
        let membership = Membership { table: self.table, learned: self.learned };
        let goal = connection.goal();
        let facing = membership.facing(group, peer);
        let decision = facing.decide(exempt.is_none(), |one| membership.is_there(one, goal));
        let by = match decision {
            Decision::Rule(rule) => match rule.action {
                RuleAction::Accept => By::Accept(rule.name.clone()),
                RuleAction::Deny | RuleAction::Pass => By::Deny(rule.name.clone()),
            },
            Decision::NotAllowed => By::NotAllowed(self.isolating(name, direction, asked)),
            Decision::Nothing => By::Nothing,
        };
        Verdict { by, steps: membership.passed_over(group, (peer, goal), exempt, decision) }
    }

    /// The NetworkPolicies that isolate a pod.
    fn isolating(&self, name: &ObjectName, direction: Direction, asked: Asked) -> Vec<ObjectName> {
        let Some(pod) = self.world.pods.get(name) else { return Vec::new() };
        let is_asked =
            |policy: &&NetworkPolicy| asked == Asked::All || !self.world.is_audited(policy);
        let all = selecting(self.world, pod).filter(is_asked);
        let all = all.filter(|policy| policy.rules(direction).is_some());
        all.map(|policy| policy.name.clone()).collect()
    }
}

/// Which policies are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Those that are enforced.
    Enforced,
    /// Those that are audited, too.
    All,
}

fn at_once(by: By) -> Verdict {
    Verdict { by, steps: Vec::new() }
}

impl Connection {
    /// Whether it goes where it comes from.
    fn is_back(&self) -> bool {
        matches!(self.client, Party::Pod(_)) && self.client == self.server
    }

    /// Why no policy is asked, whatever there is.
    fn exempt(&self) -> Option<By> {
        let is_of = |kind: &u8| u16::from(*kind) == self.port;
        if self.protocol == ICMPV6 && DISCOVERY.iter().any(is_of) {
            return Some(By::Discovery);
        }
        (self.is_back() && !self.is_led).then_some(By::Itself)
    }

    pub(super) fn goal(&self) -> Goal {
        let with_ports = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        let protocol = with_ports.into_iter().find(|one| one.number() == self.protocol);
        Goal { to: self.to, protocol, port: self.port }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::NoPod => f.write_str("there is no pod that policies could be about"),
            By::Itself => f.write_str("it does not leave its pod"),
            By::OwnNode => f.write_str("it is from the pod's own node"),
            By::Discovery => f.write_str("addresses are found by it"),
            By::Nothing => f.write_str("no policy says anything"),
            By::Accept(rule) => write!(f, "{rule} allows it"),
            By::Deny(rule) => write!(f, "{rule} denies it"),
            By::NotAllowed(policies) => {
                let names: Vec<String> = policies.iter().map(ToString::to_string).collect();
                write!(f, "{}; isolated by {}", DropReason::NotAllowed, names.join(", "))
            }
            By::UnknownPod => DropReason::UnknownPod.fmt(f),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::OtherPeer(rule) => write!(f, "{rule} is about other peers"),
            Step::OtherPort(rule) => write!(f, "{rule} is about other ports"),
            Step::Passes(rule) => write!(f, "{rule} passes it on"),
            Step::NotAsked(Exemption::OwnNode) => {
                f.write_str("NetworkPolicies are not asked about a pod's own node")
            }
            Step::NotAsked(Exemption::Itself) => {
                f.write_str("NetworkPolicies are not asked about what comes back to its own pod")
            }
        }
    }
}

/// `egress: allowed: …`, `ingress: dropped: …`, and below what was passed over.
impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (direction, verdict) in
            [(Direction::Egress, &self.egress), (Direction::Ingress, &self.ingress)]
        {
            let outcome = if verdict.dropped().is_none() { "allowed" } else { "dropped" };
            writeln!(f, "{direction} {outcome}: {}", verdict.by)?;
            verdict.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))?;
        }
        Ok(())
    }
}
