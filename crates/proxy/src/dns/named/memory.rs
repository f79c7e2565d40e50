//! What names stand for, and what is in sets: for how long, and how much at most.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use model::{DomainName, Family};
use plan::nft::SetName;
use plan::{Stay, Unwritten};

use super::NamedTally;
use super::patterns::Patterns;

/// The longest that an answer counts.
const LONGEST: Duration = Duration::from_secs(86_400);

/// How much is remembered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Names.
    pub(super) names: usize,
    /// Addresses of all names together.
    pub(super) addrs: usize,
    /// Addresses of one name.
    pub(super) each: usize,
}

impl Default for Bounds {
    /// Ten times what the API asks for one name (NP-F4), and what a set of the kernel has room for.
    fn default() -> Self {
        Bounds { names: 10_000, addrs: 65_536, each: 1000 }
    }
}

/// When it is, and for how long an address is allowed at least.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) now: Instant,
    pub(super) least: Duration,
}

impl Times {
    /// Until when an address is allowed that may be remembered for `ttl` seconds: a client may have waited
    /// before it connects.
    fn until(self, ttl: u32) -> Instant {
        let ttl = Duration::from_secs(ttl.into()).min(LONGEST);
        self.now + (ttl + self.least / 2).max(self.least)
    }

    /// Until when it must be, so that nothing has to be written: less, or each answer would write.
    fn enough(self, ttl: u32) -> Instant {
        self.now + Duration::from_secs(ttl.into()).min(LONGEST) + self.least / 4
    }
}

/// Addresses, and until when.
type Until = HashMap<IpAddr, Instant>;

/// What is known.
#[derive(Debug)]
pub(super) struct Memory {
    bounds: Bounds,
    /// What names stand for that some rule asks for.
    names: HashMap<DomainName, Until>,
    /// Addresses of all names.
    count: usize,
    /// What is in the kernel's sets.
    held: HashMap<SetName, Until>,
    evictions: u64,
}

impl Memory {
    pub(super) fn new(bounds: Bounds) -> Self {
        let (names, held) = (HashMap::new(), HashMap::new());
        Memory { bounds, names, count: 0, held, evictions: 0 }
    }

