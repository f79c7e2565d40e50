//! One container of a pod's manifest, and what has become of it.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::jiff::Timestamp;
use nix::sys::signal::Signal;

use super::container::exit_code;
use super::launch::Launch;
use super::restart::Backoff;
use super::status::{Ended, State, View};
use super::{Console, Found, Seen};

/// A container and its newest run.
pub(crate) struct Slot {
    /// As in the manifest.
    pub name: String,
    /// What it does.
    pub state: State,
    /// Its newest run, which may not have started yet.
    pub found: Found,
    /// How that run was started.
    pub launch: Option<Arc<Launch>>,
    /// What can be attached to, while it runs.
    pub console: Option<Console>,
    /// Id of that run.
    pub id: String,
    /// How the run before it ended.
    pub last: Option<Ended>,
    /// How often it was started again.
    pub restarts: i32,
    /// How long it waits to be started again.
    pub backoff: Backoff,
    /// When it ended.
    pub ended_at: Option<Instant>,
    /// When its image was first found to be unknown.
    pub unknown_since: Option<Instant>,
}

impl Slot {
    /// A container that waits to be started.
    pub(crate) fn new(container: &Container, reason: &str) -> Self {
        let found = Found {
            container: container.name.clone(),
            process: None,
            env: Vec::new(),
            cwd: container.working_dir.as_deref().unwrap_or("/").into(),
            log: std::path::PathBuf::new(),
        };
        Self {
            name: container.name.clone(),
            state: State::Waiting { reason: reason.to_owned(), message: None },
            found,
            launch: None,
            console: None,
            id: String::new(),
            last: None,
            restarts: 0,
            backoff: Backoff::default(),
            ended_at: None,
            unknown_since: None,
        }
    }

    /// Whether its process is there.
    pub(crate) fn runs(&self) -> bool {
        self.found.process.is_some()
    }

    /// Whether it has done what it was there for.
    pub(crate) fn succeeded(&self) -> bool {
        matches!(&self.state, State::Ended(end) if end.code == 0)
    }

    /// How its newest run ended, if that is the newest there is to say.
    pub(crate) fn end(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended(end) => Some(end),
            State::Waiting { .. } => self.last.as_ref(),
            State::Running { .. } => None,
        }
    }

    /// It waits, for `reason`; how it ended before is not forgotten.
    pub(crate) fn wait(&mut self, reason: &str, message: Option<String>) {
        let next = State::Waiting { reason: reason.to_owned(), message };
        if let State::Ended(end) = std::mem::replace(&mut self.state, next) {
            self.last = Some(end);
        }
    }

    /// It runs.
    pub(crate) fn started(&mut self, pid: i32, pidfd: Arc<OwnedFd>) {
        let since = Timestamp::now();
        if let State::Ended(end) = std::mem::replace(&mut self.state, State::Running { since }) {
            self.last = Some(end);
        }
        self.found.process = Some((pid, pidfd));
    }

    /// It could not be started.
    pub(crate) fn not_started(&mut self, message: String) {
        let code = i32::from(super::init::NOT_STARTED);
        self.over(Timestamp::UNIX_EPOCH, (code, None), "StartError", Some(message));
    }

    /// Its process has ended.
    pub(crate) fn ended(&mut self, status: ExitStatus) {
        let since = match self.state {
            State::Running { since } => since,
            State::Waiting { .. } | State::Ended(_) => Timestamp::now(),
        };
        let reason = if status.success() { "Completed" } else { "Error" };
        self.over(since, exit_code(status), reason, None);
    }

    fn over(
        &mut self,
        from: Timestamp,
        (code, signal): (i32, Option<i32>),
        reason: &'static str,
        message: Option<String>,
    ) {
        let container_id = self.id.clone();
        let to = Timestamp::now();
        self.state = State::Ended(Ended { container_id, code, signal, reason, message, from, to });
        self.found.process = None;
        self.console = None;
        self.ended_at = Some(Instant::now());
    }

    /// Sends its process a signal, if there is one.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some((pid, pidfd)) = &self.found.process
            && let Err(error) = kernel::process::signal(pidfd.as_fd(), signal)
        {
            tracing::debug!("signal process {pid} of container {}: {error}", self.name);
        }
    }

    /// It as those see it who want to do something with it.
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            found: self.found.clone(),
            state: self.state.clone(),
            last: self.last.clone(),
            launch: self.launch.clone(),
            console: self.console.clone(),
        }
    }

    /// It as the status shows it. Running is ready until probes have a say.
    pub(crate) fn view(&self, image: &str, is_init: bool) -> View {
        let ready = if is_init { self.succeeded() || self.runs() } else { self.runs() };
        View {
            name: self.name.clone(),
            image: image.to_owned(),
            container_id: self.id.clone(),
            state: self.state.clone(),
            last: self.last.clone(),
            restarts: self.restarts,
            ready,
        }
    }
}
