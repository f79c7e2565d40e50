//! Starting a container inside a sandbox, and learning how it ends.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;

use super::init;
use super::launch::Launch;
use super::log::Log;
use super::sandbox::Sandbox;
use crate::children::{Child, Children};

/// Why a container did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStarted {
    /// Its process could not be made.
    #[error("start the container's process: {0}")]
    Process(#[from] io::Error),
    /// Its process says why it could not become the container.
    #[error("{0}")]
    Refused(String),
}

/// Starts what `launch` describes inside `sandbox`, with its output in the file at `log`. `program`
/// is this binary. The child is for the caller to wait for.
///
/// # Errors
/// See [`NotStarted`]; nothing runs then.
pub(crate) async fn start(
    sandbox: &Sandbox,
    (children, program): (&Children, &Path),
    launch: &Launch,
    log: &Path,
) -> Result<Child, NotStarted> {
    let log = Log::create(log)?;
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    let (program, children) = (PathBuf::from(program), children.clone());
    let spawn = move || {
        let mut command = Command::new(program);
        command.arg0(init::ROLE).env_clear().current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        children.spawn(&mut command)
    };
    let mut child = sandbox.enter(spawn).await?;
    if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
        let out = Receiver::from_owned_fd(out.into())?;
        let err = Receiver::from_owned_fd(err.into())?;
        tokio::spawn(log.copy(out, err));
    }
    let why = tell(UnixStream::from_std(ours)?, launch).await?;
    if why.is_empty() {
        return Ok(child);
    }
    child.wait().await;
    Err(NotStarted::Refused(why))
}

/// Tells the process what to become and waits until it is that, or says why not.
async fn tell(mut socket: UnixStream, launch: &Launch) -> io::Result<String> {
    let text = serde_json::to_vec(launch)?;
    socket.write_all(&text).await?;
    socket.shutdown().await?;
    let mut why = Vec::new();
    socket.read_to_end(&mut why).await?;
    Ok(String::from_utf8_lossy(&why).into_owned())
}

/// How a process ended, as kubelet reports it: its status, or 128 and the signal.
pub(crate) fn exit_code(status: ExitStatus) -> (i32, Option<i32>) {
    match (status.code(), status.signal()) {
        (Some(code), _) => (code, None),
        (None, Some(signal)) => (128 + signal, Some(signal)),
        (None, None) => (255, None),
    }
}
