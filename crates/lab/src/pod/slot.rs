//! One container of a pod's manifest, and what has become of it.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::jiff::Timestamp;
use nix::sys::signal::Signal;
use tokio::task::{AbortHandle, JoinSet};

use super::container::exit_code;
use super::launch::Launch;
use super::message;
use super::probe::{Answer, Kind, Target};
use super::restart::Backoff;
use super::status::{Ended, State, View};
use super::stop::Stop;
use super::{Console, Found, Seen};

/// What a container is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It ends before the others start.
    Init,
    /// It starts before the others and goes on beside them (KEP-753).
    Sidecar,
    /// It is what the pod is for.
    Main,
    /// It was added to look at the others; the pod doesn't care about it.
    Ephemeral,
}

/// A container and its newest run.
pub(crate) struct Slot {
    /// As in the manifest.
    pub name: String,
    /// What it is there for.
    pub part: Part,
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
    /// As its status names its image: name and id.
    pub image: (String, String),
    /// That run, while its process is there.
    pub run: Option<Run>,
    /// How the run before it ended.
    pub last: Option<Ended>,
    /// How often it was started again.
    pub restarts: i32,
    /// How long it waits to be started again.
    pub backoff: Backoff,
    /// When its newest run ended.
    pub ended_at: Option<Instant>,
    /// When the run before that ended.
    pub ended_before: Option<Instant>,
    /// Whether its newest run was stopped in order to start it again.
    pub condemned: bool,
    /// When its image was first found to be unknown.
    pub unknown_since: Option<Instant>,
}

/// A run of a container whose process is there.
pub(crate) struct Run {
    /// When it started.
    pub since: Timestamp,
    /// The same, by the clock that waits.
    pub begun: tokio::time::Instant,
    /// What probes and hooks are tried on.
    pub target: Target,
    /// The signal that asks it to end.
    pub signal: Signal,
    /// Where it leaves its last words, as the node sees it, and whether its log will do.
    pub message: (PathBuf, bool),
    /// Whether its postStart hook, if any, has done its work.
    pub hooked: bool,
    /// What its startup and readiness probes say; true without them.
    pub started: bool,
    /// See `started`.
    pub ready: bool,
    /// The stop that is on its way.
    pub stop: Option<Stop>,
    /// Its probes, hooks and its stop; they end with it.
    pub tasks: JoinSet<()>,
    /// Those of them that could have it stopped; a pod on its way down needs none.
    pub vital: Vec<AbortHandle>,
}

impl Slot {
    /// A container that waits to be started.
    pub(crate) fn new(container: &Container, part: Part, reason: &str) -> Self {
        let found = Found {
            container: container.name.clone(),
            process: None,
            env: Vec::new(),
            cwd: container.working_dir.as_deref().unwrap_or("/").into(),
            log: PathBuf::new(),
        };
        Self {
            name: container.name.clone(),
            part,
            state: State::Waiting { reason: reason.to_owned(), message: None },
            found,
            launch: None,
            console: None,
            id: String::new(),
            image: (container.image.clone().unwrap_or_default(), String::new()),
            run: None,
            last: None,
            restarts: 0,
            backoff: Backoff::default(),
            ended_at: None,
            ended_before: None,
            condemned: false,
            unknown_since: None,
        }
    }

    /// Whether its process is there.
    pub(crate) fn runs(&self) -> bool {
        self.run.is_some()
    }

    /// Whether it runs and has started, as far as its hook and its startup probe say.
    pub(crate) fn has_started(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.hooked && run.started)
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

    /// It runs as process `pid`; whether it counts as running yet is for its hook to say.
    pub(crate) fn started(&mut self, pid: i32, run: Run) {
        self.found.process = Some((pid, Arc::clone(&run.target.inside.process)));
        let since = run.since;
        let hooked = run.hooked;
        self.run = Some(run);
        if hooked {
            self.is_running(since);
        }
    }

    /// Its hook has done its work.
    pub(crate) fn hooked(&mut self) {
        if let Some(run) = &mut self.run {
            run.hooked = true;
            let since = run.since;
            self.is_running(since);
        }
    }

    fn is_running(&mut self, since: Timestamp) {
        if let State::Ended(end) = std::mem::replace(&mut self.state, State::Running { since }) {
            self.last = Some(end);
        }
    }

    /// One of its probes has an answer.
    pub(crate) fn answered(&mut self, answer: Answer) {
        let Some(run) = &mut self.run else { return };
        match answer.kind {
            Kind::Startup => run.started = answer.ok,
            Kind::Readiness => run.ready = answer.ok,
            // What that leads to is the pod's worker's to do.
            Kind::Liveness => {}
        }
    }

    /// It could not be started.
    pub(crate) fn not_started(&mut self, message: String) {
        let code = i32::from(super::init::NOT_STARTED);
        self.over(Timestamp::UNIX_EPOCH, (code, None), "StartError", Some(message));
    }

    /// Its process has ended.
    pub(crate) fn ended(&mut self, status: ExitStatus) {
        let run = self.run.take();
        let since = run.as_ref().map_or_else(Timestamp::now, |run| run.since);
        let reason = if status.success() { "Completed" } else { "Error" };
        let message = run.and_then(|run| {
            let (path, or_log) = run.message;
            let or_log = (or_log && !status.success()).then_some(self.found.log.as_path());
            message::last_words(&path, or_log)
        });
        self.over(since, exit_code(status), reason, message);
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
        let end = Ended { container_id, code, signal, reason, message, from, to };
        if let State::Ended(before) = std::mem::replace(&mut self.state, State::Ended(end)) {
            self.last = Some(before);
        }
        self.found.process = None;
        self.console = None;
        self.ended_at = Some(Instant::now());
    }

    /// Sends its process a signal, if there is one.
    pub(crate) fn signal(&self, signal: Signal) {
        use std::os::fd::AsFd;
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

    /// It as the status shows it.
    ///
    /// Source: kubelet `prober_manager.UpdatePodStatus`.
    pub(crate) fn view(&self) -> View {
        let started = self.part != Part::Init && self.has_started();
        let ready = match self.part {
            Part::Init => self.succeeded(),
            Part::Sidecar | Part::Main | Part::Ephemeral => {
                started && self.run.as_ref().is_some_and(|run| run.ready)
            }
        };
        View {
            name: self.name.clone(),
            part: self.part,
            image: self.image.0.clone(),
            image_id: self.image.1.clone(),
            container_id: self.id.clone(),
            state: self.state.clone(),
            last: self.last.clone(),
            restarts: self.restarts,
            ready: ready && self.part != Part::Ephemeral,
            started: started && self.part != Part::Ephemeral,
        }
    }
}
