//! Stopping one run of a container: its hook, its turn, the signal that asks, the one that doesn't.
//!
//! Source: kubelet `killContainer`, `terminationOrdering`.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::watch;
use tokio::time::Instant;

/// The least time between asking and killing, whatever the grace period.
const LEAST: Duration = Duration::from_secs(2);

/// What the pod's worker still has to say to a stop that is on its way.
pub(super) struct Stop {
    deadline: watch::Sender<Instant>,
    turn: watch::Sender<bool>,
}

/// A stop that is on its way.
pub(super) struct Stopping {
    process: Arc<OwnedFd>,
    signal: Signal,
    deadline: watch::Receiver<Instant>,
    turn: watch::Receiver<bool>,
}

impl Stop {
    /// A stop of `process` by `signal`, by `deadline`, that waits for its turn unless it has it.
    pub(super) fn new(
        process: Arc<OwnedFd>,
        signal: Signal,
        deadline: Instant,
        has_turn: bool,
    ) -> (Self, Stopping) {
        let (deadline, until) = watch::channel(deadline);
        let (turn, turned) = watch::channel(has_turn);
        (Self { deadline, turn }, Stopping { process, signal, deadline: until, turn: turned })
    }

    /// Brings the end forward.
    pub(super) fn hurry(&self, deadline: Instant) {
        self.deadline.send_if_modified(|known| {
            let is_sooner = deadline < *known;
            *known = deadline.min(*known);
            is_sooner
        });
    }

    /// Lets it ask now.
    pub(super) fn take_turn(&self) {
        self.turn.send_if_modified(|turn| !std::mem::replace(turn, true));
    }
}

impl Stopping {
    /// Does it. To be dropped when the process has ended.
    pub(super) async fn run(mut self, hook: impl Future<Output = ()>) {
        let mut deadline = self.deadline.clone();
        if *deadline.borrow() > Instant::now() {
            tokio::select! {
                () = hook => {}
                () = reached(&mut deadline, Duration::ZERO) => {}
            }
            tokio::select! {
                // The worker that could say so is gone only with the pod.
                _ = self.turn.wait_for(|turn| *turn) => {}
                () = reached(&mut deadline, Duration::ZERO) => {}
            }
        }
        self.send(self.signal);
        reached(&mut deadline, LEAST).await;
        self.send(Signal::SIGKILL);
    }

    fn send(&self, signal: Signal) {
        if let Err(error) = kernel::process::signal(self.process.as_fd(), signal) {
            tracing::debug!("send {signal} to a container: {error}");
        }
    }
}

/// Waits for the deadline, which may come forward, and for `least` in any case.
async fn reached(deadline: &mut watch::Receiver<Instant>, least: Duration) {
    let least = Instant::now() + least;
    loop {
        let until = (*deadline.borrow_and_update()).max(least);
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            changed = deadline.changed() => if changed.is_err() {
                // It stays what it was.
                tokio::time::sleep_until(until).await;
                return;
            },
        }
    }
}

/// The signal of that name or number; TERM if there is none.
///
/// Source: OCI image configuration, `config.StopSignal`.
pub(super) fn signal(name: &str) -> Signal {
    let plain = name.trim().to_ascii_uppercase();
    if let Ok(number) = plain.parse::<i32>() {
        return Signal::try_from(number).unwrap_or(Signal::SIGTERM);
    }
    let full = if plain.starts_with("SIG") { plain } else { format!("SIG{plain}") };
    full.parse().unwrap_or(Signal::SIGTERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_signal_goes_by_any_of_its_names() {
        for (name, expected) in [
            ("SIGQUIT", Signal::SIGQUIT),
            ("quit", Signal::SIGQUIT),
            ("3", Signal::SIGQUIT),
            ("", Signal::SIGTERM),
            ("99", Signal::SIGTERM),
            ("SIGNONSENSE", Signal::SIGTERM),
        ] {
            assert_eq!(signal(name), expected, "{name}");
        }
    }
}
