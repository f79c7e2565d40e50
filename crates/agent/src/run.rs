//! The agent, put together: journal, places, loop, API server, sockets; and taken apart again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use kube::{Access, kind};
use model::{Config, chain};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use wire::cni::Paths;

use crate::admin::{self, Desk, Seats, Visitor};
use crate::handle::{Handle, Message, Status};
use crate::health::{self, Due};
use crate::journal::Journal;
use crate::monitor::Monitoring;
use crate::observe::{Metrics, Teller, tell_faults};
use crate::reconcile::{Loop, Parts, since_1970, wall_clock};
use crate::shown::Shown;
use crate::sources::{Disturbed, Sources, Watched, Watching};
use crate::{capability, cni, condition, drain, install, places, pressure, rebuild};

/// Most messages that wait for the loop.
const INBOX: usize = 1024;

/// Everything `seaway agent` is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the network is like.
    pub config: Config,
    /// The API server.
    pub access: Access,
    /// Run and state directory.
    pub paths: Paths,
    /// Where runtimes look for network configurations.
    pub cni_conf_dir: PathBuf,
    /// Where runtimes look for plugins.
    pub cni_bin_dir: PathBuf,
    /// Address of metrics, for this node alone; none when there should be no socket.
    pub metrics: Option<SocketAddr>,
    /// Address where others ask whether the node serves Services; none when there should be no socket.
    pub health: Option<SocketAddr>,
    /// Whether it is told in a Lease which endpoints get no new flow any more.
    pub acknowledge_drains: bool,
}

