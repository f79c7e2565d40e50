//! Who reaches whom at which ports: every pair of two ends.
//!
//! A group says the same to all peers that its rules don't tell apart, and at all ports between two of which
//! they speak. So it is asked once for each kind of peer and piece of ports, and pairs are put together from
//! what both ends have said.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use model::{Direction, Family, Protocol};

use super::ends::{End, ends};
use super::facing::{Goal, Membership};
use super::judge::Judge;
use super::port_set::{PortSet, Probe};
use super::runs::{Classes, Runs};
use super::{Destination, Group, Members, Peers, SetKey};

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
    /// At which probes, each answer once.
    said: Vec<Runs>,
    /// Numbers of those, by pair.
    of: Vec<Pattern>,
}

/// What is said of a pair, by family; `None` for a family that one of them does not have.
pub(super) type Pattern = [Option<usize>; 2];

impl Matrix {
    /// Who reaches whom by the table of `judge`: its pods, of these namespaces unless there are none, and
    /// the world outside.
    pub fn of(judge: &Judge<'_>, namespaces: &BTreeSet<Arc<str>>) -> Self {
        let judges = std::slice::from_ref(judge);
        let ends = ends(judges, namespaces);
        let probes = Probe::all(judges);
        let reach = Reach::of(judge, &ends, &probes);
        let mut classes = Classes::one(probes.len());
        let met: BTreeSet<usize> = reach.of.iter().flatten().flatten().copied().collect();
        met.into_iter().for_each(|id| classes.split(reach.said[id].iter()));
        let mut columns = classes.all();
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
        match self.reach.said(from, to, self.at[column]) {
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
        let membership = Membership { table: judge.table, learned: judge.learned };
        let (meant, named, known) = (BTreeMap::new(), BTreeMap::new(), Known::new(probes));
        let mut asked = Asked { membership, ends, probes, meant, named, known };
        let all: Rc<[usize]> = vec![ALL; ends.len()].into();
        let mut of = vec![[None; 2]; ends.len() * ends.len()];
        for (i, family) in Family::ALL.into_iter().enumerate() {
            let mut rows: BTreeMap<(Direction, usize), Rc<[usize]>> = BTreeMap::new();
            let mut of_all = |direction| -> Vec<Option<Rc<[usize]>>> {
                let row = |end: &End| {
                    let group = end.policy(judge).map(|policy| policy.group(direction))?;
                    let row = rows.entry((direction, Arc::as_ptr(group).addr()));
                    Some(Rc::clone(row.or_insert_with(|| asked.row(direction, group, family))))
                };
                ends.iter().map(row).collect()
            };
            let [egress, ingress] = [Direction::Egress, Direction::Ingress].map(&mut of_all);
            for (from, to) in (0..ends.len()).flat_map(|i| (0..ends.len()).map(move |j| (i, j))) {
                // Neither is of the cluster, or they can't meet.
                if egress[from].is_none() && ingress[to].is_none()
                    || [from, to].iter().any(|end| ends[*end].addr(family).is_none())
                {
                    continue;
                }
                let egress = egress[from].as_ref().unwrap_or(&all)[to];
                let ingress = ingress[to].as_ref().unwrap_or(&all)[from];
                of[from * ends.len() + to][i] = Some(asked.known.both(egress, ingress));
            }
        }
        Reach { count: ends.len(), said: asked.known.said, of }
    }

    pub(super) fn pattern(&self, from: usize, to: usize) -> Pattern {
        self.of[from * self.count + to]
    }

    /// What is said of a pair at one probe, by family.
    pub(super) fn said(&self, from: usize, to: usize, probe: usize) -> [Option<bool>; 2] {
        self.pattern(from, to).map(|id| id.map(|id| self.said[id].has(probe)))
    }

    /// At which probes a pattern says yes, by family.
    pub(super) fn runs(&self, pattern: Pattern) -> [Option<&Runs>; 2] {
        pattern.map(|id| id.map(|id| &self.said[id]))
    }
}

/// The number of what is said at no probe.
const NONE: usize = 0;

/// The number of what is said at all of them.
const ALL: usize = 1;

/// Answers, each with a number.
struct Known {
    said: Vec<Runs>,
    ids: BTreeMap<Runs, usize>,
}

impl Known {
    fn new(probes: &[Probe]) -> Self {
        let said = vec![Runs::default(), Runs::all(probes.len())];
        let ids = said.iter().cloned().zip([NONE, ALL]).collect();
        Known { said, ids }
    }

    fn id(&mut self, runs: Runs) -> usize {
        *self.ids.entry(runs).or_insert_with_key(|runs| {
            self.said.push(runs.clone());
            self.said.len() - 1
        })
    }

