//! A command beside a running container, as probes and lifecycle hooks execute one: in its
//! namespaces, with its environment, as its user, allowed what it is allowed.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;

use super::container::{NotStarted, Place, start};
use super::launch::{Identity, Launch, Program};
use super::stdio::{Source, Streams};
use crate::children::{Child, Children};

/// How much of what such a command says is kept, in bytes.
///
/// Source: kubelet `exec.maxReadLength`.
const KEPT: usize = 10 * 1024;

/// How long what a command has left running may hold its output open after its end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A running container, as far as a command beside it needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Inside {
    /// Its first process.
    pub process: Arc<OwnedFd>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// As whom it runs.
    pub identity: Identity,
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Said {
    /// How it ended; `None` if it took too long and was killed.
    pub status: Option<ExitStatus>,
    /// The beginning of what it wrote to its standard output and error.
    pub text: String,
}

impl Inside {
    /// Runs `argv` to its end, or for `limit` at most. `program` is this binary.
    ///
    /// # Errors
    /// If it could not be started.
    pub(crate) async fn run(
        &self,
        (children, program): (&Children, &Path),
        argv: Vec<String>,
        limit: Option<Duration>,
    ) -> Result<Said, NotStarted> {
        let launch = Launch {
            program: Program::Command(argv),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            root: None,
            terminal: false,
            identity: self.identity.clone(),
        };
        let place = Place::Beside(&self.process);
        let (child, streams) = start(place, (children, program), &launch, false).await?;
        Ok(finish(child, streams, limit).await)
    }
}

/// Listens until the command has ended; what it leaves running may go on talking to nobody.
async fn finish(mut child: Child, mut streams: Streams, limit: Option<Duration>) -> Said {
    let mut text = Vec::new();
    let end = async {
        let heard = hear(&mut streams, &mut text);
        tokio::select! {
            status = child.wait() => status,
            () = heard => child.wait().await,
        }
    };
    let status = match limit {
        Some(limit) => tokio::time::timeout(limit, end).await.ok(),
        None => Some(end.await),
    };
    if status.is_some() {
        // What it had written before it ended is there already.
        let rest = tokio::time::timeout(LAST_WORDS, hear(&mut streams, &mut text));
        drop(rest.await);
    } else if let Err(error) = child.signal(Signal::SIGKILL) {
        tracing::debug!("kill a command that took too long: {error}");
    }
    Said { status, text: String::from_utf8_lossy(&text).into_owned() }
}

/// Keeps the beginning of what comes on both streams, until both have ended.
async fn hear(streams: &mut Streams, text: &mut Vec<u8>) {
    let (mut out, mut err) = ([0_u8; 1024], [0_u8; 1024]);
    let (mut is_open, mut has_errors) = (true, streams.stderr.is_some());
    while is_open || has_errors {
        let more = tokio::select! {
            read = streams.stdout.read(&mut out), if is_open => {
                let read = read.unwrap_or(0);
                is_open = read > 0;
                &out[..read]
            }
            read = read_errors(streams.stderr.as_mut(), &mut err), if has_errors => {
                has_errors = read > 0;
                &err[..read]
            }
        };
        let room = KEPT.saturating_sub(text.len()).min(more.len());
        text.extend_from_slice(&more[..room]);
    }
}

async fn read_errors(stream: Option<&mut Source>, buffer: &mut [u8]) -> usize {
    match stream {
        Some(stream) => stream.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}
