//! A container's output, kept in the format and the bounds of the container runtime interface:
//! `<time> <stream> <F or P> <text>`, one line each, a line that goes on marked P.
//!
//! Source: CRI logging (kubelet `logs.ParseCRILog`); containerd `log.WriteLogs`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use k8s_openapi::jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::console::{Listener, Output};

/// Longest text of one entry, in bytes.
const LONGEST_LINE: usize = 16 * 1024;
/// Size at which a log is put aside, in bytes. One older file is kept.
const LARGEST: u64 = 10 * 1024 * 1024;

/// The log of one run of one container.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Log {
    /// Opens the log at `path`, in a folder that is made if needed.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size })
    }

    /// Copies both streams until both have ended, also to those who listen. A full disk costs the
    /// text and nothing else.
    pub(crate) async fn copy(
        mut self,
        mut out: impl AsyncRead + Unpin,
        mut err: impl AsyncRead + Unpin,
        mut listen: mpsc::Receiver<Listener>,
    ) {
        let mut streams = [Stream::new("stdout"), Stream::new("stderr")];
        let mut listeners: Vec<Listener> = Vec::new();
        let [first, second] = &mut streams;
        while first.open || second.open {
            let (output, stream, read) = tokio::select! {
                read = out.read(&mut first.buffer[first.filled..]), if first.open => {
                    (Output::Stdout, &mut *first, read)
                }
                read = err.read(&mut second.buffer[second.filled..]), if second.open => {
                    (Output::Stderr, &mut *second, read)
                }
                Some(listener) = listen.recv() => {
                    listeners.push(listener);
                    continue;
                }
            };
            let read = read.unwrap_or(0);
            listeners.retain(|listener| !listener.is_closed());
            for listener in &listeners {
                let news = Bytes::copy_from_slice(stream.newest(read));
                // One who has gone meanwhile is forgotten the next time.
                drop(listener.send((output, news)).await);
            }
            let text = stream.take(read);
            self.write(&text);
        }
    }

    fn write(&mut self, text: &[u8]) {
        if self.size > LARGEST {
            let fresh = std::fs::rename(&self.path, self.path.with_extension("log.1"))
                .and_then(|()| OpenOptions::new().create(true).append(true).open(&self.path));
            if let Ok(fresh) = fresh {
                self.file = fresh;
                self.size = 0;
            }
        }
        if self.size <= LARGEST && self.file.write_all(text).is_ok() {
            self.size += text.len() as u64;
        }
    }
}

/// What has been read of one stream and not been logged: less than a line.
struct Stream {
    name: &'static str,
    buffer: Vec<u8>,
    filled: usize,
    open: bool,
}

impl Stream {
    fn new(name: &'static str) -> Self {
        Self { name, buffer: vec![0; LONGEST_LINE], filled: 0, open: true }
    }

    /// The `read` bytes that have just been read.
    fn newest(&self, read: usize) -> &[u8] {
        &self.buffer[self.filled..self.filled + read]
    }

    /// The entries that `read` more bytes complete; none more means the end.
    fn take(&mut self, read: usize) -> Vec<u8> {
        self.open = read > 0;
        self.filled += read;
        let mut entries = Vec::new();
        let now = Timestamp::now();
        let mut entry = |tag: &str, text: &[u8]| {
            entries.extend_from_slice(format!("{now:.9} {} {tag} ", self.name).as_bytes());
            entries.extend_from_slice(text);
            entries.push(b'\n');
        };
        let mut rest = &self.buffer[..self.filled];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            entry("F", &rest[..end]);
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() && (rest.len() == self.buffer.len() || !self.open) {
            entry("P", rest);
            rest = &[];
        }
        let left = rest.len();
        self.buffer.copy_within(self.filled - left..self.filled, 0);
        self.filled = left;
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_line_of_both_streams_is_an_entry() {
        let path = std::env::temp_dir().join(format!("seaway-log-{}", std::process::id()));
        let long = "x".repeat(LONGEST_LINE + 3) + "\nend";
        let log = Log::create(&path).unwrap();
        let (_nobody, listen) = mpsc::channel(1);
        log.copy(long.as_bytes(), &b"a\n\nb\n"[..], listen).await;
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut entries: Vec<_> = text
            .lines()
            .map(|line| line.split_once(' ').unwrap().1)
            .map(|line| (line[..8].to_owned(), line.len() - 9))
            .collect();
        entries.sort();
        let entry = |head: &str, length| (head.to_owned(), length);
        assert_eq!(
            entries,
            [
                entry("stderr F", 0),
                entry("stderr F", 1),
                entry("stderr F", 1),
                entry("stdout F", 3),
                entry("stdout P", 3),
                entry("stdout P", LONGEST_LINE),
            ]
        );
    }
}
