//! Starting a supervisor from the machine's side.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use crate::directory::{Claim, Directory};
use crate::spec::Spec;

/// A lab could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct StartError {
    attempt: String,
    #[source]
    cause: io::Error,
}

/// Starts the supervisor of the lab whose directory `claim` holds: PID 1 of a PID namespace of its own,
/// so that its end is the end of every process of the lab. The claim passes to it.
///
/// Its standard output is the pipe of [`reports`](super::report::read).
///
/// # Errors
/// [`StartError`]; the directory may be half-written then.
pub fn start(directory: &Directory, claim: Claim, spec: &Spec) -> Result<Child, StartError> {
    let failed = |attempt: &str| {
        let attempt = attempt.to_owned();
        move |cause: io::Error| StartError { attempt, cause }
    };
    let spec = serde_json::to_vec_pretty(spec).map_err(io::Error::from);
    spec.and_then(|spec| std::fs::write(directory.spec_file(), spec))
        .map_err(failed(&format!("write {}", directory.spec_file().display())))?;
    let log = File::create(directory.supervisor_log())
        .map_err(failed(&format!("open {}", directory.supervisor_log().display())))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(super::ROLE).arg(directory.path());
    command.stdin(Stdio::from(claim.lock)).stdout(Stdio::piped()).stderr(log);
    // Namespaces belong to a thread and are inherited by what it starts.
    let spawned = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)?;
            command.spawn()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    spawned.map_err(failed("start the supervisor"))
}
