//! Addresses that policies allow by name.
//!
//! Rules look into sets of the kernel's, one for each pattern of names and each family. Before an answer to a
//! pod of the node leaves, what it says of a name that a pattern means is in the pattern's sets, for as long
//! as it may be remembered and a while longer: whoever has the answer may connect at once (NP-F7). No other
//! answer counts, so whoever asks elsewhere is allowed nothing (NP-F9). An address that connections go to
//! stays in its sets (NP-F8).
//!
//! One thread writes the sets. Those who answer wait for it, for so long and no longer, and only where
//! something has to be written: where no rule asks for names they look at one pointer.

mod memory;
mod patterns;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use model::DomainName;
use plan::nft::SetName;
use plan::{NamedSets, Stay, Unwritten};

use memory::{Bounds, Memory, Times};
use patterns::Patterns;
use writer::{Job, Writer};

/// Where rules look.
pub trait AddrSets: Send + 'static {
    /// What is in `set` and for how long still; nothing when there is no such set.
    ///
    /// # Errors
    /// When it can't be read.
    fn read(&mut self, set: &SetName) -> io::Result<Vec<Stay>>;

    /// Has `stays` be as they say, all at once.
    ///
    /// # Errors
    /// When nothing was written.
    fn write(&mut self, stays: &[Stay]) -> io::Result<Unwritten>;
}

/// What else there is to know of addresses.
pub trait Around: Send + Sync + 'static {
    /// Those of `addrs` that connections of the node's pods go to.
    ///
    /// # Errors
    /// When that can't be read.
    fn in_use(&self, addrs: &BTreeSet<IpAddr>) -> io::Result<BTreeSet<IpAddr>>;

    /// What has been answered lately for names that are `meant`: addresses, each with the seconds for which
    /// it may still be remembered.
    fn lately(&self, meant: &dyn Fn(&DomainName) -> bool) -> Vec<(DomainName, Vec<(IpAddr, u32)>)>;
}

/// How long an answer waits for its addresses to be allowed. Then it leaves all the same: a client waits for
/// longer, but not for ever.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers that may wait at one time; more leave without.
const ROOM: usize = 4096;

/// Addresses that policies allow by name.
pub struct Named {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    /// Dropped with this: nobody looks after addresses any more.
    _alive: Sender<()>,
}

/// What threads share.
struct Shared {
    /// `None` while no rule asks for names.
    patterns: ArcSwapOption<Patterns>,
    memory: Mutex<Memory>,
    /// Milliseconds for which an address is allowed at least.
    least: AtomicU64,
    failures: AtomicU64,
    late: AtomicU64,
}

/// What there is of names, and what went wrong.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct NamedTally {
    /// Names that some rule asks for and that stand for something.
    pub names: usize,
    /// Addresses in sets.
    pub addrs: usize,
    /// Addresses that had to go for others before their time.
    pub evictions: u64,
    /// Writes that failed.
    pub failures: u64,
    /// Answers that left before their addresses were known to be allowed.
    pub late: u64,
}

/// Addresses that have to be allowed before an answer leaves.
#[derive(Debug)]
pub(super) struct Wanted {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    name: DomainName,
    addrs: Vec<(IpAddr, u32)>,
}

