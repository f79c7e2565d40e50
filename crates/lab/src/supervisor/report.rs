//! What the supervisor tells `lab up` while it starts: one JSON line each, over the pipe that is its
//! standard output until it has started.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The API server answers.
    ApiReady,
    /// This node's process has been started.
    NodeStarted(String),
    /// Everything has been started: the last line of a start that went well.
    Started,
    /// The start failed, and why: the last line of one that did not.
    Failed(String),
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct Reporter(pub(super) File);

impl Reporter {
    /// Writes one line. Nobody reading is no error: `lab up` may have been killed.
    pub(super) fn tell(&mut self, report: &Report) {
        let line = serde_json::to_string(report).unwrap_or_default() + "\n";
        if let Err(error) = self.0.write_all(line.as_bytes()) {
            tracing::debug!("report the start: {error}");
        }
    }
}

/// Reads lines until the last one, or the end of the pipe: the supervisor has died.
pub fn read(pipe: impl Read) -> impl Iterator<Item = io::Result<Report>> {
    BufReader::new(pipe).lines().map(|line| Ok(serde_json::from_str(&line?)?))
}
