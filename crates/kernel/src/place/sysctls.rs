//! `Plan.sysctls`: kernel settings, with a record of what they were before.
//!
//! Settings carry no mark, so a file remembers the original value of each one that was changed, and
//! is written before the change. Observed is what the file names; a setting whose link is gone died
//! with it. The file belongs into a directory that does not outlive a reboot, as the settings don't.

use std::collections::BTreeMap;
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
}

impl Sysctls {
    /// Opens the place in the calling thread's namespace. `record` is the file that remembers
    /// original values; it need not exist.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn open(record: impl Into<PathBuf>) -> Result<Self, NetnsError> {
        Ok(Sysctls { record: record.into(), home: Netns::current()? })
    }

    /// Notes the original value of every new key, in one write and before any of them changes.
    fn note_originals(
        &self,
        originals: &mut BTreeMap<SysctlKey, String>,
        changes: &Changes<SysctlKey, String>,
    ) -> io::Result<()> {
        let before = originals.len();
        for key in changes.puts.keys().filter(|key| can_record(key)) {
            if !originals.contains_key(key)
                && let Ok(value) = sysctl::read(&key.0)
            {
                originals.insert(key.clone(), value);
            }
        }
        if originals.len() == before { Ok(()) } else { store(&self.record, originals) }
    }

    fn no_record(&self, cause: io::Error) -> NoRecord {
        NoRecord { record: self.record.clone(), cause }
    }

    fn apply_at_home(&self, changes: &Changes<SysctlKey, String>) -> Vec<Failure<SysctlKey>> {
        let mut failures = Vec::new();
        let mut originals = match load(&self.record) {
            Ok(originals) => originals,
            Err(cause) => return all_failed(changes, words, self.no_record(cause)),
        };
        if let Err(cause) = self.note_originals(&mut originals, changes) {
            // Nothing may be changed that could never be undone.
            return all_failed(changes, words, self.no_record(cause));
        }
        for (key, put) in &changes.puts {
            if let Err(error) = sysctl::write(&key.0, &put.row) {
                let attempt = format!("put sysctl {key} = {}", put.row);
                failures.push(failure(key.clone(), attempt, error));
            }
        }
        for key in changes.deletes.iter().rev() {
            let Some(original) = originals.get(key) else { continue };
            match sysctl::write(&key.0, original) {
                Err(error) if !error.is_gone() => {
                    let attempt = format!("restore sysctl {key} = {original}");
                    failures.push(failure(key.clone(), attempt, error));
                }
                _ => drop(originals.remove(key)),
            }
        }
        originals.retain(|key, _| sysctl::exists(&key.0));
        if let Err(cause) = store(&self.record, &originals) {
            let cause = Arc::new(self.no_record(cause));
            let unforgotten =
                |key: &SysctlKey| failure(key.clone(), words(key), Arc::clone(&cause));
            failures.extend(changes.deletes.iter().map(unforgotten));
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
        let read = || -> Table<SysctlKey, String> {
            let keys = originals.into_keys();
            keys.filter_map(|key| sysctl::read(&key.0).ok().map(|value| (key, value))).collect()
        };
        self.home.run(read).map_err(|cause| failed("read sysctls".to_owned(), cause.into()))
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

fn words(key: &SysctlKey) -> String {
    format!("write sysctl {key}")
}

/// A key with a line break would be two lines of the record; no setting has one.
fn can_record(key: &SysctlKey) -> bool {
    !key.0.contains(['\n', '='])
}

/// Reads the record: one `key=value` a line.
fn load(record: &Path) -> io::Result<BTreeMap<SysctlKey, String>> {
    let text = match fs::read_to_string(record) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other?,
    };
    let line = |line: &str| {
        let (key, value) = line.split_once('=')?;
        Some((SysctlKey(key.to_owned()), value.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Writes the record whole and then puts it in place, so that no reader sees a part.
fn store(record: &Path, originals: &BTreeMap<SysctlKey, String>) -> io::Result<()> {
    let next = record.with_extension("next");
    let mut file = fs::File::create(&next)?;
    for (key, value) in originals {
        writeln!(file, "{}={value}", key.0)?;
    }
    file.sync_all()?;
    fs::rename(next, record)
}