impl Named {
    /// Begins to write `sets`. What is there already stays as long as it was to.
    ///
    /// # Errors
    /// When the system has no threads for it.
    pub fn start(sets: impl AddrSets, around: Arc<dyn Around>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            patterns: ArcSwapOption::empty(),
            memory: Mutex::new(Memory::new(Bounds::default())),
            least: AtomicU64::new(60_000),
            failures: AtomicU64::new(0),
            late: AtomicU64::new(0),
        });
        let (jobs, todo) = sync_channel(ROOM);
        let writer = Writer::new(Arc::clone(&shared), Box::new(sets), Arc::clone(&around));
        thread::Builder::new().name("names".to_owned()).spawn(move || writer.run(&todo))?;
        let (alive, end) = channel();
        let (kept, to) = (Arc::clone(&shared), jobs.clone());
        thread::Builder::new()
            .name("names-in-use".to_owned())
            .spawn(move || keep(&kept, &*around, &to, &end))?;
        Ok(Named { shared, jobs, _alive: alive })
    }

    /// From now on an address is allowed for `least` at the least.
    pub fn allow_for(&self, least: Duration) {
        let least = u64::try_from(least.as_millis()).unwrap_or(u64::MAX);
        self.shared.least.store(least, Ordering::Relaxed);
    }

    /// Rules are about to ask for `sets`, too: what is answered from now on is remembered for them.
    pub fn expect(&self, sets: &NamedSets) {
        let known = self.shared.patterns.load();
        let all = known.as_ref().map_or_else(|| sets.clone(), |known| known.sets().with(sets));
        drop(known);
        self.go_by(&all);
    }

    /// Rules ask for `sets` and no others: they are in the kernel, and what is in them may be other than it
    /// was where they have been `touched`. What belongs into them is put there soon.
    pub fn settle(&self, sets: &NamedSets, touched: bool) {
        let had = self.shared.patterns.load().is_some();
        let is_new = self.go_by(sets);
        if is_new || touched && had {
            // It waits until the writer has room: it is no answer.
            drop(self.jobs.send(Job::Look));
        }
    }

    /// Whether it went by others so far.
    fn go_by(&self, sets: &NamedSets) -> bool {
        let known = self.shared.patterns.load();
        let is_same = match &*known {
            Some(known) => known.sets() == sets,
            None => sets.is_empty(),
        };
        if !is_same {
            let patterns = (!sets.is_empty()).then(|| Arc::new(Patterns::new(sets)));
            self.shared.patterns.store(patterns);
        }
        !is_same
    }

    /// What names stand for now, as far as rules ask. What was there before this agent is under the pattern
    /// that it is there for.
    pub fn stand_for(&self) -> BTreeMap<DomainName, BTreeSet<IpAddr>> {
        let Some(patterns) = self.shared.patterns.load_full() else { return BTreeMap::new() };
        self.shared.memory().stand_for(&patterns, Instant::now())
    }

    /// What it has done so far.
    pub fn tally(&self) -> NamedTally {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (failures, late) = (count(&self.shared.failures), count(&self.shared.late));
        NamedTally { failures, late, ..self.shared.memory().tally() }
    }

    /// What has to be allowed before an answer about `name` leaves that says `addrs`, each with the seconds
    /// for which it may be remembered. `None` when all is, or no rule asks for the name.
    pub(super) fn wanted(
        &self,
        name: &DomainName,
        addrs: impl FnOnce() -> Vec<(IpAddr, u32)>,
    ) -> Option<Wanted> {
        let patterns = self.shared.patterns.load();
        let patterns = patterns.as_ref()?;
        patterns.of(name).next()?;
        let addrs = addrs();
        let times = self.shared.times();
        if self.shared.memory().has(patterns.of(name), &addrs, times) {
            return None;
        }
        let (shared, jobs) = (Arc::clone(&self.shared), self.jobs.clone());
        Some(Wanted { shared, jobs, name: *name, addrs })
    }
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn times(&self) -> Times {
        let least = Duration::from_millis(self.least.load(Ordering::Relaxed));
        Times { now: Instant::now(), least }
    }
}

impl Wanted {
    /// Waits until they are allowed, or for as long as an answer may wait.
    pub(super) fn wait(self) {
        let Wanted { shared, jobs, name, addrs } = self;
        let (done, written) = sync_channel(1);
        let is_in_time = jobs.try_send(Job::Answered { name, addrs, done }).is_ok()
            && written.recv_timeout(PATIENCE).is_ok();
        if !is_in_time {
            shared.late.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Keeps addresses in their sets that connections go to, until the other end is dropped.
fn keep(shared: &Shared, around: &dyn Around, jobs: &SyncSender<Job>, end: &Receiver<()>) {
    loop {
        let round = shared.times().least / 4;
        if end.recv_timeout(round) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let ending = {
            let (mut memory, now) = (shared.memory(), Instant::now());
            memory.forget(now);
            memory.ending(now + 2 * round)
        };
        if ending.is_empty() {
            continue;
        }
        let addrs = ending.iter().map(|(_, addr)| *addr).collect();
        match around.in_use(&addrs) {
            Ok(used) => {
                let kept = ending.into_iter().filter(|(_, addr)| used.contains(addr)).collect();
                if jobs.send(Job::Keep(kept)).is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!("see which addresses of names are in use: {error}"),
        }
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = self.patterns.load();
        let sets = patterns.as_ref().map(|patterns| patterns.sets());
        f.debug_struct("Named").field("sets", &sets).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