/// Why the agent did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It may not do what it must.
    #[error(transparent)]
    Capability(#[from] capability::MissingCapability),
    /// The ledger is not to be had.
    #[error(transparent)]
    Journal(#[from] crate::journal::OpenError),
    /// The ledger could not be rebuilt.
    #[error("rebuild the ledger")]
    Rebuild(#[source] crate::journal::CommitError),
    /// The kernel is not to be had.
    #[error(transparent)]
    Place(#[from] places::PlaceError),
    /// A place could not be read, so a lost ledger cannot be rebuilt.
    #[error("read what the kernel shows: {0}")]
    Read(String),
    /// There is no client for the API server.
    #[error(transparent)]
    Connect(#[from] kube::ConnectError),
    /// The CNI socket.
    #[error(transparent)]
    Cni(#[from] cni::ServeError),
    /// The admin sockets.
    #[error(transparent)]
    Admin(#[from] admin::AdminError),
    /// The plugin's binary.
    #[error(transparent)]
    Install(#[from] install::InstallError),
    /// The operating system.
    #[error("{attempt}")]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        #[source]
        cause: std::io::Error,
    },
    /// The loop's thread ended by itself.
    #[error("the loop stopped; its last words are in the log")]
    LoopDied,
}

/// Runs the agent until SIGTERM or SIGINT. The network stays as it is when the agent stops.
///
/// # Errors
/// [`RunError`].
pub fn run(settings: Settings) -> Result<(), RunError> {
    capability::check()?;
    let shown = Arc::new(Shown::default());
    let metrics = Arc::new(Metrics::new(&shown));
    let disturbed = Disturbed::default();
    let (inbox, messages) = sync_channel(INBOX);
    let handle = Handle::new(inbox);
    let (watching, watched) = Watched::new();
    let (moved, moves) = watch::channel(());
    let read_host = places::host_reader()?;
    let sources = Sources::new(watched.clone(), disturbed.clone(), read_host, moved);
    let monitor = Monitoring::start(disturbed, handle.clone(), Arc::clone(&metrics))?;
    let due = Due::default();
    let desk = Desk { handle: handle.clone(), shown, metrics, due, started: Instant::now() };
    let parts = parts(&settings, messages, sources, &desk)?;
    let turning = std::thread::Builder::new()
        .name("loop".to_owned())
        .spawn(|| Loop::new(parts).run())
        .map_err(system("start the loop's thread"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    let result = runtime.block_on(serve(&settings, desk, (watching, watched, moves), &turning));
    handle.stop();
    drop(turning.join());
    drop(monitor);
    result
}

/// Opens the ledger and the places, and rebuilds a lost ledger.
fn parts(
    settings: &Settings,
    inbox: Receiver<Message>,
    sources: Sources,
    desk: &Desk,
) -> Result<Parts, RunError> {
    let (mut journal, found) = Journal::open(&settings.paths.state_dir, wall_clock())?;
    let mut steps = places::steps(&settings.paths.run_dir, &desk.metrics)?;
    let have = steps.read().map_err(RunError::Read)?;
    rebuild::rebuild(&mut journal, &found, &have, &desk.metrics).map_err(RunError::Rebuild)?;
    Ok(Parts {
        inbox,
        config: settings.config.clone(),
        journal,
        sources,
        steps,
        metrics: Arc::clone(&desk.metrics),
        shown: Arc::clone(&desk.shown),
        due: desk.due.clone(),
    })
}

/// Everything that waits on sockets, until a signal.
async fn serve(
    settings: &Settings,
    desk: Desk,
    (watching, watched, moves): (Watching, Watched, watch::Receiver<()>),
    turning: &JoinHandle<()>,
) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(system("wait for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("wait for SIGINT"))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(
        cni::Server::bind(settings.paths.clone())?
            .serve(desk.handle.clone(), Arc::clone(&desk.metrics)),
    );
    let socket = admin::Server::socket(&settings.paths.run_dir.join("agent.sock"))?;
    tasks.spawn(socket.serve(desk.clone(), Visitor::Root, Seats::default()));
    let open = [(settings.metrics, Visitor::Anybody), (settings.health, Visitor::Probe)];
    for (addr, visitor) in open {
        tasks.extend(addr.map(|addr| answer_at(addr, desk.clone(), visitor)));
    }
    tell_others(&mut tasks, settings, &desk);
    install::plugin(&own_binary(), &settings.cni_bin_dir)?;
    install::loopback(&settings.cni_bin_dir)?;
    let client = kube::connect(&settings.access).await?;
    let Watching { nodes, services, slices, service_cidrs } = watching;
    let (api, from) = (|| client.clone(), || settings.access.clone());
    tasks.spawn(kube::watch(kind::nodes(), api(), from(), nodes, moves.clone()));
    tasks.spawn(kube::watch(kind::services(), api(), from(), services, moves.clone()));
    tasks.spawn(kube::watch(kind::endpoint_slices(), api(), from(), slices, moves.clone()));
    tasks.spawn(kube::watch(kind::service_cidrs(), api(), from(), service_cidrs, moves));
    tasks.spawn(pass_on(watched, desk.clone()));
    tasks.spawn(announce(settings.paths.clone(), settings.cni_conf_dir.clone(), desk.shown));
    let mut alive = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = alive.tick() => if turning.is_finished() { return Err(RunError::LoopDied) },
        }
    }
    tracing::info!("stopping; the network stays as it is");
    Ok(())
}

/// Everything that load balancers and the API server are told.
fn tell_others(tasks: &mut JoinSet<()>, settings: &Settings, desk: &Desk) {
    let (access, node) = (|| settings.access.clone(), || settings.config.node.clone());
    let (events, waiting) = kube::Events::new();
    let teller = Teller { events, metrics: Arc::clone(&desk.metrics) };
    tasks.spawn(kube::write_events(waiting, access(), node()));
    tasks.spawn(tell_faults(Arc::clone(&desk.shown), teller.clone()));
    tasks.spawn(health::keep_open(desk.clone(), teller.clone()));
    if settings.acknowledge_drains {
        tasks.spawn(drain::tell(access(), node(), desk.shown.drains()));
    }
    tasks.spawn(condition::tell(access(), node(), desk.shown.status(), condition::network));
    let (pressure, seen) = watch::channel(None);
    tasks.spawn(pressure::look(pressure, node(), teller));
    tasks.spawn(condition::tell(access(), node(), seen, pressure::condition));
}

/// Answers `visitor` at `addr`, as soon as nobody else does: a kube-proxy that still runs is no reason
/// for pods to be without a network.
async fn answer_at(addr: SocketAddr, desk: Desk, visitor: Visitor) {
    let mut said = None;
    loop {
        match admin::Server::address(addr).await {
            Ok(server) => return server.serve(desk, visitor, Seats::default()).await,
            Err(error) => {
                let why = chain(&error);
                if said.as_ref() != Some(&why) {
                    tracing::error!("{why}; does kube-proxy still run here? Trying again");
                    said = Some(why);
                }
            }
        }
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    }
}

/// This binary, by its name if it still has one: only then can it be linked to.
fn own_binary() -> PathBuf {
    let named = std::env::current_exe().ok().filter(|path| path.exists());
    named.unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// Wakes the loop whenever a watch has a new level.
async fn pass_on(mut watched: Watched, desk: Desk) {
    loop {
        let changed = tokio::select! {
            changed = watched.nodes.changed() => changed,
            changed = watched.services.changed() => changed,
            changed = watched.slices.changed() => changed,
            changed = watched.service_cidrs.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        desk.metrics.watched("nodes", &watched.nodes.borrow());
        desk.metrics.watched("services", &watched.services.borrow());
        desk.metrics.watched("endpointslices", &watched.slices.borrow());
        desk.metrics.watched("servicecidrs", &watched.service_cidrs.borrow());
        desk.due.queue(Instant::now());
        desk.metrics.proxy.queued(since_1970());
        desk.handle.wake();
    }
}

/// Writes the network configuration once ADDs can be served.
async fn announce(paths: Paths, dir: PathBuf, shown: Arc<Shown>) {
    let mut status = shown.status();
    let ready = status.wait_for(|status| matches!(status, Status::Ready { .. }));
    if ready.await.is_err() {
        return;
    }
    while let Err(error) = install::conflist(&paths, &dir) {
        tracing::error!("{}; trying again", chain(&error));
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    }
}

/// Takes everything off the node that agents put there: the kernel's state, the configuration, the
/// plugin and the sockets; with `ledger` also the leases. No agent may be running.
///
/// # Errors
/// [`RunError`]; running it again goes on. What could not be removed is in the returned lines.
pub fn cleanup(
    paths: &Paths,
    conf_dir: &Path,
    bin_dir: &Path,
    ledger: bool,
) -> Result<Vec<String>, RunError> {
    capability::check()?;
    let (journal, _) = Journal::open(&paths.state_dir, wall_clock())?;
    install::remove(&conf_dir.join(install::CONFLIST))?;
    let mut steps = places::steps(&paths.run_dir, &Arc::default())?;
    // The rules say whose flows are ours. What cannot be read, the pass finds out again and reports.
    drop(steps.read());
    let report = steps.pass(&plan::Plan::default(), Default::default());
    tracing::info!("{report}");
    install::remove_loopback(bin_dir)?;
    install::remove(&bin_dir.join(install::PLUGIN))?;
    for name in ["cni.sock", "agent.sock", places::SYSCTLS] {
        install::remove(&paths.run_dir.join(name))?;
    }
    drop(journal);
    if ledger {
        for name in ["ledger", "ledger.lock"] {
            install::remove(&paths.state_dir.join(name))?;
        }
    }
    // Only empty ones go: what else is in them is not ours.
    for dir in [&paths.run_dir, &paths.state_dir] {
        drop(std::fs::remove_dir(dir));
    }
    Ok(report.failures().map(|failure| failure.text.clone()).collect())
}

fn system(attempt: &'static str) -> impl FnOnce(std::io::Error) -> RunError {
    move |cause| RunError::System { attempt, cause }
}
