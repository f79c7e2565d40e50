//! The chains of groups.

use model::{Direction, DropReason, Family, Protocol, RuleAction};
use plan::Table;
use plan::nft::{ChainName, Field, Key, Op, Row, Rule, Statement, TableFamily, Value, Verdict};

use super::super::dns::Said;
use super::super::endings::{Ending, rule_comment};
use super::super::{Destination, Group, Peers, PolicyRule, PolicyTable, Ports, SetKey, Target};
use super::base::{client, ends, itself, own_node, server};
use super::names::comment;
use super::parts::{Needs, Parts};
use crate::ruleset::{self, Ruleset, by_family, lookup, name};

/// Writes the chains of one group, and the sets that they look into, where they are not there yet.
pub(super) struct Writer<'a> {
    pub(super) table: &'a PolicyTable,
    pub(super) parts: &'a mut Parts,
    pub(super) rows: &'a mut Table<Key, Row>,
    needs: Needs,
    /// Whether the rule that is being written denies or passes.
    narrows: bool,
    /// Whether what is being written drops nothing.
    is_audit: bool,
}

/// The first chains of a group, where it asks anything.
#[derive(Debug, Clone, Default)]
pub(super) struct Chains {
    /// About what is forwarded.
    pub(super) all: Option<String>,
    /// About what goes to the own node.
    pub(super) to_node: Option<String>,
    /// About questions to the cluster's DNS, where not all of them pass.
    pub(super) questions: Option<String>,
}

