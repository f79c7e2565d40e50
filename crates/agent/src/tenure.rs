//! An agent's time in charge of its node: journal, places, loop, API server and sockets, put together and
//! taken apart again. It begins where nobody is, or with what an agent that runs hands over, and it ends
//! when the agent is told to end or has handed over itself.

mod predecessor;
mod tasks;
mod telling;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kube::{Access, Election};
use model::Config;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::admin::{self, Desk, Seats, Visitor};
use crate::dns::{Answering, Listeners};
use crate::drops::{Drops, Listening};
use crate::duties::Duties;
use crate::handle::{Handle, Message};
use crate::handover::{Door, Heir, Predecessor, Verdict};
use crate::health::Due;
use crate::journal::Journal;
use crate::monitor::Monitoring;
use crate::observe::Metrics;
use crate::reconcile::{Loop, Parts, wall_clock};
use crate::run::{End, RunError, Settings, system};
use crate::shown::Shown;
use crate::snapshot::{Recall, Writing};
use crate::sockets::{Open, Sockets};
use crate::sources::{Disturbed, Sources, Watched};
use crate::watchdog::Watchdog;
use crate::{cni, found, install, places, rebuild, vanished};

use predecessor::{adopt, inherit};
use tasks::{announce, answer_at, pass_on, watch_cluster};

/// Most messages that wait for the loop.
const INBOX: usize = 1024;

/// How long the first pass after a takeover may take. The agent before goes on when it takes longer.
const FIRST_PASS_WITHIN: Duration = Duration::from_secs(30);

/// How long an agent that is told to end waits for one that has announced itself. Less than what kubelets
/// give a pod to end.
const SUCCEEDED_WITHIN: Duration = Duration::from_secs(20);

/// How a tenure ended.
#[derive(Default)]
pub(crate) struct Ended {
    /// Who is in charge now, if somebody is.
    pub(crate) heir: Option<Heir>,
    /// Whether the agent is to end.
    pub(crate) is_told: bool,
}

impl Ended {
    /// The agent is to end, and nobody follows it.
    const TOLD: Ended = Ended { heir: None, is_told: true };
}

/// Takes charge of the node, and keeps it.
///
/// # Errors
/// [`RunError`].
pub(crate) async fn hold(settings: &Settings, end: &mut End) -> Result<Ended, RunError> {
    let mut predecessor = Predecessor::find(&settings.paths.run_dir).await?;
    let client = kube::connect(&settings.access).await?;
    let mut tasks = JoinSet::new();
    let (watched, moved) = watch_cluster(&mut tasks, settings, &client);
    let mut sockets = Sockets::default();
    if let Some(agent) = &mut predecessor {
        let inherited = tokio::select! {
            inherited = inherit(agent, watched.clone()) => inherited?,
            () = end.told() => return Ok(Ended::TOLD),
        };
        match inherited {
            Some(inherited) => sockets = inherited,
            None => predecessor = None,
        }
    }
    let (mut tenure, inbox) = Tenure::new(settings, watched, moved, sockets, tasks)?;
    tenure.begin(inbox)?;
    if predecessor.is_some() {
        tenure.first_pass().await?;
    }
    tenure.open()?;
    let mut door = Door::open(&settings.paths.run_dir)?;
    if let Some(agent) = &predecessor {
        agent.go().await?;
        tracing::info!("took over from the agent that ran here");
    }
    // It knows by the connection that somebody is in charge.
    tenure.tasks.extend(predecessor.map(|agent| adopt(agent, Arc::downgrade(&tenure.answering))));
    let ended = tenure.keep(end, &mut door).await;
    let heir = ended.as_ref().ok().and_then(|ended| ended.heir.as_ref());
    tenure.close(heir).await;
    ended
}

/// Everything of an agent that is in charge.
struct Tenure<'a> {
    settings: &'a Settings,
    desk: Desk,
    watched: Watched,
    disturbed: Disturbed,
    moved: watch::Sender<()>,
    sockets: Sockets,
    answering: Arc<Answering>,
    _watchdog: Watchdog,
    tasks: JoinSet<()>,
    _monitor: Monitoring,
    /// Hears of what policies drop, where the kernel tells.
    listening: Option<Listening>,
    turning: Option<JoinHandle<Receiver<Message>>>,
    /// Writes what the loop knows of the cluster.
    writing: Option<Writing>,
    plugins: Option<Plugins>,
    /// Until it begins.
    election: Option<Election>,
    duties: Option<Duties>,
}

/// The task that answers CNI plugins. It gives the socket back, open, when it is told to close.
struct Plugins {
    close: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<cni::Server>,
}

