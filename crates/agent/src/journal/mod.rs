//! The durable ledger of leases: which attachment owns which addresses, and which addresses rest.
//!
//! `<state dir>/ledger` is a text file. A header names the version; every further line is one group
//! commit: a CRC-32 and a JSON array of entries. A commit is one write and one `fdatasync`, so it is
//! read back whole or not at all, and what was answered is never lost. A torn last line is what a
//! crash in the middle of a commit leaves; nobody was told about it, so it is cut off. Anything else
//! that does not read is damage: the file is kept aside and the caller rebuilds from the kernel.
//!
//! Room for the release of every lease is reserved on the disk in advance, so a full disk refuses
//! ADD and still records DEL. See docs/decisions/0002.

mod file;
mod leases;
mod record;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use leases::{Doubled, Leases};
pub use record::Entry;

use file::Store;

/// A file is rewritten when it is larger than this and than four times what it amounts to.
const WORTH_COMPACTING: u64 = 64 * 1024;

/// How long the ledger may stay locked by an agent that has just ended.
const UNLOCKED_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no ledger.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("lock {0}: another agent uses this state directory")]
    InUse(PathBuf),
    /// A newer release wrote it.
    #[error(
        "ledger {path} has version {found}, this agent knows up to {known}: run the newer release, \
         or drain the node and remove the file"
    )]
    Future {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest this code knows.
        known: u32,
    },
    /// The file system said no.
    #[error("{attempt}")]
    Io {
        /// What was attempted.
        attempt: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

/// Why a commit was not made. Nothing of it counts.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk has no room for another lease.
    #[error("no room for another lease in {path}: the disk is full")]
    Full {
        /// The ledger.
        path: PathBuf,
    },
    /// An address would have two owners.
    #[error(transparent)]
    Doubled(#[from] Doubled),
    /// The file system said no.
    #[error("write {path}")]
    Io {
        /// The ledger.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

/// In what state the ledger was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There was none.
    Nothing,
    /// It was read; so many bytes of an unfinished commit were cut off.
    Whole {
        /// Usually zero.
        torn: usize,
    },
    /// It was damaged. The leases start empty.
    Corrupt {
        /// Where the damaged file is kept.
        kept: PathBuf,
        /// What does not read.
        why: String,
    },
}

/// The ledger, open for writing by this process alone.
#[derive(Debug)]
pub struct Journal {
    store: Store,
    leases: Leases,
    /// Length at which the next rewrite is tried.
    compact_at: u64,
}

impl Journal {
    /// The same as [`open`](Self::open), but an agent that has just ended, however it did, may have the
    /// ledger for a moment still.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_soon(dir: &Path, now: u64) -> Result<(Self, Found), OpenError> {
        let start = Instant::now();
        loop {
            match Self::open(dir, now) {
                Err(OpenError::InUse(_)) if start.elapsed() < UNLOCKED_WITHIN => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                opened => return opened,
            }
        }
    }

    /// Opens the ledger in `dir`, which is made if need be. `now` names the file of a damaged one.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, now: u64) -> Result<(Self, Found), OpenError> {
        let (store, text) = Store::open(dir)?;
        let Some(text) = text else { return Ok((Self::begin(store)?, Found::Nothing)) };
        match read(&text) {
            Ok(reading) => {
                let mut journal = Journal { store, leases: reading.leases, compact_at: 0 };
                let whole = reading.whole;
                journal.store.resume(whole as u64, journal.leases.release_bytes())?;
                journal.compact_at = journal.next_compaction();
                Ok((journal, Found::Whole { torn: text.len() - whole }))
            }
            Err(Unreadable::Future(found)) => {
                Err(OpenError::Future { path: store.path(), found, known: record::VERSION })
            }
            Err(Unreadable::Damaged(why)) => {
                let kept = store.keep_aside(now)?;
                Ok((Self::begin(store)?, Found::Corrupt { kept, why }))
            }
        }
    }

    fn begin(mut store: Store) -> Result<Self, OpenError> {
        let path = store.path();
        store.replace(&record::header(), 0).map_err(|cause| OpenError::Io {
            attempt: format!("create {}", path.display()),
            cause,
        })?;
        Ok(Journal { store, leases: Leases::default(), compact_at: WORTH_COMPACTING })
    }

    /// What the ledger amounts to.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.store.len()
    }

    /// Makes `entries` durable, all or none, with one write and one sync.
    ///
    /// # Errors
    /// [`CommitError`]; nothing has changed then.
    pub fn commit(&mut self, entries: &[Entry]) -> Result<(), CommitError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut leases = self.leases.clone();
        entries.iter().try_for_each(|entry| leases.apply(entry))?;
        let path = self.store.path();
        if self.store.is_suspect() {
            self.compact().map_err(|cause| CommitError::Io { path: path.clone(), cause })?;
        }
        let line = record::encode(entries);
        if entries.iter().any(|entry| matches!(entry, Entry::Lease(_))) {
            let room = line.len() as u64 + leases.release_bytes();
            self.store.reserve(room).map_err(|cause| {
                if cause.kind() == io::ErrorKind::StorageFull
                    || cause.kind() == io::ErrorKind::QuotaExceeded
                {
                    CommitError::Full { path: path.clone() }
                } else {
                    CommitError::Io { path: path.clone(), cause }
                }
            })?;
        }
        self.store.append(&line).map_err(|cause| CommitError::Io { path, cause })?;
        self.leases = leases;
        self.compact_when_worth_it();
        Ok(())
    }

    /// Rewriting is housekeeping: when it fails the ledger just stays longer for a while.
    fn compact_when_worth_it(&mut self) {
        if self.store.len() < self.compact_at {
            return;
        }
        if let Err(error) = self.compact() {
            let path = self.store.path();
            tracing::warn!("rewrite {}: {error}; it stays as it is", path.display());
        }
        self.compact_at = self.next_compaction();
    }

    fn next_compaction(&self) -> u64 {
        WORTH_COMPACTING.max(self.store.len().saturating_mul(4))
    }

    fn compact(&mut self) -> io::Result<()> {
        let mut text = record::header();
        for entry in self.leases.entries() {
            text.extend(record::encode(&[entry]));
        }
        self.store.replace(&text, self.leases.release_bytes())
    }
}

