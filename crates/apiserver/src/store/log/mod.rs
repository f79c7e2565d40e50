//! The file under the store: a snapshot, followed by what happened since.
//!
//! `<state directory>/objects` is text. The header names the form and the version of the snapshot;
//! then each object of it is a line, and after these each group commit is one. Every line carries a
//! CRC-32. A commit is one write and one `fdatasync`, so it is read back whole or not at all, and
//! what was answered is never lost. A torn last line is what a crash in the middle of a commit
//! leaves; nobody was told of it, so it is cut off and put aside. Anything else that does not read is damage: the
//! file is left as it is and the server does not start.
mod file;
mod record;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ring::Memory;
use super::shelves::Shelves;
use super::{Event, Key, Object};
use crate::resource::Shelf;
use file::Directory;
use record::{BadLine, Record};

/// A file is rewritten when it is larger than this and than four times what it amounts to.
const WORTH_REWRITING: u64 = 16 * 1024 * 1024;

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another server has it.
    #[error("lock {0}: another server uses this state directory")]
    InUse(PathBuf),
    /// A newer release wrote it. It is left as it is.
    #[error(
        "{path} has form {found}, this server knows up to {known}: run the newer release, or take \
         another state directory"
    )]
    Future {
        /// The file.
        path: PathBuf,
        /// Its form.
        found: u64,
        /// The newest this code knows.
        known: u64,
    },
    /// What is there was changed by someone else, or by the disk. It is left as it is.
    #[error(
        "{path}, line {line}: {why}; restore it from a copy, or move it away to start with no \
         objects"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What does not read.
        why: String,
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

/// The file, open for writing by this process alone.
#[derive(Debug)]
pub(super) struct Log {
    directory: Directory,
    path: String,
    /// Length at which the next rewrite is worth it.
    rewrite_at: u64,
}

impl Log {
    /// Opens the file in `directory` and reads what it amounts to.
    pub(super) fn open(directory: &Path, memory: Memory) -> Result<(Self, Shelves), StateError> {
        let (mut directory, found) = Directory::open(directory)?;
        let path = directory.path();
        let shelves = match found {
            Some(file) => {
                let reading = read(&file, &path, memory)?;
                let cut = directory.resume(file, reading.whole);
                cut.map_err(|cause| StateError::Io {
                    attempt: format!("cut {} to {} bytes", path.display(), reading.whole),
                    cause,
                })?;
                if reading.torn > 0 {
                    tracing::warn!(
                        "{}: its last commit was not written whole, and so never answered; its {} \
                         bytes are in {} now",
                        path.display(),
                        reading.torn,
                        directory.torn().display()
                    );
                }
                reading.shelves
            }
            None => {
                let begun = directory.replace(|out| out.write_all(&record::header(1)));
                begun.map_err(|cause| StateError::Io {
                    attempt: format!("create {}", path.display()),
                    cause,
                })?;
                Shelves::new(memory, 1, 1)
            }
        };
        let rewrite_at = WORTH_REWRITING.max(4 * shelves.bytes as u64);
        Ok((Self { directory, path: path.display().to_string(), rewrite_at }, shelves))
    }

    /// What to call the file in a message.
    pub(super) fn path_for_errors(&self) -> &str {
        &self.path
    }

    /// Whether the file cannot be appended to any more.
    pub(super) fn is_suspect(&self) -> bool {
        self.directory.is_suspect()
    }

    pub(super) fn is_worth_rewriting(&self) -> bool {
        self.directory.is_suspect() || self.directory.len() >= self.rewrite_at
    }

    /// Makes `events` durable, all or none.
    pub(super) fn append(&mut self, events: &[(Shelf, Arc<Event>)]) -> io::Result<()> {
        self.directory.append(&record::commit(events))
    }