impl<'a> Tenure<'a> {
    /// Nothing turns and nothing is answered yet. With the inbox of the loop.
    fn new(
        settings: &'a Settings,
        watched: Watched,
        moved: watch::Sender<()>,
        sockets: Sockets,
        tasks: JoinSet<()>,
    ) -> Result<(Self, Receiver<Message>), RunError> {
        let (dns, document) = (&settings.config.dns, settings.dns_settings.as_deref());
        let answering = Arc::new(Answering::start(dns, document, &sockets)?);
        let watched_over = Arc::downgrade(&answering);
        let beats = move || watched_over.upgrade().map(|answering| answering.beats());
        let watchdog = Watchdog::start(move || beats().unwrap_or_default());
        let watchdog = watchdog.map_err(system("start the watchdog of DNS"))?;
        let shown = Arc::new(Shown::default());
        let metrics = Arc::new(Metrics::new(&shown));
        let read = Arc::downgrade(&answering);
        let done = move || read.upgrade().map(|answering| answering.done());
        metrics.resolver.serves(&settings.config.dns.domain, done);
        let disturbed = Disturbed::default();
        let (inbox, messages) = sync_channel(INBOX);
        let handle = Handle::new(inbox);
        let monitor = Monitoring::start(disturbed.clone(), handle.clone(), Arc::clone(&metrics))?;
        let (due, drops, started) = (Due::default(), Drops::default(), Instant::now());
        let listening = Listening::start(&shown, &drops);
        let listening =
            listening.map_err(system("start the thread that hears of dropped packets"))?;
        let (election, leadership) = Election::new(settings.access.clone(), &settings.config.node);
        let desk = Desk {
            handle,
            shown,
            metrics,
            watched: watched.clone(),
            due,
            drops,
            leadership,
            started,
            settings: Arc::new(settings.clone()),
        };
        let tenure = Tenure {
            settings,
            desk,
            watched,
            disturbed,
            moved,
            sockets,
            answering,
            _watchdog: watchdog,
            tasks,
            _monitor: monitor,
            listening,
            turning: None,
            writing: None,
            plugins: None,
            election: Some(election).filter(|_| settings.duties),
            duties: None,
        };
        Ok((tenure, messages))
    }

    /// Opens the ledger and the places, rebuilds a lost ledger, and has the loop turn.
    fn begin(&mut self, inbox: Receiver<Message>) -> Result<(), RunError> {
        let Settings { paths, config, .. } = self.settings;
        let (mut journal, found) = Journal::open_soon(&paths.state_dir, wall_clock())?;
        let listeners = Some(Listeners::new(Arc::clone(&self.answering)));
        let mut steps = places::steps(&paths.run_dir, &self.desk.metrics, listeners)?;
        let have = steps.read().map_err(RunError::Read)?;
        rebuild::rebuild(&mut journal, &found, &have, &self.desk.metrics)
            .map_err(RunError::Rebuild)?;
        vanished::release(&mut journal, &have, wall_clock());
        let sources = Sources::new(
            self.watched.clone(),
            Recall::new(paths.state_dir.clone()),
            self.disturbed.clone(),
            places::host_reader()?,
            self.moved.clone(),
        );
        let parts = Parts {
            inbox,
            config: Config { has_log: self.listening.is_some(), ..config.clone() },
            journal,
            sources,
            steps,
            have,
            metrics: Arc::clone(&self.desk.metrics),
            shown: Arc::clone(&self.desk.shown),
            due: self.desk.due.clone(),
            names: self.answering.names().clone(),
        };
        let turning = std::thread::Builder::new().name("loop".to_owned());
        let turning = turning.spawn(|| Loop::new(parts).run());
        self.turning = Some(turning.map_err(system("start the loop's thread"))?);
        let (shown, metrics) = (Arc::clone(&self.desk.shown), Arc::clone(&self.desk.metrics));
        let writing = Writing::start(&paths.state_dir, &config.node, shown, metrics);
        self.writing = Some(writing.map_err(system("start the thread that writes snapshots"))?);
        Ok(())
    }

    /// Waits until the loop has been once through everything.
    async fn first_pass(&self) -> Result<(), RunError> {
        let mut views = self.desk.shown.views();
        let passed = views.wait_for(|view| !view.report.steps.is_empty());
        match tokio::time::timeout(FIRST_PASS_WITHIN, passed).await {
            Ok(_) => Ok(()),
            Err(_) => Err(RunError::Slow),
        }
    }

    /// Answers at every socket, and tells others what there is to tell.
    fn open(&mut self) -> Result<(), RunError> {
        let Settings { paths, cni_conf_dir, cni_bin_dir, .. } = self.settings;
        self.answer_plugins(cni::Server::open(paths.clone(), &self.sockets)?);
        let path = paths.run_dir.join("agent.sock");
        let socket = admin::Server::socket(&path, &self.sockets)?;
        self.tasks.spawn(socket.serve(self.desk.clone(), Visitor::Root, Seats::default()));
        let open =
            [(self.settings.metrics, Visitor::Anybody), (self.settings.health, Visitor::Probe)];
        for (addr, visitor) in open {
            let answer = |addr| answer_at(addr, self.desk.clone(), visitor, self.sockets.clone());
            self.tasks.extend(addr.map(answer));
        }
        let teller = self.tell_others();
        self.contend(teller);
        install::plugin(&install::own_binary(), cni_bin_dir)?;
        install::loopback(cni_bin_dir)?;
        if let Access::InCluster(servers) = &self.settings.access {
            let (servers, slices) = (servers.clone(), self.watched.slices.clone());
            self.tasks.spawn(found::follow(servers, slices, paths.state_dir.clone()));
        }
        self.tasks.spawn(pass_on(self.watched.clone(), self.desk.clone()));
        let shown = Arc::clone(&self.desk.shown);
        self.tasks.spawn(announce(paths.clone(), cni_conf_dir.clone(), shown));
        Ok(())
    }

