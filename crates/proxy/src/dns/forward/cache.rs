//! What others said, for as long as it is worth something.
//!
//! Answers and denials have their own rooms, so that neither kind drives out the other, and each room
//! is bounded by number and by bytes. Who is in the way and was not asked for lately goes first.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::DomainName;
use model::forwarding::{CacheClass, CacheSettings};
use wire::dns::{Rcode, RecordType, Section};

use super::learn::is_negative;
use super::tally::CacheTally;
use crate::dns::{Found, FoundRecord, Sought};

/// Bytes that each room holds at most.
const MOST_BYTES: usize = 16 << 20;

/// What an entry costs beyond its key and values, about, in bytes; and a record of it.
const ENTRY: usize = 256;
const RECORD: usize = 64;

/// The TTL of an answer that is out of its time, in seconds (RFC 8767 §4).
const STALE_TTL: u32 = 30;

/// For how long an answer that could not be renewed is given without another try (RFC 8767 §5).
const RECHECK: Duration = Duration::from_secs(5);

/// Questions further apart than this are not in a row.
const ROW_GAP: Duration = Duration::from_secs(60);

/// What is remembered of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remembered {
    /// An answer that holds; `is_due` once, when it is asked for so often that it should be renewed.
    Fresh {
        /// The answer.
        found: Found,
        /// Whether it is to be renewed.
        is_due: bool,
    },
    /// An answer that is out of its time.
    Stale {
        /// The answer.
        found: Found,
        /// Whether it was tried a moment ago to renew it, and failed.
        is_tried: bool,
    },
    /// Nothing.
    Nothing,
}

/// What others said.
#[derive(Debug)]
pub(super) struct Cache {
    settings: CacheSettings,
    success: Room,
    denial: Room,
}

impl Cache {
    /// One that remembers nothing yet.
    pub(super) fn new(settings: CacheSettings) -> Self {
        Cache { settings, success: Room::default(), denial: Room::default() }
    }

    /// What is remembered of `sought`.
    pub(super) fn get(&mut self, sought: &Sought, now: Instant) -> Remembered {
        let (key, len) = key(sought);
        let key = &key[..len];
        let when = |room: &Room| room.entries.get(key).map(|entry| entry.stored);
        // The newer one knows better.
        let room = if when(&self.success) >= when(&self.denial) {
            &mut self.success
        } else {
            &mut self.denial
        };
        let Some(entry) = room.entries.get_mut(key) else { return Remembered::Nothing };
        entry.ask(&self.settings, now)
    }

    /// Remembers `found`, whose records have one TTL.
    pub(super) fn put(&mut self, sought: &Sought, found: &Found, now: Instant) {
        let is_failure = !matches!(found.rcode, Rcode::NoError | Rcode::NxDomain);
        let (key, len) = key(sought);
        let key = &key[..len];
        if is_failure && self.note_failure(key, now) {
            return;
        }
        let (room, class) = match is_negative(found, sought) {
            false => (&mut self.success, &self.settings.success),
            true => (&mut self.denial, &self.settings.denial),
        };
        let lifetime = match is_failure {
            true => self.settings.servfail,
            false => Duration::from_secs(clamp(found, class).into()),
        };
        if class.capacity > 0 && !lifetime.is_zero() {
            room.put(key, Entry::new(found, lifetime, now), class.capacity);
        }
    }

    /// Notes on what is still of use that it could not be renewed; whether there is such a thing.
    fn note_failure(&mut self, key: &[u8], now: Instant) -> bool {
        let keep = self.settings.serve_stale;
        let mut is_kept = false;
        for room in [&mut self.success, &mut self.denial] {
            if let Some(entry) = room.entries.get_mut(key)
                && entry.is_answer()
                && now.duration_since(entry.stored) < entry.lifetime + keep
            {
                entry.failed = Some(now);
                is_kept = true;
            }
        }
        is_kept
    }

    /// Gives `found` the TTL that it is remembered for.
    pub(super) fn clamp(&self, sought: &Sought, mut found: Found) -> Found {
        let class = match is_negative(&found, sought) {
            false => &self.settings.success,
            true => &self.settings.denial,
        };
        let ttl = clamp(&found, class);
        found.records.iter_mut().for_each(|record| record.ttl = ttl);
        found
    }

    /// What answers within their time say of names that are `meant`.
    pub(super) fn lately(
        &self,
        meant: &dyn Fn(&DomainName) -> bool,
        now: Instant,
    ) -> Vec<(DomainName, Vec<(IpAddr, u32)>)> {
        let said = |(key, entry): (&Arc<[u8]>, &Entry)| {
            let name = DomainName::from_wire(key).filter(meant)?;
            let left = entry.left(now)?;
            Some((name, entry.found(left).addrs_of(&name)))
        };
        self.success.entries.iter().filter_map(said).collect()
    }

    /// How many answers are remembered, and how many denials, and what had to go for others.
    pub(super) fn tally(&self) -> [CacheTally; 2] {
        let tally = |room: &Room| CacheTally {
            entries: room.entries.len(),
            evictions: room.evictions,
            ..CacheTally::default()
        };
        [&self.success, &self.denial].map(tally)
    }
}

/// For how long `found` is remembered, in seconds (DNS-98).
fn clamp(found: &Found, class: &CacheClass) -> u32 {
    let ttl = found.records.first().map_or(class.min_ttl, |record| record.ttl);
    ttl.max(class.min_ttl).min(class.max_ttl)
}

