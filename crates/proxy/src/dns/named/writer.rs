//! The one who writes sets.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use model::DomainName;
use plan::nft::SetName;
use plan::{NamedSets, Stay};

use super::patterns::Patterns;
use super::{AddrSets, Around, Shared};

/// Jobs that are done with one write.
const BATCH: usize = 256;

/// How often it is said at most that writes fail.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What is to be done.
#[expect(clippy::large_enum_variant, reason = "names are held inline: it is written and gone")]
#[derive(Debug)]
pub(super) enum Job {
    /// An answer about a name waits to leave.
    Answered {
        name: DomainName,
        /// Each with the seconds for which it may be remembered.
        addrs: Vec<(IpAddr, u32)>,
        /// Told when all is written that could be.
        done: SyncSender<()>,
    },
    /// These are in use.
    Keep(Vec<(SetName, IpAddr)>),
    /// Sets may have come, or lost what was in them.
    Look,
}

/// A thread's state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    sets: Box<dyn AddrSets>,
    around: Arc<dyn Around>,
    /// The sets that have been looked at.
    known: NamedSets,
    /// When it was last said that a write failed.
    said: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        sets: Box<dyn AddrSets>,
        around: Arc<dyn Around>,
    ) -> Self {
        Writer { shared, sets, around, known: NamedSets::default(), said: None }
    }

    /// Does `jobs` until there will be no more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let all: Vec<Job> = std::iter::once(first).chain(jobs.try_iter().take(BATCH)).collect();
            let patterns = self.shared.patterns.load_full();
            if all.iter().any(|job| matches!(job, Job::Look)) {
                self.look(patterns.as_deref());
            }
            if let Some(patterns) = &patterns {
                self.write(&all, patterns);
            }
            for job in all {
                if let Job::Answered { done, .. } = job {
                    // Who is told may have lost patience.
                    let (Ok(()) | Err(_)) = done.try_send(());
                }
            }
        }
    }

    /// Takes note of what is in sets, and puts there what belongs there.
    fn look(&mut self, patterns: Option<&Patterns>) {
        self.shared.memory().retain(patterns, Instant::now());
        let Some(patterns) = patterns else {
            self.known = NamedSets::default();
            return;
        };
        for set in patterns.sets().iter().flat_map(|(_, sets)| sets.values()) {
            let now = Instant::now();
            match self.sets.read(set) {
                Ok(stays) => self.shared.memory().found(set, stays, now),
                Err(error) => self.failed(&error),
            }
        }
        if self.known != *patterns.sets() {
            self.recall(patterns);
            self.known = patterns.sets().clone();
        }
        let lacking = self.shared.memory().lacking(None, patterns, Instant::now());
        self.put(&lacking);
    }

    /// Remembers what was answered before rules asked for it.
    fn recall(&self, patterns: &Patterns) {
        let lately = self.around.lately(&|name| patterns.of(name).next().is_some());
        let (mut memory, times) = (self.shared.memory(), self.shared.times());
        for (name, addrs) in lately {
            // Nothing is in a set for it that would have to go.
            drop(memory.answered(&name, &addrs, patterns, times));
        }
    }

    /// Writes what `jobs` want.
    fn write(&mut self, jobs: &[Job], patterns: &Patterns) {
        let mut stays = Vec::new();
        {
            let (mut memory, times) = (self.shared.memory(), self.shared.times());
            for job in jobs {
                match job {
                    Job::Answered { name, addrs, .. } => {
                        stays.extend(memory.answered(name, addrs, patterns, times));
                        stays.extend(memory.lacking(Some(name), patterns, times.now));
                    }
                    Job::Keep(addrs) => stays.extend(memory.kept(addrs, times)),
                    Job::Look => {}
                }
            }
        }
        // Of several about one address the longest counts; one that goes comes before one that stays.
        stays.sort();
        stays.dedup_by(|later, first| {
            let is_same = (&later.set, later.addr) == (&first.set, first.addr);
            if is_same {
                first.left = later.left;
            }
            is_same
        });
        self.put(&stays);
    }

    fn put(&mut self, stays: &[Stay]) {
        if stays.is_empty() {
            return;
        }
        let now = Instant::now();
        match self.sets.write(stays) {
            Ok(unwritten) => {
                self.shared.memory().wrote(stays, &unwritten, now);
                if let Some(set) = unwritten.full.first() {
                    self.failed(&io::Error::other(format!("set {set} is full")));
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.shared.failures.fetch_add(1, Ordering::Relaxed);
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!("allow what names stand for: {error}; connections there are dropped");
        }
    }
}
