//! The policies of one pod, and whom their rules mean now.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use model::{
    Audit, Direction, DomainPattern, Namespaces, NodeName, ObjectName, PodSelector, RuleAction,
};

use super::dns::stand_in_name;
use super::judge::Judge;
use super::port_set::list;
use super::resolve::{about, selecting};
use super::{
    Destination, Group, Members, Party, Peers, PolicyRule, RuleName, SetKey, Target, parties,
};

/// How many members of a set are named in text.
const NAMED: usize = 3;

/// The policies of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The pod.
    pub pod: ObjectName,
    /// Where it is, once that is known.
    pub node: Option<NodeName>,
    /// Its addresses, once it has some.
    pub addrs: Vec<IpAddr>,
    /// What comes in, then what goes out.
    pub ways: [ExplainedWay; 2],
    /// Policies about it that are audited: they drop nothing.
    pub audited: Vec<String>,
    /// Rules that could not be read, and so allow nothing or deny everything: each with its policy and field.
    pub faults: Vec<String>,
}

/// One direction of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedWay {
    /// Which one.
    pub direction: Direction,
    /// The NetworkPolicies that isolate the pod; without one, what no rule denies is allowed.
    pub isolated_by: Vec<ObjectName>,
    /// The rules, in the order in which they are asked.
    pub rules: Vec<ExplainedRule>,
    /// Packets that were dropped because no NetworkPolicy allows them, where that was counted; that would have
    /// been, where this is what would be.
    pub dropped: Option<u64>,
    /// What would be if audited policies were enforced, where that is something else.
    pub audit: Option<Box<ExplainedWay>>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedRule {
    /// Which one it is.
    pub rule: RuleName,
    /// What it does.
    pub action: RuleAction,
    /// Whom and what it is about: any of these.
    pub targets: Vec<ExplainedTarget>,
    /// Packets that it was met by, where that was counted.
    pub packets: Option<u64>,
}

/// Peers at ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedTarget {
    /// The peers; `None` for anybody.
    pub peers: Option<Vec<ExplainedPeers>>,
    /// At which ports of the destination.
    pub ports: String,
}

/// Some peers that a rule names in one breath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedPeers {
    /// How the rule names them.
    pub selector: String,
    /// Who that is now; `None` for blocks of addresses, and for names of which nothing is known.
    pub members: Option<Vec<String>>,
}

/// Explains the policies of `pod`; `None` when there is no such pod, or none with an address of its own.
pub fn explain(judge: &Judge<'_>, pod: &ObjectName) -> Option<Explained> {
    let of = judge.table.pods.get(pod)?;
    let pod = judge.world.pods.get(pod)?;
    let mut parties = parties(judge.world);
    // Rules mean it as they mean pods.
    for addr in judge.world.dns_addrs() {
        parties.entry(addr).or_insert_with(|| Party::Pod(stand_in_name(judge.world)));
    }
    let said = |direction, group: &Group, asks_audited: bool| {
        let isolating = selecting(judge.world, pod).filter(|policy| {
            policy.rules(direction).is_some() && (asks_audited || !judge.world.is_audited(policy))
        });
        ExplainedWay {
            direction,
            isolated_by: isolating.map(|policy| policy.name.clone()).collect(),
            rules: explained(judge, group, &parties),
            dropped: None,
            audit: None,
        }
    };
    let way = |direction| {
        let group = of.group(direction);
        let audit = group.audit.as_ref().map(|would| Box::new(said(direction, would, true)));
        ExplainedWay { audit, ..said(direction, group, false) }
    };
    let audited = selecting(judge.world, pod).filter(|policy| judge.world.is_audited(policy));
    let audited = audited.map(|policy| format!("NetworkPolicy {}", policy.name));
    let cluster = about(judge.world, pod).filter(|policy| policy.audit == Audit::On);
    let audited = audited.chain(cluster.map(|policy| policy.name.to_string())).collect();
    let namespaced = selecting(judge.world, pod).flat_map(|policy| &policy.faults);
    let faults = about(judge.world, pod).flat_map(|policy| &policy.faults).chain(namespaced);
    Some(Explained {
        pod: pod.name.clone(),
        node: pod.node.clone(),
        addrs: pod.addrs.clone(),
        ways: [Direction::Ingress, Direction::Egress].map(way),
        audited,
        faults: faults.map(ToString::to_string).collect(),
    })
}