/// A question in bytes, and how many there are: nothing that differs in the question is the same here.
fn key(sought: &Sought) -> ([u8; 258], usize) {
    let Sought { name, kind, dnssec_ok, checking_disabled } = sought;
    let mut key = [0; 258];
    let wire = name.as_wire();
    key[..wire.len()].copy_from_slice(wire);
    let [high, low] = kind.0.to_be_bytes();
    let flags = u8::from(*dnssec_ok) | u8::from(*checking_disabled) << 1;
    key[wire.len()..wire.len() + 3].copy_from_slice(&[high, low, flags]);
    (key, wire.len() + 3)
}

/// Entries of one class.
#[derive(Debug, Default)]
struct Room {
    entries: HashMap<Arc<[u8]>, Entry>,
    /// Every key once, the oldest first.
    order: VecDeque<Arc<[u8]>>,
    bytes: usize,
    evictions: u64,
}

impl Room {
    fn put(&mut self, key: &[u8], entry: Entry, capacity: usize) {
        self.bytes += entry.bytes;
        if let Some(there) = self.entries.get_mut(key) {
            self.bytes -= there.bytes;
            *there = entry;
        } else {
            let key: Arc<[u8]> = Arc::from(key);
            self.order.push_back(Arc::clone(&key));
            self.entries.insert(key, entry);
        }
        while self.entries.len() > capacity || self.bytes > MOST_BYTES {
            let Some(key) = self.order.pop_front() else { return };
            let is_used = |entry: &mut Entry| std::mem::take(&mut entry.is_used);
            if self.entries.get_mut(&key).is_some_and(is_used) {
                // It was asked for since, and gets another turn.
                self.order.push_back(key);
            } else {
                self.bytes -= self.entries.remove(&key).map_or(0, |gone| gone.bytes);
                self.evictions += 1;
            }
        }
    }
}

/// An answer, in little room.
#[derive(Debug)]
struct Entry {
    rcode: Rcode,
    is_authentic: bool,
    records: Box<[Kept]>,
    bytes: usize,
    stored: Instant,
    lifetime: Duration,
    /// Whether it was asked for since it was looked at for room.
    is_used: bool,
    /// When it was asked for last, and how often in a row.
    asked: (Instant, u32),
    /// Whether it was said already that it should be renewed.
    is_renewed: bool,
    /// When it could not be renewed.
    failed: Option<Instant>,
}

/// A record; its owner is shared with those before it.
#[derive(Debug)]
struct Kept {
    section: Section,
    owner: Arc<[u8]>,
    kind: RecordType,
    rdata: Arc<[u8]>,
}

impl Entry {
    fn new(found: &Found, lifetime: Duration, now: Instant) -> Self {
        let mut owners: Vec<Arc<[u8]>> = Vec::new();
        let mut bytes = ENTRY;
        let mut keep = |record: &FoundRecord| {
            let wire = record.owner.as_wire();
            let known = owners.iter().rev().find(|owner| ***owner == *wire).cloned();
            let owner = known.unwrap_or_else(|| {
                let owner: Arc<[u8]> = Arc::from(wire);
                bytes += wire.len();
                owners.push(Arc::clone(&owner));
                owner
            });
            bytes += RECORD + record.rdata.len();
            let FoundRecord { section, kind, .. } = *record;
            Kept { section, owner, kind, rdata: Arc::clone(&record.rdata) }
        };
        let records = found.records.iter().map(&mut keep).collect();
        Entry {
            rcode: found.rcode,
            is_authentic: found.is_authentic,
            records,
            bytes,
            stored: now,
            lifetime,
            is_used: false,
            asked: (now, 0),
            is_renewed: false,
            failed: None,
        }
    }

    /// Whether it says something of the name.
    fn is_answer(&self) -> bool {
        matches!(self.rcode, Rcode::NoError | Rcode::NxDomain)
    }

    fn ask(&mut self, settings: &CacheSettings, now: Instant) -> Remembered {
        self.is_used = true;
        let (last, hits) = self.asked;
        let is_in_row = now.duration_since(last) < ROW_GAP;
        self.asked = (now, if is_in_row { hits.saturating_add(1) } else { 1 });
        let age = now.duration_since(self.stored);
        if let Some(left) = self.lifetime.checked_sub(age).filter(|left| !left.is_zero()) {
            let is_late = left <= (self.lifetime / 10).max(Duration::from_secs(1));
            let is_popular = settings.prefetch > 0 && self.asked.1 >= settings.prefetch;
            let is_due = is_late && is_popular && self.is_answer() && !self.is_renewed;
            self.is_renewed |= is_due;
            let ttl = u32::try_from(left.as_secs()).unwrap_or(u32::MAX);
            return Remembered::Fresh { found: self.found(ttl), is_due };
        }
        if !self.is_answer() || age >= self.lifetime + settings.serve_stale {
            return Remembered::Nothing;
        }
        let is_tried = self.failed.is_some_and(|failed| now.duration_since(failed) < RECHECK);
        Remembered::Stale { found: self.found(STALE_TTL), is_tried }
    }

    /// For how many seconds it still counts, if it does.
    fn left(&self, now: Instant) -> Option<u32> {
        let left = self.lifetime.checked_sub(now.duration_since(self.stored));
        let left = left.filter(|left| !left.is_zero())?;
        Some(u32::try_from(left.as_secs()).unwrap_or(u32::MAX))
    }

    fn found(&self, ttl: u32) -> Found {
        let record = |kept: &Kept| {
            let Kept { section, owner, kind, rdata } = kept;
            let (section, kind, rdata) = (*section, *kind, Arc::clone(rdata));
            Some(FoundRecord { section, owner: DomainName::from_wire(owner)?, kind, ttl, rdata })
        };
        let records = self.records.iter().filter_map(record).collect();
        Found { rcode: self.rcode, is_authentic: self.is_authentic, records }
    }
}