    /// Whether `addrs` are in `sets` for long enough.
    pub(super) fn has<'s>(
        &self,
        sets: impl Iterator<Item = &'s (Family, SetName)>,
        addrs: &[(IpAddr, u32)],
        times: Times,
    ) -> bool {
        let mut sets = sets;
        sets.all(|(family, set)| {
            let held = self.held.get(set);
            let mut own = addrs.iter().filter(|(addr, _)| Family::of(*addr) == *family);
            own.all(|(addr, ttl)| {
                held.and_then(|held| held.get(addr))
                    .is_some_and(|until| *until >= times.enough(*ttl))
            })
        })
    }

    /// Remembers what `name` stands for. What has to go for it is what is to be taken out.
    pub(super) fn answered(
        &mut self,
        name: &DomainName,
        addrs: &[(IpAddr, u32)],
        patterns: &Patterns,
        times: Times,
    ) -> Vec<Stay> {
        let mut gone = Vec::new();
        for (addr, ttl) in addrs {
            let until = times.until(*ttl);
            let known = self.names.entry(*name).or_default();
            match known.insert(*addr, until) {
                Some(before) => drop(known.insert(*addr, before.max(until))),
                None => self.count += 1,
            }
            if known.len() > self.bounds.each {
                let first = known.iter().min_by_key(|(_, until)| **until).map(|(addr, _)| *addr);
                gone.extend(
                    first.map(|first| self.evict(name, first, patterns)).unwrap_or_default(),
                );
            }
        }
        if self.names.len() > self.bounds.names || self.count > self.bounds.addrs {
            self.forget(times.now);
        }
        while self.names.len() > self.bounds.names || self.count > self.bounds.addrs {
            let last = |until: &Until| until.values().max().copied();
            let others = self.names.iter().filter(|(other, _)| *other != name);
            let Some(first) = others.min_by_key(|(_, until)| last(until)).map(|(name, _)| *name)
            else {
                break;
            };
            let addrs: Vec<IpAddr> = self.names[&first].keys().copied().collect();
            gone.extend(addrs.into_iter().flat_map(|addr| self.evict(&first, addr, patterns)));
        }
        gone
    }

    /// Forgets an address of a name; the sets that it is in for this name and not longer for another.
    fn evict(&mut self, name: &DomainName, addr: IpAddr, patterns: &Patterns) -> Vec<Stay> {
        let Some(known) = self.names.get_mut(name) else { return Vec::new() };
        let Some(until) = known.remove(&addr) else { return Vec::new() };
        if known.is_empty() {
            self.names.remove(name);
        }
        self.count -= 1;
        self.evictions += 1;
        let own = patterns.of(name).filter(|(family, set)| {
            let held = self.held.get(set).and_then(|held| held.get(&addr));
            *family == Family::of(addr) && held.is_some_and(|held| *held <= until)
        });
        own.map(|(_, set)| Stay { set: set.clone(), addr, left: None }).collect()
    }

    /// What is to be written so that sets have all that names stand for: of one name, or of all.
    pub(super) fn lacking(
        &self,
        name: Option<&DomainName>,
        patterns: &Patterns,
        now: Instant,
    ) -> Vec<Stay> {
        let mut wanted: BTreeMap<(&SetName, IpAddr), Instant> = BTreeMap::new();
        let one = name.and_then(|name| self.names.get_key_value(name));
        let all = self.names.iter().filter(|_| name.is_none());
        for (name, addrs) in one.into_iter().chain(all) {
            for (family, set) in patterns.of(name) {
                let held = self.held.get(set);
                for (addr, until) in addrs.iter().filter(|(addr, _)| Family::of(**addr) == *family)
                {
                    let is_held =
                        held.and_then(|held| held.get(addr)).is_some_and(|at| at >= until);
                    if *until > now && !is_held {
                        let last = wanted.entry((set, *addr)).or_insert(*until);
                        *last = (*last).max(*until);
                    }
                }
            }
        }
        let stay = |((set, addr), until): ((&SetName, IpAddr), Instant)| Stay {
            set: set.clone(),
            addr,
            left: Some(until - now),
        };
        wanted.into_iter().map(stay).collect()
    }

    /// What is to be written so that addresses stay in sets that connections go to.
    pub(super) fn kept(&self, addrs: &[(SetName, IpAddr)], times: Times) -> Vec<Stay> {
        let is_short = |(set, addr): &&(SetName, IpAddr)| {
            let until = self.held.get(set).and_then(|held| held.get(addr));
            until.is_some_and(|until| *until < times.now + times.least)
        };
        let stay = |(set, addr): &(SetName, IpAddr)| Stay {
            set: set.clone(),
            addr: *addr,
            left: Some(times.least),
        };
        addrs.iter().filter(is_short).map(stay).collect()
    }

    /// Takes note of what was written at `now`.
    pub(super) fn wrote(&mut self, stays: &[Stay], unwritten: &Unwritten, now: Instant) {
        for Stay { set, addr, left } in stays {
            match left {
                Some(left) if !unwritten.missing.contains(set) && !unwritten.full.contains(set) => {
                    self.held.entry(set.clone()).or_default().insert(*addr, now + *left);
                }
                Some(_) => {}
                None => drop(self.held.get_mut(set).and_then(|held| held.remove(addr))),
            }
        }
    }

    /// Takes note of what was found in `set` at `now`: that and nothing else.
    pub(super) fn found(&mut self, set: &SetName, stays: Vec<Stay>, now: Instant) {
        let until = |stay: Stay| (stay.addr, now + stay.left.unwrap_or_default());
        self.held.insert(set.clone(), stays.into_iter().map(until).collect());
    }

    /// Forgets what no rule asks for any more, and what is over.
    pub(super) fn retain(&mut self, patterns: Option<&Patterns>, now: Instant) {
        let sets = patterns.into_iter().flat_map(|patterns| patterns.sets().iter());
        let sets: BTreeSet<&SetName> = sets.flat_map(|(_, sets)| sets.values()).collect();
        self.held.retain(|set, _| sets.contains(set));
        self.names.retain(|name, _| patterns.is_some_and(|all| all.of(name).next().is_some()));
        self.forget(now);
    }

    /// Forgets what is over.
    pub(super) fn forget(&mut self, now: Instant) {
        for addrs in self.names.values_mut().chain(self.held.values_mut()) {
            addrs.retain(|_, until| *until > now);
        }
        self.names.retain(|_, addrs| !addrs.is_empty());
        self.count = self.names.values().map(HashMap::len).sum();
    }

    /// What is in sets and will not be at `then`.
    pub(super) fn ending(&self, then: Instant) -> Vec<(SetName, IpAddr)> {
        let ending = |(set, addrs): (&SetName, &Until)| {
            let ending = addrs.iter().filter(|(_, until)| **until <= then);
            ending.map(|(addr, _)| (set.clone(), *addr)).collect::<Vec<_>>()
        };
        self.held.iter().flat_map(ending).collect()
    }

    /// What names stand for.
    pub(super) fn stand_for(
        &self,
        patterns: &Patterns,
        now: Instant,
    ) -> BTreeMap<DomainName, BTreeSet<IpAddr>> {
        let mut all: BTreeMap<DomainName, BTreeSet<IpAddr>> = BTreeMap::new();
        for (pattern, sets) in patterns.sets().iter() {
            for set in sets.values() {
                let held = self.held.get(set).into_iter().flatten();
                let mut left: BTreeSet<IpAddr> =
                    held.filter(|(_, until)| **until > now).map(|(addr, _)| *addr).collect();
                for (name, addrs) in self.names.iter().filter(|(name, _)| pattern.matches(name)) {
                    let own: Vec<IpAddr> =
                        addrs.keys().filter(|addr| left.contains(addr)).copied().collect();
                    all.entry(*name).or_default().extend(own);
                }
                all.values().flatten().for_each(|addr| {
                    left.remove(addr);
                });
                let Ok(unknown) = pattern.to_string().parse::<DomainName>() else { continue };
                if !left.is_empty() {
                    all.entry(unknown).or_default().extend(left);
                }
            }
        }
        all.retain(|_, addrs| !addrs.is_empty());
        all
    }

    /// How much there is.
    pub(super) fn tally(&self) -> NamedTally {
        NamedTally {
            names: self.names.len(),
            addrs: self.held.values().map(HashMap::len).sum(),
            evictions: self.evictions,
            ..NamedTally::default()
        }
    }
}
