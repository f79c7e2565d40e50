//! What other policies would change: the same pairs at the same ports, judged before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Direction, Family};

use super::ends::{End, ends, index};
use super::judge::{By, Connection, Judge, Verdicts};
use super::port_set::{PortSet, Probe};
use super::reach::Reach;

/// What changes between two judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Who is not told apart, before and after.
    pub ends: Vec<End>,
    /// What changes, pair by pair.
    pub all: Vec<Change>,
}

/// What changes for one pair of ends, for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Who begins connections: a number of an end.
    pub from: usize,
    /// With whom.
    pub to: usize,
    /// The family, where it is one alone of two that both ends have.
    pub only: Option<Family>,
    /// At which ports.
    pub ports: PortSet,
    /// What was said before.
    pub before: Reason,
    /// What is said after.
    pub after: Reason,
}

/// Whether a connection is allowed, and who says so at the end where that changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// Whether it is allowed, by both ends.
    pub is_allowed: bool,
    /// At which end.
    pub direction: Direction,
    /// Who says so there.
    pub by: By,
}

impl Changes {
    /// What is said otherwise by the judge `after` than by the one `before`, of pods that both know and that
    /// are of these namespaces, unless there are none; and of what is outside.
    pub fn between(before: &Judge<'_>, after: &Judge<'_>, namespaces: &BTreeSet<Arc<str>>) -> Self {
        let judges = [*before, *after];
        let ends = ends(&judges, namespaces);
        let probes = Probe::all(&judges);
        let reach = judges.each_ref().map(|judge| Reach::of(judge, &ends, &probes));
        let mut all = Vec::new();
        // Many pairs have the same two patterns: whether those differ is asked once.
        let mut known = BTreeMap::new();
        for (from, to) in (0..ends.len()).flat_map(|i| (0..ends.len()).map(move |j| (i, j))) {
            let patterns = reach.each_ref().map(|reach| reach.pattern(from, to));
            if from == to && ends[from].is_single() {
                continue;
            }
            let [was, is] = [&reach[0], &reach[1]];
            let is_other = || was.runs(patterns[0]) != is.runs(patterns[1]);
            if *known.entry(patterns).or_insert_with(is_other) {
                let pair = Pair { judges, ends: &ends, probes: &probes, from, to };
                let said =
                    |reach: &Reach, family, probe| reach.said(from, to, probe)[index(family)];
                let differs = |family, probe| said(was, family, probe) != said(is, family, probe);
                all.extend(pair.changes(differs));
            }
        }
        Changes { ends, all }
    }
}

/// A pair of ends.
struct Pair<'a, 'j> {
    judges: [Judge<'j>; 2],
    ends: &'a [End],
    probes: &'a [Probe],
    from: usize,
    to: usize,
}

impl Pair<'_, '_> {
    /// What changes where it `differs`, by reason.
    fn changes(&self, differs: impl Fn(Family, usize) -> bool) -> Vec<Change> {
        let mut by_reason: BTreeMap<(Reason, Reason), BTreeMap<Family, Vec<Probe>>> =
            BTreeMap::new();
        for family in Family::ALL {
            for (_, probe) in self.probes.iter().enumerate().filter(|(i, _)| differs(family, *i)) {
                let Some(reasons) = self.reasons(family, *probe) else { continue };
                by_reason.entry(reasons).or_default().entry(family).or_default().push(*probe);
            }
        }
        let (client, server) = (&self.ends[self.from], &self.ends[self.to]);
        let both = |family: &Family| client.addr(*family).and(server.addr(*family)).is_some();
        let shared = Family::ALL.iter().filter(|family| both(family)).count();
        let mut all = Vec::new();
        for ((before, after), by_family) in by_reason {
            let mut by_ports: BTreeMap<PortSet, Vec<Family>> = BTreeMap::new();
            for (family, probes) in by_family {
                by_ports.entry(probes.into_iter().collect()).or_default().push(family);
            }
            all.extend(by_ports.into_iter().map(|(ports, families)| Change {
                from: self.from,
                to: self.to,
                only: families.first().filter(|_| families.len() < shared).copied(),
                ports,
                before: before.clone(),
                after: after.clone(),
            }));
        }
        all
    }

    /// What both judges say at the end where the change is.
    fn reasons(&self, family: Family, probe: Probe) -> Option<(Reason, Reason)> {
        let (client, server) = (&self.ends[self.from], &self.ends[self.to]);
        let connection = Connection {
            client: client.party(false),
            from: client.addr(family)?,
            server: server.party(self.from == self.to),
            to: server.addr(family)?,
            protocol: probe.number(),
            port: probe.first,
            is_led: false,
        };
        let verdicts = self.judges.each_ref().map(|judge| judge.judge(&connection));
        let denying = verdicts.iter().find(|verdicts| !verdicts.is_allowed())?;
        let (direction, _) = denying.decisive();
        let reason = |verdicts: &Verdicts| Reason {
            is_allowed: verdicts.is_allowed(),
            direction,
            by: verdicts.of(direction).by.clone(),
        };
        let [before, after] = verdicts.each_ref().map(reason);
        Some((before, after))
    }
}
