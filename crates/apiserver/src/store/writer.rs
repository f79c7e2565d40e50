//! What brings writes to the disk: a thread that takes all that are waiting, writes them at once
//! and then lets their writers go on. While it waits for the disk the next ones gather.
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::log::{Log, StateError};
use super::shelves::Shelves;
use super::{Change, Event, Key, Object};
use crate::resource::Shelf;

/// What the store and its writer share.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// Raised when something waits for the disk, or the writer is to end.
    work: Condvar,
    progress: watch::Sender<Progress>,
    /// Raised by what the lifecycle task acts on, once it has settled.
    pub(super) chores: watch::Sender<u64>,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) shelves: Shelves,
    /// Events that wait for the disk, oldest first; nothing for a store in memory.
    waiting: Vec<(Shelf, Arc<Event>)>,
    durable: bool,
    /// The version of the newest write that is to settle.
    due: u64,
    /// Events that were undone, for whoever keeps books on objects.
    pub(super) undone: Vec<(Shelf, Arc<Event>)>,
    closing: bool,
}

/// How far the disk has come.
#[derive(Debug, Clone, Default)]
struct Progress {
    settled: u64,
    /// How often writes were undone.
    undone: u64,
    /// What had settled each time, for the newest times.
    kept: VecDeque<u64>,
    why: Option<Unsettled>,
}

/// How many times back it is known what had settled when writes were undone: for as long as an
/// answer may take to be given.
const TIMES: usize = 1024;

impl Progress {
    /// What had settled when writes were undone for the first time after `mark`; nothing, if that is
    /// forgotten.
    fn kept_after(&self, mark: Mark) -> u64 {
        let back = usize::try_from(self.undone - mark.0).unwrap_or(usize::MAX);
        self.kept.len().checked_sub(back).and_then(|n| self.kept.get(n)).copied().unwrap_or(0)
    }
}

/// Why writes were undone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Unsettled {
    /// The disk has no room; reading goes on, and so does writing once there is room.
    pub(crate) full: bool,
    why: String,
}

/// A point in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(u64);

impl Shared {
    pub(super) fn new(shelves: Shelves, durable: bool) -> Self {
        let settled = shelves.settled;
        let inner = Inner {
            shelves,
            waiting: Vec::new(),
            durable,
            due: settled,
            undone: Vec::new(),
            closing: false,
        };
        Self {
            inner: Mutex::new(inner),
            work: Condvar::new(),
            progress: watch::Sender::new(Progress { settled, ..Progress::default() }),
            chores: watch::Sender::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete before anything that could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in that `events` have just been put on `shelf`; they settle together.
    pub(super) fn written(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        shelf: &Shelf,
        events: Vec<Arc<Event>>,
    ) {
        let version = inner.shelves.version;
        inner.due = version;
        if inner.durable {
            inner.waiting.extend(events.into_iter().map(|event| (shelf.clone(), event)));
            drop(inner);
            self.work.notify_one();
            return;
        }
        let is_stirring = events.iter().any(|event| event.change == Change::Deleted);
        inner.shelves.settle(version, &BTreeSet::from([shelf.clone()]));
        let chores = is_stirring || !inner.shelves.chores.due.is_empty();
        drop(inner);
        if chores {
            self.chores.send_replace(version);
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.progress.borrow().undone)
    }

    pub(super) async fn settle(&self, mark: Mark) -> Result<(), Unsettled> {
        let mut progress = self.progress.subscribe();
        let due = {
            let inner = self.lock();
            if !inner.durable {
                return Ok(());
            }
            // What has been undone already was not asked about in time.
            if self.progress.borrow().undone == mark.0 { inner.due } else { u64::MAX }
        };
        let reached = progress.wait_for(|p| p.settled >= due || p.undone != mark.0).await;
        // The sender lives in `self`.
        let Ok(reached) = reached else { return Ok(()) };
        match &reached.why {
            Some(why) if reached.undone != mark.0 && reached.kept_after(mark) < due => {
                Err(why.clone())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The writer's life: what waits is written, until it is told to end and nothing waits.
    fn write_out(&self, mut log: Log) {
        loop {
            let mut inner = self.lock();
            while inner.waiting.is_empty() && !inner.closing {
                inner = self.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
            if inner.waiting.is_empty() {
                return;
            }
            let batch = std::mem::take(&mut inner.waiting);
            // All that waits is in the newest state, so writing that out writes the batch too.
            let whole = log.is_worth_rewriting().then(|| inner.shelves.objects());
            let version = inner.shelves.version;
            drop(inner);
            let rewritten = whole.map(|objects| log.rewrite(version, &objects));
            let written = match rewritten {
                Some(Ok(())) => Ok(()),
                // Growing on is second best, where the old file is still good.
                Some(Err(error)) if log.is_suspect() => Err(error),
                Some(Err(_)) | None => log.append(&batch),
            };
            self.finished(&batch, written, log.path_for_errors());
        }
    }

    /// Lets the writers of `batch` go on.
    fn finished(&self, batch: &[(Shelf, Arc<Event>)], written: io::Result<()>, path: &str) {
        let mut inner = self.lock();
        let settled = match &written {
            Ok(()) => {
                let shelves = batch.iter().map(|(shelf, _)| shelf.clone()).collect();
                let version = batch.last().map_or(inner.shelves.settled, |(_, e)| e.version);
                inner.shelves.settle(version, &shelves);
                version
            }
            Err(_) => {
                // What came after them was built on them.
                inner.waiting.clear();
                let undone = inner.shelves.undo();
                inner.undone.extend(undone);
                inner.due = inner.shelves.settled;
                inner.shelves.settled
            }
        };
        let stirring = batch.iter().any(|(_, event)| event.change == Change::Deleted);
        let chores = stirring || !inner.shelves.chores.due.is_empty();
        // Under the lock: whoever learns what is due learns what was undone.
        self.progress.send_modify(|progress| {
            progress.settled = settled;
            if let Err(error) = written {
                let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded]
                    .contains(&error.kind());
                progress.undone += 1;
                progress.kept.push_back(settled);
                if progress.kept.len() > TIMES {
                    progress.kept.pop_front();
                }
                progress.why = Some(Unsettled { full, why: format!("write {path}: {error}") });
            }
        });
        drop(inner);
        if chores {
            self.chores.send_replace(settled);
        }
    }
}

impl Shelves {
    /// Every object with its place.
    fn objects(&self) -> Vec<(Shelf, Key, Arc<Object>)> {
        let all = self.iter().flat_map(|(shelf, state)| {
            state.objects.iter().map(|(key, object)| (shelf.clone(), key.clone(), object.clone()))
        });
        all.collect()
    }
}

/// The thread, joined when the store is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(log: Log, shared: Arc<Shared>) -> Result<Self, StateError> {
        let own = shared.clone();
        let thread = std::thread::Builder::new().name("seaway-state".to_owned());
        let thread = thread.spawn(move || own.write_out(log)).map_err(|cause| StateError::Io {
            attempt: "start the thread that writes objects".to_owned(),
            cause,
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread once nothing waits any more.
    pub(super) fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic in it has been printed; there is nothing left to write with.
        drop(thread.map(JoinHandle::join));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}
