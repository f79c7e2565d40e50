//! Who reaches whom at which ports: every pair of two ends, asked once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Direction, Family};

use super::ends::{End, ends, index};
use super::facing::{Goal, Membership};
use super::judge::Judge;
use super::port_set::{PortSet, Probe};
use super::{Group, PodPolicy};

/// Who reaches whom. Of protocols and ports those that no pair is treated differently at are one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// Who begins connections, and whom to.
    pub ends: Vec<End>,
    /// At which ports.
    pub columns: Vec<PortSet>,
    /// One port of each column.
    at: Vec<usize>,
    reach: Reach,
}

/// Whether one end may begin connections with another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// In every family that both have.
    Allowed,
    /// In none.
    Denied,
    /// In this family alone, though both have the other one, too.
    Only(Family),
    /// It is one pod and itself, which no policy forbids (NP-N20).
    Itself,
    /// There is no family that both have, or neither is of the cluster.
    Apart,
}

/// What a judge says of all pairs at all ports. What many pairs have in common is there once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reach {
    count: usize,
    patterns: Vec<Pattern>,
    of: Vec<usize>,
}

/// Whether a pair is allowed, by family and port; `None` for a family that one of them does not have.
pub(super) type Pattern = [Option<Bits>; 2];

/// A yes or no for each port.
pub(super) type Bits = Arc<[bool]>;

impl Matrix {
    /// Who reaches whom by the table of `judge`: its pods, of these namespaces unless there are none, and
    /// the world outside.
    pub fn of(judge: &Judge<'_>, namespaces: &BTreeSet<Arc<str>>) -> Self {
        let judges = std::slice::from_ref(judge);
        let ends = ends(judges, namespaces);
        let probes = Probe::all(judges);
        let reach = Reach::of(judge, &ends, &probes);
        let mut columns: BTreeMap<Vec<Option<bool>>, Vec<usize>> = BTreeMap::new();
        for i in 0..probes.len() {
            let bits =
                reach.patterns.iter().flatten().map(|bits| bits.as_ref().map(|bits| bits[i]));
            columns.entry(bits.collect()).or_default().push(i);
        }
        let mut columns: Vec<Vec<usize>> = columns.into_values().collect();
        // In the order of their first ports; the one with everything else is last.
        let others = probes.len() - 1;
        columns.sort_by_key(|all| (all.contains(&others), all[0]));
        let set = |all: &Vec<usize>| all.iter().map(|i| probes[*i]).collect();
        let (at, columns) = columns.iter().map(|all| (all[0], set(all))).unzip();
        Matrix { ends, columns, at, reach }
    }

    /// Whether the end of number `from` may begin connections with that of number `to`.
    pub fn cell(&self, column: usize, from: usize, to: usize) -> Cell {
        if from == to && self.ends[from].is_single() {
            return Cell::Itself;
        }
        let probe = self.at[column];
        let pattern = self.reach.pattern(from, to);
        let said = pattern.each_ref().map(|bits| bits.as_ref().map(|bits| bits[probe]));
        match said {
            [None, None] => Cell::Apart,
            [Some(true), Some(true) | None] | [None, Some(true)] => Cell::Allowed,
            [Some(false), Some(false) | None] | [None, Some(false)] => Cell::Denied,
            [Some(true), Some(false)] => Cell::Only(Family::V4),
            [Some(false), Some(true)] => Cell::Only(Family::V6),
        }
    }
}

impl Reach {
    pub(super) fn of(judge: &Judge<'_>, ends: &[End], probes: &[Probe]) -> Self {
        let (known, distinct, ids) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let mut asked = Asked { judge, ends, probes, known, distinct, ids };
        let (mut patterns, mut ids) = (Vec::new(), BTreeMap::new());
        let mut of = Vec::with_capacity(ends.len() * ends.len());
        for (from, to) in (0..ends.len()).flat_map(|i| (0..ends.len()).map(move |j| (i, j))) {
            let key = Family::ALL.map(|family| asked.pair(from, to, family));
            let id = *ids.entry(key).or_insert_with(|| {
                patterns.push(key.map(|both| both.map(|both| asked.both(both))));
                patterns.len() - 1
            });
            of.push(id);
        }
        Reach { count: ends.len(), patterns, of }
    }

    pub(super) fn pattern(&self, from: usize, to: usize) -> &Pattern {
        &self.patterns[self.of[from * self.count + to]]
    }

    pub(super) fn id(&self, from: usize, to: usize) -> usize {
        self.of[from * self.count + to]
    }
}

/// What groups say of ends, asked when it is needed.
struct Asked<'a, 'j> {
    judge: &'a Judge<'j>,
    ends: &'a [End],
    probes: &'a [Probe],
    /// By direction, group, end at the other side and family.
    known: BTreeMap<(Direction, usize, usize, Family), usize>,
    distinct: Vec<Bits>,
    /// The places of those.
    ids: BTreeMap<Bits, usize>,
}

impl Asked<'_, '_> {
    /// What both ends say in a family: numbers of what is said.
    fn pair(&mut self, from: usize, to: usize, family: Family) -> Option<[usize; 2]> {
        let (client, server) = (&self.ends[from], &self.ends[to]);
        let (source, target) = (client.addr(family)?, server.addr(family)?);
        let policies = [client, server].map(|end| end.policy(self.judge));
        let [egress, ingress]: [Option<&PodPolicy>; 2] = policies;
        if egress.is_none() && ingress.is_none() {
            return None;
        }
        let egress = egress.map(|policy| &policy.egress);
        let ingress = ingress.map(|policy| &policy.ingress);
        // What comes in is judged by numbers of ports alone, so whose they are makes no difference.
        Some([
            self.said((Direction::Egress, egress), (to, target), target, family),
            self.said((Direction::Ingress, ingress), (from, source), target, family),
        ])
    }

    fn said(
        &mut self,
        (direction, group): (Direction, Option<&Arc<Group>>),
        (other, peer): (usize, IpAddr),
        to: IpAddr,
        family: Family,
    ) -> usize {
        let key = match group {
            Some(group) => (direction, Arc::as_ptr(group).addr(), other, family),
            None => (direction, 0, 0, family),
        };
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let bits: Bits = match group {
            Some(group) => self.asks(group, peer, to),
            None => self.probes.iter().map(|_| true).collect(),
        };
        let id = *self.ids.entry(Arc::clone(&bits)).or_insert_with(|| {
            self.distinct.push(bits);
            self.distinct.len() - 1
        });
        self.known.insert(key, id);
        id
    }

    fn asks(&self, group: &Group, peer: IpAddr, to: IpAddr) -> Bits {
        let membership = Membership { table: self.judge.table, learned: self.judge.learned };
        let facing = membership.facing(group, peer);
        let probes = self.probes.iter().map(|probe| {
            let goal = Goal { to, protocol: probe.protocol, port: probe.first };
            facing.decide(true, |one| membership.is_there(one, goal)).is_allowed()
        });
        probes.collect()
    }

    /// What is allowed by both.
    fn both(&self, [egress, ingress]: [usize; 2]) -> Bits {
        let all = self.distinct[egress].iter().zip(self.distinct[ingress].iter());
        all.map(|(egress, ingress)| *egress && *ingress).collect()
    }
}

/// What a pattern says of a family and a port.
pub(super) fn said(pattern: &Pattern, family: Family, probe: usize) -> Option<bool> {
    pattern[index(family)].as_ref().map(|bits| bits[probe])
}
