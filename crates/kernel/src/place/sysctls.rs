//! `Plan.sysctls`: kernel settings, with a record of what they were before.
//!
//! Settings carry no mark, so a file remembers the original value of each one that was changed, and
//! is written before the change. Observed is what the file names; a setting whose link is gone died
//! with it. The file belongs into a directory that does not outlive a reboot, as the settings don't.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plan::{Changes, Failure, Mechanism, ObserveError, SysctlKey, Table};

use super::{all_failed, failure};
use crate::netns::{Netns, NetnsError};
use crate::sysctl;

/// Kernel settings of one namespace.
pub struct Sysctls {
    record: PathBuf,
    home: Netns,
    /// Recorded keys that were not there when last observed: their lines can go.
    vanished: BTreeSet<SysctlKey>,
}

/// Original values by key.
type Originals = BTreeMap<SysctlKey, String>;

impl Sysctls {
    /// Opens the place in the calling thread's namespace. `record` is the file that remembers
    /// original values; it need not exist.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn open(record: impl Into<PathBuf>) -> Result<Self, NetnsError> {
        let (record, vanished) = (record.into(), BTreeSet::new());
        Ok(Sysctls { record, home: Netns::current()?, vanished })
    }

    /// Notes the original value of every new key, in one write and before any of them changes, and
    /// forgets those whose link is gone. Keys that cannot be read fail: they could not be undone.
    fn note_originals(
        &self,
        originals: &mut Originals,
        changes: &Changes<SysctlKey, String>,
    ) -> io::Result<Vec<Failure<SysctlKey>>> {
        let (before, mut failures) = (originals.len(), Vec::new());
        originals.retain(|key, _| !self.vanished.contains(key) || sysctl::exists(&key.0));
        let mut is_changed = originals.len() != before;
        for (key, put) in &changes.puts {
            if originals.contains_key(key) {
                continue;
            }
            match sysctl::read(&key.0) {
                Ok(value) => is_changed |= originals.insert(key.clone(), value).is_none(),
                Err(error) => failures.push(failure(key.clone(), put_words(key, &put.row), error)),
            }
        }
        if is_changed {
            store(&self.record, originals)?;
        }
        Ok(failures)
    }

    fn no_record(&self, cause: io::Error) -> NoRecord {
        NoRecord { record: self.record.clone(), cause }
    }

    fn apply_at_home(&self, changes: &Changes<SysctlKey, String>) -> Vec<Failure<SysctlKey>> {
        let mut originals = match load(&self.record) {
            Ok(originals) => originals,
            Err(cause) => return all_failed(changes, words, self.no_record(cause)),
        };
        let mut failures = match self.note_originals(&mut originals, changes) {
            Ok(failures) => failures,
            // Nothing may be changed that could never be undone.
            Err(cause) => return all_failed(changes, words, self.no_record(cause)),
        };
        for (key, put) in changes.puts.iter().filter(|(key, _)| originals.contains_key(key)) {
            if let Err(error) = sysctl::write(&key.0, &put.row) {
                failures.push(failure(key.clone(), put_words(key, &put.row), error));
            }
        }
        failures.extend(self.restore(&mut originals, &changes.deletes));
        failures
    }

    /// Gives settings their original values back, and forgets them.
    fn restore(&self, originals: &mut Originals, keys: &[SysctlKey]) -> Vec<Failure<SysctlKey>> {
        let (before, mut failures) = (originals.len(), Vec::new());
        for key in keys.iter().rev() {
            let Some(original) = originals.get(key) else { continue };
            match sysctl::write(&key.0, original) {
                Err(error) if !error.is_gone() => {
                    let attempt = format!("restore sysctl {key} = {original}");
                    failures.push(failure(key.clone(), attempt, error));
                }
                _ => drop(originals.remove(key)),
            }
        }
        if originals.len() != before
            && let Err(cause) = store(&self.record, originals)
        {
            let cause = Arc::new(self.no_record(cause));
            let kept = |key: &SysctlKey| failure(key.clone(), words(key), Arc::clone(&cause));
            failures.extend(keys.iter().map(kept));
        }
        failures
    }
}

impl Mechanism for Sysctls {
    type Key = SysctlKey;
    type Row = String;

    fn observe(&mut self) -> Result<Table<SysctlKey, String>, ObserveError> {
        let failed = |attempt: String, cause: Box<dyn StdError + Send + Sync>| ObserveError {
            attempt,
            cause,
        };
        let attempt = || format!("read {}", self.record.display());
        let originals = load(&self.record).map_err(|cause| failed(attempt(), cause.into()))?;
        let read = || -> Vec<(SysctlKey, Option<String>)> {
            let keys = originals.into_keys();
            keys.map(|key| (key.clone(), sysctl::read(&key.0).ok())).collect()
        };
        let values =
            self.home.run(read).map_err(|cause| failed("read sysctls".to_owned(), cause.into()))?;
        self.vanished.clear();
        let mut table = Table::default();
        for (key, value) in values {
            match value {
                Some(value) => drop(table.insert(key, value)),
                None => drop(self.vanished.insert(key)),
            }
        }
        Ok(table)
    }

    fn apply(&mut self, changes: &Changes<SysctlKey, String>) -> Vec<Failure<SysctlKey>> {
        match self.home.run(|| self.apply_at_home(changes)) {
            Ok(failures) => failures,
            Err(error) => all_failed(changes, words, error),
        }
    }
}

/// The file of original values could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("keep the original values in {record}", record = record.display())]
struct NoRecord {
    record: PathBuf,
    #[source]
    cause: io::Error,
}

fn put_words(key: &SysctlKey, value: &str) -> String {
    format!("put sysctl {key} = {value}")
}

fn words(key: &SysctlKey) -> String {
    format!("write sysctl {key}")
}

/// Reads the record: key and value in each line. Keys hold no spaces.
fn load(record: &Path) -> io::Result<Originals> {
    let text = match fs::read_to_string(record) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other?,
    };
    let line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((SysctlKey(key.to_owned()), value.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Writes the record whole and then puts it in place, so that no reader sees a part.
fn store(record: &Path, originals: &Originals) -> io::Result<()> {
    let next = record.with_extension("next");
    let mut file = io::BufWriter::new(fs::File::create(&next)?);
    for (key, value) in originals {
        writeln!(file, "{} {value}", key.0)?;
    }
    file.flush()?;
    fs::rename(next, record)
}
