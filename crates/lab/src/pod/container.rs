//! Starting a container inside a sandbox or a process beside a container, and learning how it ends.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};

use super::init;
use super::launch::Launch;
use super::sandbox::{self, Sandbox};
use super::stdio::{Streams, Theirs};
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

/// Where a process is started.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// As a container of its own, which may see the processes of that one.
    Sandbox(&'a Sandbox, Option<&'a Arc<OwnedFd>>),
    /// Beside the process that this descriptor names, in all its namespaces.
    Beside(&'a Arc<OwnedFd>),
}

/// Starts what `launch` describes at `place`; without `has_stdin` it reads nothing. `program` is this
/// binary. The child is for the caller to wait for.
///
/// # Errors
/// See [`NotStarted`]; nothing runs then.
pub(crate) async fn start(
    place: Place<'_>,
    (children, program): (&Children, &Path),
    launch: &Launch,
    has_stdin: bool,
) -> Result<(Child, Streams), NotStarted> {
    let (ours, socket) = UnixStream::pair()?;
    let children = children.clone();
    // Opened here, since a container need not have the file; closed on exec.
    let program = File::open(program)?;
    let spawn = move || {
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command.arg0(init::ROLE).env_clear().current_dir("/");
        command.stdin(OwnedFd::from(socket)).stdout(Stdio::null()).stderr(Stdio::null());
        children.spawn(&mut command)
    };
    let mut child = match place {
        Place::Sandbox(sandbox, target) => sandbox.enter_at(target.cloned(), spawn).await?,
        Place::Beside(process) => beside(process.clone(), spawn).await?,
    };
    let (pipes, mut theirs) = if launch.terminal {
        (None, Theirs::new())
    } else {
        let (ours, theirs) = Streams::pipes(has_stdin)?;
        (Some(ours), theirs)
    };
    if let Place::Beside(process) = place {
        theirs.push(process.try_clone()?);
    }
    let text = serde_json::to_vec(launch).map_err(io::Error::from)?;
    let told = tokio::task::spawn_blocking(move || tell(&ours, &text, &theirs));
    let (why, master) = told.await.map_err(io::Error::other)??;
    let streams = match (pipes, master) {
        (Some(pipes), _) => Some(pipes),
        (None, Some(master)) => Some(Streams::terminal(master, has_stdin)?),
        (None, None) => None,
    };
    match streams {
        Some(streams) if why.is_empty() => Ok((child, streams)),
        _ => {
            child.wait().await;
            Err(NotStarted::Refused(why))
        }
    }
}

/// Runs `spawn` on a thread in all namespaces of `process` but that of mounts, which what is spawned joins by
/// itself: an image need not have what our own program is linked with.
async fn beside<T: Send + 'static>(
    process: Arc<OwnedFd>,
    spawn: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    sandbox::on_own_thread(move || {
        setns(process.as_fd(), crate::enter::ALL.difference(CloneFlags::CLONE_NEWNS))?;
        spawn()
    })
    .await
}

/// Tells the process what to become, with its standard streams, and waits until it is that, or says
/// why not. What it sends along is the master of its terminal.
fn tell(
    socket: &UnixStream,
    launch: &[u8],
    streams: &[OwnedFd],
) -> io::Result<(String, Option<OwnedFd>)> {
    let streams: Vec<BorrowedFd<'_>> = streams.iter().map(AsFd::as_fd).collect();
    // The descriptors come with a blank, which JSON may begin with: the rest may be of any length.
    kernel::process::send_fds(socket, b"\n", &streams)?;
    io::Write::write_all(&mut &*socket, launch)?;
    socket.shutdown(std::net::Shutdown::Write)?;
    let (why, fds) = init::receive_all(socket)?;
    Ok((String::from_utf8_lossy(&why).trim().to_owned(), fds.into_iter().next()))
}

/// How a process ended, as kubelet reports it: its status, or 128 and the signal.
pub(crate) fn exit_code(status: ExitStatus) -> (i32, Option<i32>) {
    match (status.code(), status.signal()) {
        (Some(code), _) => (code, None),
        (None, Some(signal)) => (128 + signal, Some(signal)),
        (None, None) => (255, None),
    }
}