/// Why a text is no ledger.
enum Unreadable {
    Future(u32),
    Damaged(String),
}

/// A text, read.
struct Reading {
    leases: Leases,
    /// Bytes up to the end of the last whole commit.
    whole: usize,
}

fn read(text: &[u8]) -> Result<Reading, Unreadable> {
    let damaged = |why: String| Unreadable::Damaged(why);
    let end = text.iter().position(|byte| *byte == b'\n');
    let header = end.and_then(|end| record::version(&text[..end]).map(|version| (end, version)));
    let Some((end, version)) = header else { return Err(damaged("no header".to_owned())) };
    if version > record::VERSION {
        return Err(Unreadable::Future(version));
    }
    let mut reading = Reading { leases: Leases::default(), whole: end + 1 };
    for (index, line) in text[end + 1..].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let number = index + 2;
        let is_last = reading.whole + line.len() == text.len();
        let entries = match line.strip_suffix(b"\n").map(record::decode) {
            Some(Ok(entries)) => entries,
            None | Some(Err(record::BadLine::Checksum)) if is_last => break,
            None => return Err(damaged(format!("line {number}: no end"))),
            Some(Err(error)) => return Err(damaged(format!("line {number}: {error}"))),
        };
        for entry in &entries {
            let taken = reading.leases.apply(entry);
            taken.map_err(|error| damaged(format!("line {number}: {error}")))?;
        }
        reading.whole += line.len();
    }
    Ok(reading)
}

#[cfg(test)]
mod tests;