    /// What both say.
    fn both(&mut self, one: usize, other: usize) -> usize {
        match (one, other) {
            _ if one == other => one,
            (NONE, _) | (_, NONE) => NONE,
            (ALL, id) | (id, ALL) => id,
            _ => match self.said[one].and(&self.said[other]) {
                none if none == Runs::default() => NONE,
                both => self.id(both),
            },
        }
    }
}

type Named = BTreeMap<IpAddr, Vec<(Protocol, u16)>>;

/// What groups say of ends.
struct Asked<'a, 'j> {
    membership: Membership<'j>,
    ends: &'a [End],
    probes: &'a [Probe],
    /// The ends that peers mean.
    meant: BTreeMap<(Family, &'j Peers), Rc<[usize]>>,
    /// The ports that are members of a set, by address.
    named: BTreeMap<&'j SetKey, Rc<Named>>,
    known: Known,
}

impl<'j> Asked<'_, 'j> {
    /// What a group says of each end, which is at the other side: the numbers of answers.
    fn row(&mut self, direction: Direction, group: &'j Group, family: Family) -> Rc<[usize]> {
        let mut row = vec![NONE; self.ends.len()];
        for class in self.classes(direction, group, family) {
            // Those without an address of this family are classes of their own.
            let Some(peer) = self.ends[class[0]].addr(family) else { continue };
            let said = self.asks(group, peer);
            let id = self.known.id(said);
            class.into_iter().for_each(|end| row[end] = id);
        }
        row.into()
    }

    /// The ends that a group's rules don't tell apart.
    fn classes(
        &mut self,
        direction: Direction,
        group: &'j Group,
        family: Family,
    ) -> Vec<Vec<usize>> {
        let ends = self.ends;
        let mut classes = Classes::one(ends.len());
        let addrs = || ends.iter().map(|end| end.addr(family)).enumerate();
        classes.split(addrs().filter_map(|(i, addr)| addr.map(|_| i)));
        let targets = || group.enforced().flat_map(|rule| &rule.targets);
        for peers in targets().map(|target| &target.peers).collect::<BTreeSet<_>>() {
            classes.split(self.meant(peers, family).iter().copied());
        }
        // What comes in is judged by numbers of ports alone.
        let is_out = direction == Direction::Egress;
        for key in targets().filter(|_| is_out).filter_map(|one| one.destination.named()) {
            let named = self.named(key);
            let mut by_ports: BTreeMap<Option<&Vec<_>>, Vec<usize>> = BTreeMap::new();
            for (i, addr) in addrs() {
                by_ports.entry(addr.and_then(|addr| named.get(&addr))).or_default().push(i);
            }
            by_ports.into_values().for_each(|ends| classes.split(ends));
        }
        classes.all()
    }

    fn meant(&mut self, peers: &'j Peers, family: Family) -> Rc<[usize]> {
        let (ends, membership) = (self.ends.iter().enumerate(), self.membership);
        let is_meant = |end: &End| end.addr(family).is_some_and(|a| membership.is_peer(peers, a));
        let all = self.meant.entry((family, peers));
        let all =
            all.or_insert_with(|| ends.filter(|(_, end)| is_meant(end)).map(|(i, _)| i).collect());
        Rc::clone(all)
    }

    fn named(&mut self, key: &'j SetKey) -> Rc<Named> {
        let members = self.membership.table.sets.get(key);
        let named = self.named.entry(key).or_insert_with(|| {
            let mut named = Named::new();
            if let Some(Members::Ports(all)) = members {
                for (addr, protocol, port) in all.iter() {
                    named.entry(*addr).or_default().push((*protocol, *port));
                }
            }
            Rc::new(named)
        });
        Rc::clone(named)
    }

    /// At which probes a group lets something through between its pods and a peer.
    fn asks(&mut self, group: &'j Group, peer: IpAddr) -> Runs {
        let membership = self.membership;
        let facing = membership.facing(group, peer);
        let mut cuts = BTreeSet::from([0, self.probes.len() - 1]);
        for destination in facing.destinations() {
            self.cut(destination, peer, &mut cuts);
        }
        let mut said = Runs::default();
        for (first, end) in cuts.iter().zip(cuts.iter().skip(1).chain([&self.probes.len()])) {
            // Only what goes out asks for a port by its name: that of the peer.
            let Probe { protocol, first: port, .. } = self.probes[*first];
            let goal = Goal { to: peer, protocol, port };
            if facing.decide(true, |one| membership.is_there(one, goal)).is_allowed() {
                said.push(*first..*end);
            }
        }
        said
    }

    /// The probes at which what is said of `destination` begins and ends.
    fn cut(&mut self, destination: &'j Destination, peer: IpAddr, cuts: &mut BTreeSet<usize>) {
        // The last one is of protocols without ports.
        let probes = &self.probes[..self.probes.len() - 1];
        let mut add = |protocol: Protocol, first: u16, last: u16| {
            let before = |probe: &Probe| (probe.protocol, probe.last) < (Some(protocol), first);
            let until = |probe: &Probe| (probe.protocol, probe.last) <= (Some(protocol), last);
            cuts.insert(probes.partition_point(before));
            cuts.insert(probes.partition_point(until));
        };
        match destination {
            Destination::Any => {}
            Destination::Ports(ports) => ports.iter().for_each(|(protocol, ranges)| {
                ranges.iter().for_each(|(first, last)| add(*protocol, *first, *last));
            }),
            Destination::Named(key) => {
                let named = self.named(key);
                let ports = named.get(&peer).into_iter().flatten();
                ports.for_each(|(protocol, port)| add(*protocol, *port, *port));
            }
        }
    }
}
