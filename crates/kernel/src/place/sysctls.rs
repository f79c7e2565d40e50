//! `Plan.sysctls`: kernel settings, with a record of what they were before.
//!
//! Settings carry no mark, so a file remembers the original value of each one that was changed, and
//! is written before the change. Observed is what the file names; a setting whose link is gone died
//! with it. The file belongs into a directory that does not outlive a reboot, as the settings don't.
//!
//! Of a setting that is to be no less than a number the file also has the number: who finds it there
//! knows whether the value is ours. It is never lowered below what it was, nor raised where only
//! another network namespace may.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plan::{Changes, Failure, Mechanism, ObserveError, Setting, SysctlKey, Table};

use super::{all_failed, failure};
use crate::netns::{Netns, NetnsError};
use crate::sysctl::{self, SysctlError};

/// Kernel settings of one namespace.
pub struct Sysctls {
    record: PathBuf,
    home: Netns,
    /// Recorded keys that were not there when last observed: their lines can go.
    vanished: BTreeSet<SysctlKey>,
}

/// Original values by key.
type Originals = BTreeMap<SysctlKey, Original>;

/// What a setting was, and what it is to be at least.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Original {
    value: String,
    least: Option<u64>,
}

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
        changes: &Changes<SysctlKey, Setting>,
    ) -> io::Result<Vec<Failure<SysctlKey>>> {
        let (before, mut failures) = (originals.clone(), Vec::new());
        originals.retain(|key, _| !self.vanished.contains(key) || sysctl::exists(&key.0));
        for (key, put) in &changes.puts {
            let least = match put.row {
                Setting::Is(_) => None,
                Setting::AtLeast(least) => Some(least),
            };
            if let Some(known) = originals.get_mut(key) {
                known.least = least;
                continue;
            }
            match sysctl::read(&key.0) {
                Ok(value) => drop(originals.insert(key.clone(), Original { value, least })),
                Err(error) => failures.push(failure(key.clone(), put_words(key, &put.row), error)),
            }
        }
        if *originals != before {
            store(&self.record, originals)?;
        }
        Ok(failures)
    }

    fn no_record(&self, cause: io::Error) -> NoRecord {
        NoRecord { record: self.record.clone(), cause }
    }

    fn apply_at_home(&self, changes: &Changes<SysctlKey, Setting>) -> Vec<Failure<SysctlKey>> {
        let mut originals = match load(&self.record) {
            Ok(originals) => originals,
            Err(cause) => return all_failed(changes, words, self.no_record(cause)),
        };
        let before = originals.clone();
        let mut failures = match self.note_originals(&mut originals, changes) {
            Ok(failures) => failures,
            // Nothing may be changed that could never be undone.
            Err(cause) => return all_failed(changes, words, self.no_record(cause)),
        };
        for (key, put) in &changes.puts {
            let Some(original) = originals.get(key) else { continue };
            let ours = before.get(key).and_then(|original| original.least);
            let written = match &put.row {
                Setting::Is(value) => sysctl::write(&key.0, value),
                Setting::AtLeast(least) => raise(key, *least, &original.value, ours),
            };
            if let Err(error) = written {
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
            match give_back(key, original) {
                Err(error) if !error.is_gone() => {
                    let attempt = format!("restore sysctl {key} = {}", original.value);
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
    type Row = Setting;

    fn observe(&mut self) -> Result<Table<SysctlKey, Setting>, ObserveError> {
        let failed = |attempt: String, cause: Box<dyn StdError + Send + Sync>| ObserveError {
            attempt,
            cause,
        };
        let attempt = || format!("read {}", self.record.display());
        let originals = load(&self.record).map_err(|cause| failed(attempt(), cause.into()))?;
        let read = || -> Vec<(SysctlKey, Option<Setting>)> {
            let keys = originals.into_iter();
            keys.map(|(key, original)| (key.clone(), observed(&key, &original))).collect()
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

    fn apply(&mut self, changes: &Changes<SysctlKey, Setting>) -> Vec<Failure<SysctlKey>> {
        match self.home.run(|| self.apply_at_home(changes)) {
            Ok(failures) => failures,
            Err(error) => all_failed(changes, words, error),
        }
    }
}

/// What a setting of the record is; `None` when there is no such setting any more.
fn observed(key: &SysctlKey, original: &Original) -> Option<Setting> {
    let value = sysctl::read(&key.0).ok()?;
    let Some(least) = original.least else { return Some(Setting::Is(value)) };
    let now: u64 = value.parse().ok()?;
    let is_enough = now >= least || !sysctl::is_writable(&key.0);
    Some(Setting::AtLeast(if is_enough { least } else { now }))
}

/// Makes a setting `least`, or what it was if that is more. A value that nobody but us can have written
/// (it is what the record says, `ours`) goes down as well.
fn raise(
    key: &SysctlKey,
    least: u64,
    original: &str,
    ours: Option<u64>,
) -> Result<(), SysctlError> {
    let now = number(&sysctl::read(&key.0)?);
    let want = least.max(number(original));
    if now == want || (now > want && ours != Some(now)) || !sysctl::is_writable(&key.0) {
        return Ok(());
    }
    sysctl::write(&key.0, &want.to_string())
}

/// Gives a setting its original value back, unless it was only to be no less than a number and is not
/// that number: then it is somebody else's.
fn give_back(key: &SysctlKey, original: &Original) -> Result<(), SysctlError> {
    match original.least {
        Some(least) if number(&sysctl::read(&key.0)?) != least => Ok(()),
        Some(least) if number(&original.value) >= least => Ok(()),
        Some(_) | None => sysctl::write(&key.0, &original.value),
    }
}

/// A setting that is a number; 0 when it is none.
fn number(value: &str) -> u64 {
    value.parse().unwrap_or_default()
}

/// The file of original values could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("keep the original values in {record}", record = record.display())]
struct NoRecord {
    record: PathBuf,
    #[source]
    cause: io::Error,
}

fn put_words(key: &SysctlKey, setting: &Setting) -> String {
    format!("put sysctl {key} {setting}")
}

fn words(key: &SysctlKey) -> String {
    format!("write sysctl {key}")
}

/// Between a value and what it is to be at least.
const LEAST: &str = " >= ";

/// Reads the record: key and value in each line, and what it is to be at least. Keys hold no spaces.
fn load(record: &Path) -> io::Result<Originals> {
    let text = match fs::read_to_string(record) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other?,
    };
    let line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        let (value, least) = match value.split_once(LEAST) {
            Some((value, least)) => (value, Some(least.parse().ok()?)),
            None => (value, None),
        };
        Some((SysctlKey(key.to_owned()), Original { value: value.to_owned(), least }))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Writes the record whole and then puts it in place, so that no reader sees a part.
fn store(record: &Path, originals: &Originals) -> io::Result<()> {
    let next = record.with_extension("next");
    let mut file = io::BufWriter::new(fs::File::create(&next)?);
    for (key, Original { value, least }) in originals {
        match least {
            Some(least) => writeln!(file, "{} {value}{LEAST}{least}", key.0)?,
            None => writeln!(file, "{} {value}", key.0)?,
        }
    }
    file.flush()?;
    fs::rename(next, record)
}
