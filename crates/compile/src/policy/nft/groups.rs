//! The chains of groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Direction, DropReason, Family, RuleAction};
use plan::nft::{ChainName, Field, Op, Rule, Statement, Value, Verdict};

use super::super::{Destination, Group, Peers, PolicyRule, PolicyTable, Ports, Target};
use super::base::{client, itself, own_node, server};
use super::names;
use super::sets::Sets;
use crate::ruleset::{self, Ruleset, by_family, lookup, name};

/// Chains and sets, made as pods need them.
pub(super) struct Groups<'a, 'r> {
    sets: Sets<'a>,
    rules: Ruleset<'r>,
    known: BTreeMap<(Direction, Family, Arc<Group>), Option<String>>,
}

/// One direction of one family: what the rules of a chain have in common.
#[derive(Clone, Copy)]
struct Way {
    direction: Direction,
    family: Family,
}

impl<'a, 'r> Groups<'a, 'r> {
    pub(super) fn new(table: &'a PolicyTable, rules: Ruleset<'r>) -> Self {
        Groups { sets: Sets::new(table), rules, known: BTreeMap::new() }
    }

    pub(super) fn rules(&mut self) -> &mut Ruleset<'r> {
        &mut self.rules
    }

    /// The chain of `group`; `None` where it asks nothing.
    pub(super) fn chain(
        &mut self,
        group: &Arc<Group>,
        direction: Direction,
        family: Family,
    ) -> Option<String> {
        let key = (direction, family, Arc::clone(group));
        if let Some(chain) = self.known.get(&key) {
            return chain.clone();
        }
        let way = Way { direction, family };
        let baseline = self.tier(way, "baseline", &group.baseline, None);
        let namespaced = match &group.allowed {
            Some(allowed) => Some(self.allowed(way, allowed, baseline.as_deref())),
            None => baseline,
        };
        let chain = self.tier(way, "admin", &group.admin, namespaced.as_deref());
        self.known.insert(key, chain.clone());
        chain
    }

    /// The chain of a tier of the cluster's policies, which leads to `next`; `next` itself where no rule is
    /// about the family.
    fn tier(
        &mut self,
        way: Way,
        tier: &str,
        rules: &[PolicyRule],
        next: Option<&str>,
    ) -> Option<String> {
        let mut chain = Vec::new();
        for rule in rules {
            let verdict = match rule.action {
                RuleAction::Accept => Verdict::Return,
                RuleAction::Deny => Verdict::Drop,
                RuleAction::Pass => go_on(next),
            };
            chain.extend(self.rule(way, rule, &verdict));
        }
        if chain.is_empty() {
            return next.map(str::to_owned);
        }
        if next.is_some() {
            let on = Statement::Verdict(go_on(next));
            chain.push(ruleset::rule(vec![on], "the next tier"));
        }
        Some(self.put(way, tier, chain))
    }

    /// The chain of what NetworkPolicies allow: nothing else. What comes back to its own pod and goes to
    /// its own node is no matter of theirs (NP-U4, NP-N24).
    fn allowed(&mut self, way: Way, rules: &[PolicyRule], baseline: Option<&str>) -> String {
        let Way { direction, family } = way;
        let beyond = |statement, why| {
            ruleset::rule(vec![statement, Statement::Verdict(go_on(baseline))], why)
        };
        let back = lookup(&[client(family), server(family)], Op::Eq, itself(family));
        let mut chain = vec![beyond(back, "back to its own pod")];
        if direction == Direction::Egress {
            let here = Statement::Match(Field::Oifname, Op::Eq, Value::Name("".into()));
            chain.push(beyond(here, "to its own node"));
            let own = lookup(&[server(family)], Op::Eq, own_node(family));
            chain.push(beyond(own, "to its own node"));
        }
        for rule in rules {
            chain.extend(self.rule(way, rule, &Verdict::Return));
        }
        let why = format!("{direction} {}", DropReason::NotAllowed);
        chain.push(ruleset::drop(Vec::new(), &why));
        self.put(way, "allowed", chain)
    }

    /// A rule: one for each kind of peer at each range of ports.
    fn rule(&mut self, way: Way, rule: &PolicyRule, verdict: &Verdict) -> Vec<Rule> {
        let comment = names::comment(format!("{} {}", way.direction, rule.name));
        let mut rules = Vec::new();
        for Target { peers, destination } in &rule.targets {
            let peers = self.peers(way, peers);
            if peers.is_empty() {
                continue;
            }
            let destinations = self.destinations(way, destination);
            for peer in &peers {
                for destination in &destinations {
                    let mut statements: Vec<Statement> = peer.iter().cloned().collect();
                    statements.extend(destination.iter().cloned());
                    statements.extend([Statement::Counter, Statement::Verdict(verdict.clone())]);
                    rules.push(ruleset::rule(statements, &comment));
                }
            }
        }
        rules
    }

    /// What matches the peers, any of it.
    fn peers(&mut self, Way { direction, family }: Way, peers: &Peers) -> Vec<Option<Statement>> {
        let Peers::Of { sets, blocks, names } = peers else { return vec![None] };
        let mut found = Vec::new();
        for key in sets {
            found.push(self.sets.selected(key, family, &mut self.rules));
        }
        found.extend(self.sets.blocks(blocks, family, &mut self.rules));
        for pattern in names {
            found.push(self.sets.named(pattern, family, &mut self.rules));
        }
        let end = match direction {
            Direction::Egress => server(family),
            Direction::Ingress => client(family),
        };
        found.iter().map(|set| Some(lookup(&[end], Op::Eq, set))).collect()
    }

    /// What matches the destination, any of it.
    fn destinations(&mut self, way: Way, destination: &Destination) -> Vec<Vec<Statement>> {
        match destination {
            Destination::Any => vec![Vec::new()],
            Destination::Ports(all) => ports(all),
            Destination::Named(key) => {
                let set = self.sets.selected(key, way.family, &mut self.rules);
                let fields = vec![server(way.family), Field::L4proto, Field::ServerPort];
                vec![vec![Statement::Lookup(fields, Op::Eq, name(&set))]]
            }
        }
    }

    /// A chain with these rules, named by them.
    fn put(&mut self, Way { direction, family }: Way, tier: &str, chain: Vec<Rule>) -> String {
        let mut text = String::new();
        for rule in &chain {
            text.push_str(&rule.to_string());
            text.push('\n');
        }
        let kind = format!("{direction}{}_{tier}", by_family(family, "4", "6"));
        let name = self.sets.name(&kind, text);
        self.rules.chain(&name, chain);
        name
    }
}

/// To the next section, or back, which is to allow it.
fn go_on(next: Option<&str>) -> Verdict {
    next.map_or(Verdict::Return, |next| Verdict::Goto(ChainName(next.into())))
}

fn ports(all: &Ports) -> Vec<Vec<Statement>> {
    let of = |protocol: &model::Protocol, range: &(u16, u16)| -> Vec<Statement> {
        let is = Statement::Match(Field::L4proto, Op::Eq, Value::Number(protocol.number()));
        let at = match *range {
            (0, u16::MAX) => None,
            (first, last) if first == last => {
                Some(Statement::Match(Field::ServerPort, Op::Eq, Value::Port(first)))
            }
            (first, last) => Some(Statement::Within(Field::ServerPort, first, last)),
        };
        [is].into_iter().chain(at).collect()
    };
    all.iter()
        .flat_map(|(protocol, ranges)| ranges.iter().map(move |range| of(protocol, range)))
        .collect()
}
