//! The loop: one thread that owns the journal and every place of the kernel.
//!
//! A turn gathers what waits, decides it on a copy of the leases, makes that durable with one commit,
//! compiles the new World, makes one pass over all steps, and answers by the report of that pass. All
//! that arrives during a turn is the next turn's batch, so a hundred ADDs at once cost a handful of
//! syncs and passes. Nothing is retried inside a turn; [`Retry`] decides when the next one is.

mod flows;
mod marks;
mod pass;
mod report;
mod requests;
mod retry;
mod stage;
mod step;
mod turn;
mod waiting;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use compile::{Compiled, Compiler, Scope};
use model::{Config, Generation, World};
use plan::{Plan, Table};

use crate::dns::Names;
use crate::handle::{Message, Status};
use crate::health::Due;
use crate::journal::Journal;
use crate::observe::{Followed, Metrics};
use crate::shown::{Shown, View};
use crate::sources::{Basis, Sources};

pub use report::{FailureRow, Report, StepReport, Subject};

pub(crate) use flows::Flows;
pub(crate) use marks::{Marks, NAME as MARKS};
pub(crate) use pass::Steps;
pub(crate) use stage::{InPlan, Reach, Stage, table};
pub(crate) use step::{OwnLinks, Step};

use retry::Retry;
use turn::Turn;
use waiting::Waiting;

/// The step that brings Services into the kernel.
pub(crate) const RULES: &str = "nft";

/// The state of the loop.
pub(crate) struct Loop {
    inbox: Receiver<Message>,
    journal: Journal,
    sources: Sources,
    steps: Steps,
    metrics: Arc<Metrics>,
    shown: Arc<Shown>,
    due: Due,
    names: Names,
    world: World,
    compiler: Compiler,
    compiled: Arc<Compiled>,
    report: Arc<Report>,
    programmed: Option<Duration>,
    followed: Followed,
    /// Time spent compiling since the last pass.
    compiling: Duration,
    retry: Retry,
    /// ADDs that came before their pods.
    waiting: Waiting,
    /// Endpoints go by the slices of this revision, and the kernel may not have followed yet.
    drain: Option<u64>,
    /// What the World goes by. Until that is something it is not known what does *not* exist, so nothing
    /// is compiled and nothing is removed.
    basis: Basis,
}

/// What the loop is made of.
pub(crate) struct Parts {
    /// Requests and wake-ups.
    pub(crate) inbox: Receiver<Message>,
    /// Settings.
    pub(crate) config: Config,
    /// The ledger.
    pub(crate) journal: Journal,
    /// Where the rest of the World comes from.
    pub(crate) sources: Sources,
    /// The kernel's places.
    pub(crate) steps: Steps,
    /// What they hold.
    pub(crate) have: Plan,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
    /// Where others see what the loop did.
    pub(crate) shown: Arc<Shown>,
    /// What was asked for and is not in the kernel.
    pub(crate) due: Due,
    /// What DNS answers by.
    pub(crate) names: Names,
}

