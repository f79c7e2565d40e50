//! The rules of one shape.

use model::Family;
use plan::nft::{
    ChainName, DynamicOp, Field, Nat, NatSource, Op, Rule, Set, SetName, Statement, Value, Verdict,
    Writable,
};

use super::base::CHANGED;
use super::names::{self, Backends, Map, Names, Place, flow, frontend, source};
use super::shape::{Fate, Shape};
use crate::ruleset::{self, MASQUERADE, by_family, lookup};

/// Chains and sets that frontends of one shape need.
pub(super) struct Needs<'a> {
    names: &'a mut Names,
    shape: Shape,
    /// The chains, with their rules.
    pub(super) chains: Vec<(ChainName, Vec<Rule>)>,
    /// The sets.
    pub(super) sets: Vec<(SetName, Set)>,
}

impl<'a> Needs<'a> {
    /// What `shape` needs.
    pub(super) fn of(shape: Shape, names: &'a mut Names) -> Self {
        let mut needs = Needs { names, shape, chains: Vec::new(), sets: Vec::new() };
        if shape.tells_apart() {
            let rules = needs.clients();
            needs.chains.push((shape.chain(), rules));
        }
        for fate in shape.fates() {
            if let Fate::Forward { backends, count, masquerade } = fate {
                let rules = match shape.affinity {
                    None => needs.random(backends, count, masquerade),
                    Some(seconds) => needs.remembered(seconds, backends, count, masquerade),
                };
                needs.chains.push((shape.chain_of(fate), rules));
            }
        }
        needs
    }

    /// The name of `map`, which is needed.
    fn map(&mut self, map: Map) -> SetName {
        let Shape { place, family, .. } = self.shape;
        let name = self.names.of(map, place, family);
        self.sets.push((name.clone(), map.declared(place, family)));
        name
    }

    /// The frontend as a key, with `more` behind it.
    fn key(&self, more: &[Field]) -> Vec<Field> {
        [&frontend(self.shape.place, self.shape.family), more].concat()
    }

    /// Tells clients apart, once those are gone that are not let in.
    fn clients(&mut self) -> Vec<Rule> {
        let (shape, source) = (self.shape, source(self.shape.family));
        let mut rules = Vec::new();
        if shape.is_limited {
            let allowed = self.map(Map::Allowed);
            let stranger = Statement::Lookup(self.key(&[source]), Op::Ne, allowed);
            rules.push(ruleset::drop(vec![stranger], "outside of loadBalancerSourceRanges"));
        }
        let go = |fate| Statement::Verdict(Verdict::Goto(shape.chain_of(fate)));
        if shape.node != shape.outside || shape.node != shape.pods {
            let own = Statement::Match(Field::Iifname, Op::Eq, Value::Name("".into()));
            rules.push(ruleset::rule(vec![own, go(shape.node)], "the node's own"));
        }
        if shape.pods != shape.outside {
            let pods = by_family(shape.family, "local_pods4", "local_pods6");
            let pod = lookup(&[source], Op::Eq, pods);
            rules.push(ruleset::rule(vec![pod, go(shape.pods)], "this node's pods"));
        }
        rules.push(ruleset::rule(vec![go(shape.outside)], "everybody else"));
        rules
    }

    /// Each backend with the same likelihood.
    ///
    /// A transaction that takes the drawn slot away may be committed between the lookup that led here
    /// and the one that is made here. The Service has a first slot as long as it has any.
    fn random(&mut self, backends: Backends, count: u32, masquerade: bool) -> Vec<Rule> {
        let map = self.map(Map::Slots(backends));
        let to_one_of = |count| self.to(self.key(&[Field::Random(count)]), map.clone());
        let mut drawn = mark(masquerade);
        drawn.push(to_one_of(count));
        let mut rules = vec![Rule { statements: drawn, comment: None }];
        if count > 1 {
            rules.push(ruleset::rule(vec![to_one_of(1)], "the slot has just gone"));
        }
        rules.push(just_changed());
        rules
    }

    fn to(&self, fields: Vec<Field>, map: SetName) -> Statement {
        let ipv6 = self.shape.family == Family::V6;
        Statement::Nat(Nat::Dnat, NatSource::Map { ipv6, fields, map })
    }