    fn answer_plugins(&mut self, server: cni::Server) {
        let (close, closing) = oneshot::channel::<()>();
        let (handle, metrics) = (self.desk.handle.clone(), Arc::clone(&self.desk.metrics));
        let serve = server.serve(handle, metrics, async { drop(closing.await) });
        self.plugins = Some(Plugins { close, task: tokio::spawn(serve) });
    }

    /// Waits until it is told to end or has handed over.
    async fn keep(&mut self, end: &mut End, door: &mut Door) -> Result<Ended, RunError> {
        let mut alive = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                heir = door.heir() => {
                    if let Some(heir) = self.hand_over(heir, door).await? {
                        return Ok(Ended { heir: Some(heir), is_told: false });
                    }
                }
                () = end.told() => {
                    if door.is_expecting() {
                        tracing::info!("told to end; waiting for the agent that takes over");
                        let heir = tokio::time::timeout(SUCCEEDED_WITHIN, door.heir()).await;
                        if let Ok(heir) = heir {
                            let heir = self.hand_over(heir, door).await?;
                            return Ok(Ended { heir, is_told: true });
                        }
                    }
                    return Ok(Ended::TOLD);
                }
                _ = alive.tick() => {
                    if self.turning.as_ref().is_none_or(JoinHandle::is_finished) {
                        return Err(RunError::LoopDied);
                    }
                }
            }
        }
    }

    /// Gives everything to `heir`, which is returned once it answers. It goes on as before when that
    /// ends first.
    async fn hand_over(
        &mut self,
        mut heir: Heir,
        door: &mut Door,
    ) -> Result<Option<Heir>, RunError> {
        let server = self.close_plugins().await;
        let inbox = self.stop_loop(false).await?;
        let mut open = self.answering.open();
        open.extend(self.sockets.all());
        let given = heir.give(&open).await;
        drop(open);
        if given.is_ok() && heir.verdict().await == Verdict::Go {
            return Ok(Some(heir));
        }
        drop(heir);
        tracing::warn!("the agent that was to take over has ended; this one goes on");
        // It may have opened a door of its own in the place of this one's.
        *door = Door::open(&self.settings.paths.run_dir)?;
        self.sockets.reclaim();
        self.begin(inbox)?;
        server.into_iter().for_each(|server| self.answer_plugins(server));
        Ok(None)
    }

    /// Answers every plugin that was heard; who connects from now on waits in the socket that is returned.
    async fn close_plugins(&mut self) -> Option<cni::Server> {
        let Plugins { close, task } = self.plugins.take()?;
        drop(close);
        task.await.ok()
    }

    /// Ends the loop after its pass, and gives its inbox back. Nothing is written for the next agent to
    /// start from unless this one `is_last`.
    async fn stop_loop(&mut self, is_last: bool) -> Result<Receiver<Message>, RunError> {
        let turning = self.turning.take().ok_or(RunError::LoopDied)?;
        let (handle, writing) = (self.desk.handle.clone(), self.writing.take());
        let stop = move || {
            handle.stop();
            let stopped = turning.join();
            writing.into_iter().for_each(|writing| writing.end(is_last));
            stopped
        };
        let stopped = tokio::task::spawn_blocking(stop).await;
        stopped.ok().and_then(Result::ok).ok_or(RunError::LoopDied)
    }

    /// Ends everything that still goes on. `heir` gets what only it can bring to its end.
    async fn close(mut self, heir: Option<&Heir>) {
        drop(self.close_plugins().await);
        if self.turning.is_some() {
            // One that died by itself has been told of.
            drop(self.stop_loop(true).await);
        }
        let Tenure { answering, _watchdog: watchdog, mut tasks, duties, .. } = self;
        drop(watchdog);
        match (Arc::into_inner(answering), heir) {
            (Some(answering), Some(heir)) => {
                let open = answering.retire().await.into_iter();
                let open = open.map(|fd| (String::new(), Arc::new(fd) as Arc<dyn Open>));
                if let Err(error) = heir.give(&open.collect::<Vec<_>>()).await {
                    tracing::warn!("give connections to the agent that has taken over: {error}");
                }
            }
            (Some(answering), None) => answering.end().await,
            (None, _) => tracing::warn!("something still answers by DNS"),
        }
        if let Some(duties) = duties {
            duties.end().await;
        }
        tasks.shutdown().await;
    }
}