impl Loop {
    /// A loop that has not looked at anything yet.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { inbox, config, journal, sources, steps, have, metrics, shown, due, names } =
            parts;
        let retry = Retry::new(Instant::now(), config.node.as_str());
        let attachments = journal.leases().attachments.clone();
        let world = World { config, attachments, ..World::default() };
        Loop {
            inbox,
            journal,
            sources,
            steps,
            metrics,
            shown,
            due,
            names,
            world,
            compiler: Compiler::after(have.nft),
            compiled: Arc::default(),
            report: Arc::default(),
            programmed: None,
            followed: Followed::since(since_1970()),
            compiling: Duration::ZERO,
            retry,
            waiting: Waiting::default(),
            drain: None,
            basis: Basis::Nothing,
        }
    }

    /// Turns until it is told to stop or nobody is left to ask, and gives back the inbox, for a loop that
    /// goes on from here. The ledger is closed then; the kernel's state stays as it is.
    pub(crate) fn run(mut self) -> Receiver<Message> {
        let mut messages = Vec::new();
        loop {
            let stop = self.turn(std::mem::take(&mut messages));
            if stop {
                return self.inbox;
            }
            let sooner = self.sources.due().into_iter().chain(self.waiting.until());
            let due = sooner.fold(self.retry.deadline(), Instant::min);
            let wait = due.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(wait) {
                Ok(message) => messages.push(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.inbox,
            }
            messages.extend(self.inbox.try_iter());
        }
    }

    /// One turn. Returns whether the loop is to stop.
    fn turn(&mut self, messages: Vec<Message>) -> bool {
        self.look();
        let mut turn = Turn::default();
        let stop = self.take(messages, &mut turn);
        self.record(&mut turn);
        if self.basis != Basis::Nothing {
            self.pass();
            self.answer(turn);
            if self.report.is_large() {
                kernel::process::give_back_memory();
            }
        } else {
            // What is asked for is not known, so nothing is due.
            self.due.pass_ended(true, Instant::now());
            self.show();
            self.detach_unsynced(turn);
        }
        stop
    }

    /// Takes the newest level of every source into the World.
    fn look(&mut self) {
        let now = Instant::now();
        self.due.take();
        let news = self.sources.look(&mut self.world);
        self.basis = self.sources.basis();
        self.metrics.proxy.changed(news.services, news.slices);
        self.drain = news.drain.or(self.drain);
        if news.is_world_new {
            self.retry.start_over();
            self.compile();
        }
        if self.retry.is_read_due(now) {
            self.retry.was_read(now);
            self.steps.mark_all_stale();
        } else if self.retry.take_retry(now) {
            self.steps.mark_stale_after_failure();
        }
        self.steps.mark_disturbed(&news.disturbed);
    }

    /// Compiles the World as it is now, under a new generation.
    fn compile(&mut self) {
        if self.basis == Basis::Nothing {
            return;
        }
        self.world.generation = Generation(self.world.generation.0 + 1);
        let scope = Scope::Node(self.world.config.node.clone());
        let start = Instant::now();
        let compiled = self.compiler.compile(&self.world, &scope);
        self.compiling += start.elapsed();
        if compiled.rejected != self.compiled.rejected {
            for rejected in &compiled.rejected {
                tracing::warn!("left out: {rejected}");
            }
        }
        self.compiled = Arc::new(compiled);
    }

    /// Takes the leases into the World, with what pods and policies are by them; compiles when they
    /// changed.
    fn take_leases(&mut self) {
        if self.world.attachments != self.journal.leases().attachments {
            self.world.attachments.clone_from(&self.journal.leases().attachments);
            self.sources.look_at_policies(&mut self.world);
            self.compile();
        }
    }

    /// One pass over all steps, shown before anybody gets an answer that follows from it. Names are
    /// answered once there are some, so the first good pass is followed by one that listens.
    fn pass(&mut self) {
        let had_names = self.names.are_complete();
        self.pass_once();
        if !had_names && self.names.are_complete() {
            self.pass_once();
        }
    }

    fn pass_once(&mut self) {
        let mut plan = self.compiled.plan.clone();
        if !self.names.are_complete() {
            plan.listeners = Table::default();
        }
        self.names.expect(&self.compiled.named);
        let report = self.steps.pass(&plan, reach(self.basis), self.world.generation);
        let has_failures = report.failures().next().is_some();
        self.retry.pass_ended(Instant::now(), has_failures, self.steps.is_unsettled());
        self.metrics.pass(&report);
        self.take_stock(&report);
        self.log(&report);
        self.report = Arc::new(report);
        self.show();
        if !has_failures && let Some(revision) = self.drain.take() {
            self.shown.drained(revision);
        }
    }

    /// Notes what the kernel follows since the pass of `report`.
    fn take_stock(&mut self, report: &Report) {
        let compiling = std::mem::take(&mut self.compiling);
        let rules = report.steps.iter().find(|step| step.step == RULES);
        if let Some(step) = rules {
            self.metrics.proxy.round(step, compiling);
        }
        let is_touched = rules.is_some_and(|step| step.is_full || step.puts + step.deletes > 0);
        // A row that is refused keeps the others from nothing.
        let is_done = report.failures_of(RULES).all(|row| row.subject != Subject::Everything);
        self.due.pass_ended(is_done, Instant::now());
        if is_done {
            let now = since_1970();
            self.programmed = Some(now);
            let Compiled { named, zones, local_pods, .. } = &*self.compiled;
            self.names.settle(named, is_touched);
            // Serials are 32 bits and may come round (RFC 1982).
            #[expect(clippy::cast_possible_truncation, reason = "see above")]
            self.names.publish(zones, local_pods, now.as_secs() as u32);
            let took = self.followed.follow(&self.world, now);
            self.metrics.resolver.programmed(&took);
            self.metrics.proxy.programmed(now, took);
        }
    }

    /// One line per pass with changes; failures when they are new.
    fn log(&self, report: &Report) {
        let texts = |report: &Report| -> Vec<String> {
            report.failures().map(|failure| failure.text.clone()).collect()
        };
        let failures = texts(report);
        if !failures.is_empty() && failures != texts(&self.report) {
            tracing::warn!("{report}");
        } else if report.changes() > 0 {
            tracing::info!("{report}");
        } else {
            tracing::debug!("{report}");
        }
    }

    /// Whether ADD can be served.
    fn status(&self) -> Status {
        let node = &self.world.config.node;
        if self.basis == Basis::Nothing {
            return Status::NotReady(self.sources.trouble());
        }
        // Who asks in the very turn in which everything is listed is answered before its pass.
        if self.report.steps.is_empty() {
            return Status::NotReady("the first pass is not over".to_owned());
        }
        let Some(known) = self.world.nodes.get(node) else {
            return Status::NotReady(format!("Node {node} does not exist"));
        };
        let pools = self.compiled.pools.of(node);
        if known.pod_cidrs.is_empty() {
            return Status::NotReady(format!(
                "Node {node} has no pod CIDR yet: a controller manager gives it one, or after 30 s the agent that \
                 leads; its events say why not (kubectl describe node {node})"
            ));
        }
        if pools.is_empty() {
            let object = format!("Node {node}");
            let why = self.compiled.rejected.iter().find(|rejected| rejected.object == object);
            return Status::NotReady(why.map_or_else(
                || format!("Node {node} has no pod CIDR that can be used"),
                ToString::to_string,
            ));
        }
        if let Some(cause) = &self.compiled.peers.mtu_too_small {
            return Status::NotReady(format!("the uplink of Node {node} {cause}"));
        }
        if let Some(trouble) = self.report.trouble_of_all() {
            return Status::Impaired(trouble.to_owned());
        }
        Status::Ready { pod_cidrs: pools.iter().map(compile::ipam::Pool::cidr).collect() }
    }

    /// Lets others see where the loop is.
    fn show(&self) {
        let leases = self.journal.leases();
        self.metrics.leases(leases, &self.compiled.pools, &self.world.config.node);
        self.metrics.ledger_bytes(self.journal.bytes());
        self.shown.put(
            View {
                world: self.world.clone(),
                basis: self.basis,
                compiled: Arc::clone(&self.compiled),
                report: Arc::clone(&self.report),
                leases: leases.clone(),
                programmed: self.programmed,
                zones: self.names.zones(),
                names: Some(self.names.clone()),
            },
            self.status(),
        );
        self.metrics.recalled(match self.basis {
            Basis::Snapshot(written) => Some(written),
            Basis::Nothing | Basis::Lists => None,
        });
        self.metrics.ready(matches!(self.status(), Status::Ready { .. }));
    }
}

/// How far a plan reaches that follows from a World with this basis.
fn reach(basis: Basis) -> Reach {
    match basis {
        // An agent that was here after the snapshot was written may have known more.
        Basis::Nothing | Basis::Snapshot(_) => Reach::Changes,
        Basis::Lists => Reach::All,
    }
}

/// Seconds since 1970, by the wall clock: times in the ledger outlive the machine's uptime.
pub(crate) fn wall_clock() -> u64 {
    since_1970().as_secs()
}

/// Time since 1970, by the wall clock, as whoever looks at the cluster goes by.
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests;
