//! When a snapshot is written: rarely, on a thread of its own, and never by who programs the kernel.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fs, io};

use model::NodeName;

use super::write::write;
use super::{NEW_FILE, Objects};
use crate::observe::Metrics;
use crate::reconcile::since_1970;
use crate::shown::Shown;
use crate::sources::Basis;

/// The shortest time between two snapshots.
const LEAST_REST: Duration = Duration::from_secs(10);

/// Bytes a second that snapshots may cost a disk, when something changes all the time: 6 GB a day.
const BYTES_A_SECOND: u64 = 64 * 1024;

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct Writing {
    /// Told once: whether a last one is to be written.
    end: SyncSender<bool>,
    thread: JoinHandle<()>,
}

impl Writing {
    /// Writes what `shown` knows of the cluster into `state_dir`, whenever that is another cluster than
    /// the last time.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(
        state_dir: &Path,
        node: &NodeName,
        shown: Arc<Shown>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (end, ended) = sync_channel(1);
        let (state_dir, node) = (state_dir.to_owned(), node.clone());
        // What an agent has left that was killed while it wrote.
        drop(fs::remove_file(state_dir.join(NEW_FILE)));
        let mut writer = Writer { state_dir, node, shown, metrics, written: None, trouble: None };
        let thread = std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            let mut wait = LEAST_REST;
            loop {
                match ended.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => wait = rest(writer.write_if_new()),
                    Ok(is_last) => {
                        if is_last {
                            writer.write_if_new();
                        }
                        return;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Writing { end, thread })
    }

    /// Ends it, after one more snapshot if something has changed since the last one and `is_last`.
    pub(crate) fn end(self, is_last: bool) {
        let Writing { end, thread } = self;
        if end.send(is_last).is_err() | thread.join().is_err() {
            tracing::error!("the thread that writes snapshots has died");
        }
    }
}

/// How long a disk has peace after so many bytes.
fn rest(written: u64) -> Duration {
    LEAST_REST.max(Duration::from_secs(written / BYTES_A_SECOND))
}

struct Writer {
    state_dir: PathBuf,
    node: NodeName,
    shown: Arc<Shown>,
    metrics: Arc<Metrics>,
    written: Option<Objects>,
    trouble: Option<String>,
}

impl Writer {
    /// Writes a snapshot unless nothing has changed. Returns how many bytes it wrote.
    fn write_if_new(&mut self) -> u64 {
        let view = self.shown.view();
        let is_written = |written: &Objects| written.are_those_of(&view.world);
        // Nobody but the API server says what there is.
        if view.basis != Basis::Lists || self.written.as_ref().is_some_and(is_written) {
            return 0;
        }
        let (objects, now) = (Objects::of(&view.world), since_1970());
        drop(view);
        match write(&self.state_dir, &self.node, &objects, now) {
            Ok(bytes) => {
                // By now what lists took has been freed as well.
                kernel::process::give_back_memory();
                self.written = Some(objects);
                self.trouble = None;
                self.metrics.snapshot_written(bytes, now);
                bytes
            }
            Err(error) => {
                self.metrics.snapshot_failed();
                let why = format!("write a snapshot into {}: {error}", self.state_dir.display());
                if self.trouble.as_ref() != Some(&why) {
                    tracing::warn!("{why}; trying again");
                    self.trouble = Some(why);
                }
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_snapshot_is_written_less_often() {
        let megabytes = |count: u64| count * 1024 * 1024;
        let cases = [(0, 10), (megabytes(0) + 1, 10), (megabytes(1), 16), (megabytes(20), 320)];
        for (written, seconds) in cases {
            assert_eq!(rest(written), Duration::from_secs(seconds), "{written}");
        }
    }
}
