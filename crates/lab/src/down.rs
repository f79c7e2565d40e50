//! Taking a lab down: whatever state it is in, nothing of it is left.
//!
//! Ending the supervisor is enough: it is PID 1 of the lab's PID namespace, so the kernel ends every
//! process of the lab before the supervisor itself is gone, and namespaces and mounts go with their
//! last process. What remains is the directory.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::directory::{ClaimError, Directory};
use crate::kubeconfig::{self, KubeconfigError};

/// How long all processes of a lab may take to be gone once they are told.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `down` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A lab that was up; it is gone now.
    Up,
    /// What a dead lab had left; it is gone now.
    Remains,
    /// Nothing.
    Nothing,
}

/// A lab could not be taken down.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// Its processes are still there.
    #[error("lab {0}: its processes have not ended in {PATIENCE:?}")]
    Slow(String),
    /// The supervisor could not be told.
    #[error("end the supervisor of lab {name} (needs root)")]
    End {
        /// The lab.
        name: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The lab is down, but its entry in a kubeconfig is not gone.
    #[error("lab {0} is down; take it out of a kubeconfig")]
    Merged(String, #[source] KubeconfigError),
    /// Somebody else makes or removes the lab at this moment.
    #[error("lab {0} is being made or removed by another command; try again")]
    Busy(String),
    /// The directory could not be removed.
    #[error("remove {path}")]
    Remove {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

/// Takes down the lab of `directory` and waits until nothing is left.
///
/// # Errors
/// [`DownError`]; what is left can be taken down again.
pub fn down(directory: &Directory) -> Result<Found, DownError> {
    if !directory.exists() {
        return Ok(Found::Nothing);
    }
    let name = directory.name();
    let removed = |cause| {
        let path = directory.path().display().to_string();
        DownError::Remove { path, cause }
    };
    let deadline = Instant::now() + PATIENCE;
    let mut found = Found::Remains;
    loop {
        if let Ok(stream) = UnixStream::connect(directory.control_socket()) {
            found = Found::Up;
            let end = end_listener(&stream, deadline);
            if !end.map_err(|cause| DownError::End { name: name.clone(), cause })? {
                return Err(DownError::Slow(name));
            }
        }
        match directory.claim() {
            Ok(_claim) => {
                let merged = kubeconfig::remembered(directory);
                directory.remove().map_err(removed)?;
                let outcome = kubeconfig::take_out(directory, &merged);
                return outcome.map(|()| found).map_err(|cause| DownError::Merged(name, cause));
            }
            // An `up` that has not got to its control socket yet, or another `down`.
            Err(ClaimError::Up(_)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(ClaimError::Up(_)) => return Err(DownError::Busy(name)),
            Err(ClaimError::Foreign(_)) => return Ok(Found::Nothing),
            Err(ClaimError::Files { cause, .. }) => return Err(removed(cause)),
        }
    }
}

/// Ends the process that listens at the other end of `stream` and waits until it is gone; `false` when
/// it is still there at `deadline`.
fn end_listener(stream: &UnixStream, deadline: Instant) -> io::Result<bool> {
    let peer = getsockopt(stream, PeerCredentials)?;
    let pidfd = match kernel::process::open_pidfd(peer.pid()) {
        Err(error) if is_gone(&error) => return Ok(true),
        other => other?,
    };
    match kernel::process::signal(pidfd.as_fd(), Signal::SIGKILL) {
        Err(error) if !is_gone(&error) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, timeout)? > 0)
}

fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32)
}