    /// The backend that the client had, else one by chance that it has from then on.
    ///
    /// A packet has two places where a rule can leave a number for the next: its priority is the
    /// number of the backend, its mark that of the port for as long as it is in here.
    fn remembered(
        &mut self,
        seconds: u32,
        backends: Backends,
        count: u32,
        masquerade: bool,
    ) -> Vec<Rule> {
        let [clients, aside, ports, choices] =
            [Map::Clients(seconds), Map::Aside, Map::Ports, Map::Choices(backends)]
                .map(|map| self.map(map));
        let chosen = self.chosen(backends, masquerade);
        let go = || Statement::Verdict(Verdict::Jump(chosen.clone()));
        let client = vec![source(self.shape.family), Field::Mark];
        let recall = Statement::SetFrom(Writable::Priority, client.clone(), clients.clone());
        let learn = |op| {
            let (map, key) = (clients.clone(), client.clone());
            Statement::Dynamic { op, map, key, data: vec![Field::Priority] }
        };
        let [forget, remember] = [DynamicOp::Delete, DynamicOp::Update].map(&learn);
        let lay = |op| {
            let (map, key) = (aside.clone(), flow(self.shape.family));
            Statement::Dynamic { op, map, key, data: vec![Field::Mark] }
        };
        let marked = Statement::Match(Field::Mark, Op::Ne, Value::Mark(0));
        let port = || Statement::SetFrom(Writable::Mark, self.key(&[]), ports.clone());
        let random = self.key(&[Field::Random(count)]);
        let choose = || Statement::SetFrom(Writable::Priority, random.clone(), choices.clone());
        vec![
            ruleset::rule(
                vec![marked, lay(DynamicOp::Delete), lay(DynamicOp::Update)],
                "a mark of somebody else's is laid aside",
            ),
            ruleset::rule(vec![port()], "which port it is"),
            ruleset::rule(vec![recall, remember.clone(), go()], "remembered, if still there"),
            ruleset::rule(vec![port()], "which port it is"),
            ruleset::rule(vec![choose(), forget, remember, go()], "a new one"),
            ruleset::rule(vec![choose(), go()], "no room to remember it"),
            just_changed(),
        ]
    }

    /// To the backend whose number is the packet's priority, if it is one of them. Returns the
    /// chain.
    fn chosen(&mut self, backends: Backends, masquerade: bool) -> ChainName {
        let [aside, members] = [Map::Aside, Map::Members(backends)].map(|map| self.map(map));
        let Shape { place, family, .. } = self.shape;
        let node = if place == Place::Node { "node_" } else { "" };
        let set = match backends {
            Backends::Cluster => "cluster",
            Backends::Local => "local",
        };
        let how = if masquerade { "_masqueraded" } else { "" };
        let chain = ChainName(format!("{node}{set}{}_chosen{how}", by_family(family, 4, 6)).into());
        let back = Statement::SetFrom(Writable::Mark, flow(family), aside);
        let mut to = mark(masquerade);
        to.push(self.to(self.key(&[Field::Priority]), members));
        let rules = vec![
            ruleset::rule(vec![Statement::SetMark(0)], "no mark"),
            ruleset::rule(vec![back], "or the one that was laid aside"),
            Rule { statements: to, comment: None },
        ];
        self.chains.push((chain.clone(), rules));
        chain
    }
}

/// The packet is a Service's, and the Service is no longer as it was when the packet was looked up.
fn just_changed() -> Rule {
    let go = Statement::Verdict(Verdict::Goto(ChainName(CHANGED.into())));
    ruleset::rule(vec![go], "changed in this moment")
}

/// Has the source rewritten once the packet leaves.
fn mark(masquerade: bool) -> Vec<Statement> {
    if masquerade { vec![Statement::SetMarkBits(MASQUERADE)] } else { Vec::new() }
}

/// Sets that are there whatever Services there are.
pub(super) fn constant_sets(names: &mut Names) -> Vec<(SetName, Set)> {
    let mut sets = Vec::new();
    for family in Family::ALL {
        let mut declare = |map: Map, place| {
            sets.push((names.of(map, place, family), map.declared(place, family)));
        };
        declare(Map::Frontends, names::Place::Address);
        declare(Map::Frontends, names::Place::Node);
        [Map::Ips, Map::Vips, Map::Cidrs, Map::NodeAddrs]
            .into_iter()
            .for_each(|map| declare(map, Place::Address));
    }
    sets
}