/// One direction of one family: what the rules of a chain have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    pub(super) direction: Direction,
    pub(super) family: Family,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        table: &'a PolicyTable,
        parts: &'a mut Parts,
        rows: &'a mut Table<Key, Row>,
    ) -> Self {
        Writer { table, parts, rows, needs: Needs::new(), narrows: false, is_audit: false }
    }

    /// The chains of `group`, with questions that something is `said` of and the port where nodes answer them; and
    /// all that they need.
    pub(super) fn write(
        mut self,
        group: &Group,
        way: Way,
        said: Option<(&Said, u16)>,
    ) -> (Chains, Needs) {
        let all = self.judged(group, way, Self::asked);
        let to_node = match way.direction {
            Direction::Egress => self.judged(group, way, Self::asked_of_node),
            Direction::Ingress => None,
        };
        // Who is asked nothing in a family needs no leave there.
        let said = said.filter(|_| all.is_some());
        let questions = said.and_then(|(said, node_port)| self.questions(way, said, node_port));
        self.parts.need(&self.needs);
        (Chains { all, to_node, questions }, self.needs)
    }

    /// The chain that `asks` what is enforced. Where some policies are audited, what all would say is asked behind
    /// that: of what it lets through.
    fn judged(
        &mut self,
        group: &Group,
        way: Way,
        asks: impl Fn(&mut Self, &Group, Way) -> Option<String>,
    ) -> Option<String> {
        self.is_audit = false;
        let enforced = asks(self, group, way);
        self.is_audit = true;
        let would = group.audit.as_ref().and_then(|would| asks(self, would, way));
        match (enforced, would) {
            (Some(enforced), Some(would)) => Some(self.both(way, &enforced, &would)),
            (enforced, would) => enforced.or(would),
        }
    }

    /// The chain of questions that this is `said` of, or `None` where all pass. In a packet that asks, the
    /// addresses are as they were: of one that nobody tracks nothing else is known.
    fn questions(&mut self, way: Way, said: &Said, node_port: u16) -> Option<String> {
        self.narrows = false;
        let daddr = by_family(way.family, Field::Ip4Daddr, Field::Ip6Daddr);
        let over = |protocol: Protocol| {
            Statement::Match(Field::L4proto, Op::Eq, Value::Number(protocol.number()))
        };
        let to =
            |ending: Ending| Statement::Verdict(Verdict::Goto(ChainName(ending.chain().into())));
        // The kernel walks through all of it for each address that leads here, whenever any chain changes.
        let all = said.all.iter().map(|(protocol, ending)| {
            ruleset::rule(vec![over(*protocol), to(*ending)], "the cluster's DNS")
        });
        let mut chain: Vec<Rule> = all.collect();
        for (addr, protocol, ending) in &said.ends {
            if Family::of(*addr) == way.family {
                let here = Statement::Match(daddr, Op::Eq, (*addr).into());
                let statements = vec![here, over(*protocol), to(*ending)];
                chain.push(ruleset::rule(statements, "the cluster's DNS"));
            }
        }
        let all = |one: &(Protocol, Ending)| said.all.contains(one);
        for (protocol, ending) in said.never.iter().filter(|one| !all(one)) {
            let at = Statement::Match(Field::Dport, Op::Eq, Value::Port(node_port));
            let statements = vec![over(*protocol), at, to(*ending)];
            chain.push(ruleset::rule(statements, "a node's DNS"));
        }
        (!chain.is_empty()).then(|| self.put(way, "dns", chain))
    }

    /// The chain that asks one chain, and then another where that lets through.
    fn both(&mut self, way: Way, enforced: &str, would: &str) -> String {
        let to = |chain: &str| ChainName(chain.into());
        let enforced = Statement::Verdict(Verdict::Jump(to(enforced)));
        let would = Statement::Verdict(Verdict::Goto(to(would)));
        let rules = [(enforced, "what is enforced"), (would, "what is audited")];
        let rules = rules.map(|(verdict, why)| ruleset::rule(vec![verdict], why));
        self.put(way, "audit", rules.into())
    }

    fn asked(&mut self, group: &Group, way: Way) -> Option<String> {
        let baseline = self.tier(way, "baseline", &group.baseline, None);
        let namespaced = match &group.allowed {
            Some(allowed) => Some(self.allowed(way, allowed, baseline.as_deref())),
            None => baseline,
        };
        self.tier(way, "admin", &group.admin, namespaced.as_deref())
    }

    /// The same of what goes to the own node, which is no matter of NetworkPolicies (NP-N24).
    fn asked_of_node(&mut self, group: &Group, way: Way) -> Option<String> {
        let baseline = self.tier(way, "baseline", &group.baseline, None);
        self.tier(way, "admin", &group.admin, baseline.as_deref())
    }

    /// The name of a chain or set that says `text`, which `write` makes unless it is there.
    pub(super) fn part(
        &mut self,
        kind: &str,
        text: String,
        of: Option<(SetKey, Family)>,
        write: impl FnOnce(&mut Ruleset<'_>, &str),
    ) -> String {
        let name = self.parts.name(kind, &text);
        self.declared(&name, text, of, write)
    }

    /// The same, of a name that is given.
    pub(super) fn declared(
        &mut self,
        name: &str,
        text: String,
        of: Option<(SetKey, Family)>,
        write: impl FnOnce(&mut Ruleset<'_>, &str),
    ) -> String {
        if self.parts.declare(name, text, of) {
            write(&mut Ruleset::new(self.rows, TableFamily::Inet), name);
        }
        *self.needs.entry(name.to_owned()).or_default() |= self.narrows;
        name.to_owned()
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
                RuleAction::Deny => ends(DropReason::Denied, way.direction, self.is_audit),
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
        let mut beyond = self.beyond(way, baseline);
        // Where nobody else is asked, it is allowed as by a rule: then rules come first, for most is theirs.
        let last = if baseline.is_none() { std::mem::take(&mut beyond) } else { Vec::new() };
        let mut chain = beyond;
        for rule in rules {
            chain.extend(self.rule(way, rule, &Verdict::Return));
        }
        chain.extend(last);
        let direction = way.direction;
        let why = rule_comment(direction, &DropReason::NotAllowed, self.is_audit);
        let ends = Statement::Verdict(ends(DropReason::NotAllowed, direction, self.is_audit));
        chain.push(ruleset::rule(vec![Statement::Counter, ends], &why));
        self.put(way, "allowed", chain)
    }

    /// What is beyond NetworkPolicies. To the node itself they are not asked anyway; but it may be known by
    /// addresses that it has elsewhere.
    fn beyond(&self, Way { direction, family }: Way, baseline: Option<&str>) -> Vec<Rule> {
        let is_in = |fields: &[Field], set, why| {
            let on = Statement::Verdict(go_on(baseline));
            ruleset::rule(vec![lookup(fields, Op::Eq, set), on], why)
        };
        let pair = [client(family), server(family)];
        let back = is_in(&pair, itself(family), "back to its own pod");
        let own = || is_in(&pair[1..], own_node(family), "to its own node");
        let own = (direction == Direction::Egress).then(own);
        [back].into_iter().chain(own).collect()
    }

    /// A rule: one for each kind of peer at each range of ports.
    fn rule(&mut self, way: Way, rule: &PolicyRule, verdict: &Verdict) -> Vec<Rule> {
        let comment = comment(rule_comment(way.direction, &rule.name, self.is_audit));
        self.narrows = rule.action != RuleAction::Accept;
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
            found.push(self.selected(key, family));
        }
        found.extend(self.blocks(blocks, family));
        for pattern in names {
            found.push(self.named(pattern, family));
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
                let set = self.selected(key, way.family);
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
        self.part(&kind, text, None, |rules, name| rules.chain(name, chain))
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