    /// Puts a snapshot of `objects`, all there are at `version`, in the place of the file.
    pub(super) fn rewrite(
        &mut self,
        version: u64,
        objects: &[(Shelf, Key, Arc<Object>)],
    ) -> io::Result<()> {
        // Tried again only after as much has been added, should it fail.
        self.rewrite_at = self.directory.len().saturating_mul(2).max(WORTH_REWRITING);
        self.directory.replace(|out| {
            out.write_all(&record::header(version))?;
            objects.iter().try_for_each(|(shelf, key, object)| {
                out.write_all(&record::object(shelf, key, object))
            })
        })?;
        self.rewrite_at = self.directory.len().saturating_mul(4).max(WORTH_REWRITING);
        Ok(())
    }
}

/// A file, read.
struct Reading {
    shelves: Shelves,
    /// Bytes up to the end of the last whole commit.
    whole: u64,
    /// Bytes after it.
    torn: u64,
}

fn read(file: &File, path: &Path, memory: Memory) -> Result<Reading, StateError> {
    let fail = |cause| StateError::Io { attempt: format!("read {}", path.display()), cause };
    let damaged =
        |line: usize, why: String| StateError::Damaged { path: path.to_owned(), line, why };
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    let mut whole = lines.read_until(b'\n', &mut line).map_err(fail)? as u64;
    let header = line.strip_suffix(b"\n").and_then(|line| record::form(line).ok());
    let Some((form, version)) = header else { return Err(damaged(1, "no header".to_owned())) };
    if form > record::FORM {
        let (path, known) = (path.to_owned(), record::FORM);
        return Err(StateError::Future { path, found: form, known });
    }
    let mut replay =
        Replay { shelves: Shelves::new(memory, version, version), names: HashMap::new() };
    for number in 2.. {
        line.clear();
        let bytes = lines.read_until(b'\n', &mut line).map_err(fail)? as u64;
        if bytes == 0 {
            return Ok(Reading { shelves: replay.finish(), whole, torn: 0 });
        }
        match line.strip_suffix(b"\n").map_or(Err(BadLine::Checksum), record::read) {
            Ok(record) => replay.take(record).map_err(|why| damaged(number, why))?,
            Err(BadLine::Checksum)
                if lines.fill_buf().map_err(fail)?.is_empty() && record::may_be_torn(&line) =>
            {
                return Ok(Reading { shelves: replay.finish(), whole, torn: bytes });
            }
            Err(error) => return Err(damaged(number, error.to_string())),
        }
        whole += bytes;
    }
    unreachable!("a file has fewer lines than there are numbers")
}

/// The store as the lines read so far leave it.
struct Replay {
    shelves: Shelves,
    names: HashMap<String, Shelf>,
}

impl Replay {
    fn shelf(&mut self, name: String) -> Shelf {
        self.names.entry(name).or_insert_with_key(|name| name.as_str().into()).clone()
    }

    fn take(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Object { shelf, key, value } => {
                let version = value["metadata"]["resourceVersion"].as_str();
                let version = version.and_then(|version| version.parse().ok());
                let version = version.filter(|version| *version <= self.shelves.version);
                let version = version.ok_or("an object without a version of its time")?;
                let shelf = self.shelf(shelf);
                self.shelves.place(&shelf, key, Object::new(version, value));
            }
            Record::Commit(writes) => {
                for write in writes {
                    if write.version <= self.shelves.version {
                        return Err(format!("version {} comes too late", write.version));
                    }
                    let shelf = self.shelf(write.shelf);
                    let before = self.shelves.get(&shelf);
                    let before = before.and_then(|shelf| shelf.objects.get(&write.key)).cloned();
                    let event = Event::new(write.version, write.key, before, write.value);
                    let event = event.ok_or("an object is removed that is not there")?;
                    self.shelves.put(&shelf, Arc::new(event));
                    self.shelves.settled = self.shelves.version;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Shelves {
        self.shelves.settled = self.shelves.version;
        self.shelves
    }
}

#[cfg(test)]
mod tests;
