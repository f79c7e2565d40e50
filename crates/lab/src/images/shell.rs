//! `seaway/shell`: a place to run commands in.
//!
//! As a container's command it does nothing until it is ended, so that people can
//! `lab exec` into it; with arguments it is the machine's `/bin/sh`.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::signal::{SigSet, Signal};

/// The image's name.
pub const IMAGE: &str = "seaway/shell";

/// The name this role is called by.
pub const ROLE: &str = "seaway-shell";

/// Runs the machine's shell with `args`, or waits to be ended if there are none.
#[must_use]
#[expect(clippy::print_stderr, reason = "the container's standard error is its log")]
pub fn run(args: &[String]) -> ExitCode {
    if args.is_empty() {
        return wait_for_the_end();
    }
    let error = Command::new("/bin/sh").args(args).exec();
    eprintln!("{ROLE}: execute /bin/sh: {error}");
    ExitCode::from(127)
}

/// What ends a role or tells it of an orphan. To be blocked before other threads are started, so
/// that only the one that waits gets them.
pub(super) fn end_signals() -> SigSet {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals
}

/// Waits for a signal that ends this process. As process 1 it has no default for any signal and every orphan to bury.
pub(super) fn wait_for_the_end() -> ExitCode {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let signals = end_signals();
    if signals.thread_block().is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        match signals.wait() {
            Ok(Signal::SIGTERM | Signal::SIGINT) => return ExitCode::SUCCESS,
            _ => {
                while let Ok(ended) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    if ended == WaitStatus::StillAlive {
                        break;
                    }
                }
            }
        }
    }
}
