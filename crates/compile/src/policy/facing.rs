//! A group's rules, asked about one connection: the walk from tier to tier.

use std::net::IpAddr;

use model::{Protocol, RuleAction};

use super::judge::{Learned, Step};
use super::{Destination, Exemption, Group, Members, Peers, PolicyRule, PolicyTable, SetKey};

/// What addresses are members of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership<'a> {
    pub(super) table: &'a PolicyTable,
    pub(super) learned: &'a Learned,
}

/// Where a connection goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    pub(super) to: IpAddr,
    /// `None` for protocols without ports.
    pub(super) protocol: Option<Protocol>,
    pub(super) port: u16,
}

/// Those of a group's rules that one peer is meant by, tier by tier, each with where it lets the peer go.
#[derive(Debug)]
pub(super) struct Facing<'g> {
    admin: Vec<Facet<'g>>,
    allowed: Option<Vec<Facet<'g>>>,
    baseline: Vec<Facet<'g>>,
}

type Facet<'g> = (&'g PolicyRule, Vec<&'g Destination>);

/// What a group says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Decision<'g> {
    /// This rule, which accepts or denies.
    Rule(&'g PolicyRule),
    /// NetworkPolicies are asked, and none allows it.
    NotAllowed,
    /// No policy says anything.
    Nothing,
}

impl Decision<'_> {
    pub(super) fn is_allowed(self) -> bool {
        match self {
            Decision::Rule(rule) => rule.action == RuleAction::Accept,
            Decision::NotAllowed => false,
            Decision::Nothing => true,
        }
    }
}

impl<'a> Membership<'a> {
    /// The rules of `group` that are about `peer`.
    pub(super) fn facing<'g>(&self, group: &'g Group, peer: IpAddr) -> Facing<'g> {
        let tier = |rules: &'g [PolicyRule]| -> Vec<Facet<'g>> {
            let facets = rules.iter().map(|rule| {
                let targets =
                    rule.targets.iter().filter(|target| self.is_peer(&target.peers, peer));
                (rule, targets.map(|target| &target.destination).collect())
            });
            facets.filter(|(_, at): &Facet<'g>| !at.is_empty()).collect()
        };
        Facing {
            admin: tier(&group.admin),
            allowed: group.allowed.as_deref().map(tier),
            baseline: tier(&group.baseline),
        }
    }

    /// Whether a connection there is to one of `destination`.
    pub(super) fn is_there(&self, destination: &Destination, goal: Goal) -> bool {
        match (destination, goal.protocol) {
            (Destination::Any, _) => true,
            (Destination::Ports(_) | Destination::Named(_), None) => false,
            (Destination::Ports(ports), Some(protocol)) => {
                let mut ranges = ports.get(&protocol).into_iter().flatten();
                ranges.any(|(first, last)| (*first..=*last).contains(&goal.port))
            }
            (Destination::Named(key), Some(protocol)) => match self.members(key) {
                Some(Members::Ports(all)) => all.contains(&(goal.to, protocol, goal.port)),
                Some(Members::Addrs(_)) | None => false,
            },
        }
    }

    /// What was passed over on the way to `decision`.
    pub(super) fn passed_over(
        &self,
        group: &Group,
        (peer, goal): (IpAddr, Goal),
        exempt: Option<Exemption>,
        decision: Decision<'_>,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.pass(&group.admin, (peer, goal), decision, &mut steps) {
            return steps;
        }
        if let Some(allowed) = &group.allowed {
            match exempt {
                Some(exempt) => steps.push(Step::NotAsked(exempt)),
                None => {
                    self.pass(allowed, (peer, goal), decision, &mut steps);
                    return steps;
                }
            }
        }
        self.pass(&group.baseline, (peer, goal), decision, &mut steps);
        steps
    }

    /// What is passed over in one tier; whether the decision is one of its rules.
    fn pass(
        &self,
        rules: &[PolicyRule],
        (peer, goal): (IpAddr, Goal),
        decision: Decision<'_>,
        steps: &mut Vec<Step>,
    ) -> bool {
        for rule in rules {
            if matches!(decision, Decision::Rule(it) if std::ptr::eq(it, rule)) {
                return true;
            }
            let mut about =
                rule.targets.iter().filter(|one| self.is_peer(&one.peers, peer)).peekable();
            let name = rule.name.clone();
            if about.peek().is_none() {
                steps.push(Step::OtherPeer(name));
            } else if about.any(|one| self.is_there(&one.destination, goal)) {
                // Of those that match, only one that passes is not the decision.
                steps.push(Step::Passes(name));
                break;
            } else {
                steps.push(Step::OtherPort(name));
            }
        }
        false
    }

    /// Whether `addr` is one of `peers`.
    pub(super) fn is_peer(&self, peers: &Peers, addr: IpAddr) -> bool {
        let Peers::Of { sets, blocks, names } = peers else { return true };
        let has = |key: &SetKey| match self.members(key) {
            Some(Members::Addrs(addrs)) => addrs.contains(&addr),
            Some(Members::Ports(_)) | None => false,
        };
        let is_meant = |name| names.iter().any(|pattern| pattern.matches(name));
        sets.iter().any(has)
            || blocks.iter().any(|net| net.contains(&addr))
            || (!names.is_empty()
                && self.learned.iter().any(|(name, all)| is_meant(name) && all.contains(&addr)))
    }

    fn members(&self, key: &SetKey) -> Option<&'a Members> {
        self.table.sets.get(key)
    }
}

impl<'g> Facing<'g> {
    /// Where its rules let the peer go.
    pub(super) fn destinations(&self) -> impl Iterator<Item = &'g Destination> {
        let tiers = [&self.admin, &self.baseline].into_iter().chain(&self.allowed);
        tiers.flatten().flat_map(|(_, at)| at.iter().copied())
    }

    /// Admin, then NetworkPolicies unless they are not asked, then Baseline (NP-C1).
    pub(super) fn decide(
        &self,
        asks_all: bool,
        is_there: impl Fn(&Destination) -> bool,
    ) -> Decision<'g> {
        let first = |rules: &[Facet<'g>]| {
            let met = rules.iter().find(|(_, at)| at.iter().any(|one| is_there(one)));
            met.map(|(rule, _)| *rule)
        };
        let tier = |rules: &[Facet<'g>]| {
            first(rules).filter(|rule| rule.action != RuleAction::Pass).map(Decision::Rule)
        };
        let namespaced = || {
            let allowed = self.allowed.as_ref().filter(|_| asks_all)?;
            Some(first(allowed).map_or(Decision::NotAllowed, Decision::Rule))
        };
        let decided = tier(&self.admin).or_else(namespaced).or_else(|| tier(&self.baseline));
        decided.unwrap_or(Decision::Nothing)
    }
}