fn explained(
    judge: &Judge<'_>,
    group: &Group,
    parties: &BTreeMap<IpAddr, Party>,
) -> Vec<ExplainedRule> {
    let members = |key: &SetKey| -> Vec<String> {
        let addrs: Vec<IpAddr> = match judge.table.sets.get(key) {
            Some(Members::Addrs(addrs)) => addrs.iter().copied().collect(),
            Some(Members::Ports(all)) => all.iter().map(|(addr, ..)| *addr).collect(),
            None => Vec::new(),
        };
        // A pod of two families is one.
        let names: BTreeSet<String> =
            addrs.into_iter().map(|addr| called(&addr, parties)).collect();
        names.into_iter().collect()
    };
    let peers = |peers: &Peers| {
        let Peers::Of { sets, blocks, names } = peers else { return None };
        let sets = sets
            .iter()
            .map(|key| ExplainedPeers { selector: selector(key), members: Some(members(key)) });
        let plain = |selector: String| ExplainedPeers { selector, members: None };
        let blocks = blocks.iter().map(|net| plain(net.to_string()));
        let names = names.iter().map(|name| named(judge, name, parties));
        Some(sets.chain(blocks).chain(names).collect())
    };
    let target = |target: &Target| ExplainedTarget {
        peers: peers(&target.peers),
        ports: match &target.destination {
            Destination::Any => "everything".to_owned(),
            Destination::Ports(ports) => list(ports),
            Destination::Named(key) => selector(key),
        },
    };
    let rule = |rule: &PolicyRule| ExplainedRule {
        rule: rule.name.clone(),
        action: rule.action,
        targets: rule.targets.iter().map(target).collect(),
        packets: None,
    };
    // Where NetworkPolicies are asked, nobody gets to Baseline but what they are not asked about.
    let last = group.allowed.as_ref().unwrap_or(&group.baseline);
    group.admin.iter().chain(last).map(rule).collect()
}

/// What is known of a pattern's names: whom they stand for, if anybody.
fn named(
    judge: &Judge<'_>,
    pattern: &DomainPattern,
    parties: &BTreeMap<IpAddr, Party>,
) -> ExplainedPeers {
    let meant = judge.learned.iter().filter(|(name, _)| pattern.matches(name));
    let addrs: BTreeSet<&IpAddr> = meant.flat_map(|(_, addrs)| addrs).collect();
    let members: BTreeSet<String> = addrs.into_iter().map(|addr| called(addr, parties)).collect();
    let members = (!members.is_empty()).then(|| members.into_iter().collect());
    ExplainedPeers { selector: pattern.to_string(), members }
}

/// What an address is called.
fn called(addr: &IpAddr, parties: &BTreeMap<IpAddr, Party>) -> String {
    match parties.get(addr) {
        Some(Party::Pod(name)) => name.to_string(),
        Some(Party::Node(name)) => name.to_string(),
        Some(Party::Elsewhere) | None => addr.to_string(),
    }
}

/// What selects the members of a set, as people say it.
pub(super) fn selector(key: &SetKey) -> String {
    match key {
        SetKey::Pods(PodSelector { namespaces: Namespaces::Only(name), pods }) => {
            format!("pods {pods} of {name}")
        }
        SetKey::Pods(PodSelector { namespaces: Namespaces::Matching(spaces), pods }) => {
            format!("pods {pods} of namespaces {spaces}")
        }
        SetKey::Nodes(nodes) => format!("nodes {nodes}"),
        SetKey::Ports(name, None) => format!("ports named {name}"),
        SetKey::Ports(name, Some(protocol)) => format!("{protocol} ports named {name}"),
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}", self.pod)?;
        if let Some(node) = &self.node {
            write!(f, " on {node}")?;
        }
        let addrs: Vec<String> = self.addrs.iter().map(ToString::to_string).collect();
        writeln!(
            f,
            ", {}",
            if addrs.is_empty() { "no address yet".to_owned() } else { addrs.join(", ") }
        )?;
        self.ways.iter().try_for_each(|way| write!(f, "{way}"))?;
        self.audited.iter().try_for_each(|policy| writeln!(f, "audited: {policy}"))?;
        let would = self.ways.iter().filter_map(|way| way.audit.as_ref());
        would.into_iter().try_for_each(|way| write!(f, "audit {way}"))?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "closed: {fault}"))
    }
}

impl fmt::Display for ExplainedWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.isolated_by.iter().map(ToString::to_string).collect();
        match names.is_empty() {
            true => writeln!(f, "{}: not isolated", self.direction)?,
            false => writeln!(f, "{}: isolated by {}", self.direction, names.join(", "))?,
        }
        self.rules.iter().try_for_each(|rule| write!(f, "{rule}"))?;
        if self.isolated_by.is_empty() {
            return writeln!(f, "  everything else is allowed");
        }
        writeln!(f, "  everything else is dropped{}", Packets(self.dropped))
    }
}

/// `: 3 packets`, where they were counted.
struct Packets(Option<u64>);

impl fmt::Display for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(1) => f.write_str(": 1 packet"),
            Some(packets) => write!(f, ": {packets} packets"),
        }
    }
}

impl fmt::Display for ExplainedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for target in &self.targets {
            let action = match self.action {
                RuleAction::Accept => "allow",
                RuleAction::Deny => "deny",
                RuleAction::Pass => "pass on",
            };
            write!(f, "  {action} {} ", target.ports)?;
            match &target.peers {
                None => f.write_str("anybody")?,
                Some(peers) => {
                    let all: Vec<String> = peers.iter().map(ToString::to_string).collect();
                    f.write_str(&all.join("; "))?;
                }
            }
            writeln!(f, " ({}{})", self.rule, Packets(self.packets))?;
        }
        Ok(())
    }
}

impl fmt::Display for ExplainedPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.selector)?;
        let Some(members) = &self.members else { return Ok(()) };
        let named = members.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        match members.len() {
            0 => f.write_str(" [nobody]"),
            count if count > NAMED => write!(f, " [{count}: {named}, …]"),
            count => write!(f, " [{count}: {named}]"),
        }
    }
}
