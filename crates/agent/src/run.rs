//! The agent as a process: what it is told, and when it ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kube::Access;
use model::Config;
use tokio::signal::unix::{Signal, SignalKind, signal};
use wire::cni::Paths;

use crate::duties::PodCidrs;
use crate::handover::{HandoverError, Heir, Predecessor};
use crate::tenure::{self, Ended};
use crate::{admin, capability, cni, install, places};

/// Everything `seaway agent` is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the network is like.
    pub config: Config,
    /// The API server.
    pub access: Access,
    /// How it is known which domain `config.dns` has, in a few words.
    pub domain_origin: String,
    /// Run and state directory.
    pub paths: Paths,
    /// Where runtimes look for network configurations.
    pub cni_conf_dir: PathBuf,
    /// Where runtimes look for plugins.
    pub cni_bin_dir: PathBuf,
    /// The document that says what DNS asks of other servers; by `/etc/resolv.conf` when there is none.
    pub dns_settings: Option<PathBuf>,
    /// Address of metrics, for this node alone; none when there should be no socket.
    pub metrics: Option<SocketAddr>,
    /// Address where others ask whether the node serves Services; none when there should be no socket.
    pub health: Option<SocketAddr>,
    /// Whether it is told in a Lease which endpoints get no new flow any more.
    pub acknowledge_drains: bool,
    /// Whether this agent may be the one that does what is done once for the whole cluster.
    pub duties: bool,
    /// Whether one of those is to make the Service of DNS where there is none.
    pub makes_dns_service: bool,
    /// From what Nodes are given pod CIDRs by it that nobody else gives any.
    pub pod_cidrs: PodCidrs,
}

#[cfg(test)]
impl Settings {
    /// Settings that lead nowhere.
    pub(crate) fn of_nobody() -> Self {
        Settings {
            config: Config::default(),
            access: Access::Kubeconfig("/nonexistent/kubeconfig".into()),
            domain_origin: "the default".to_owned(),
            paths: Paths::default(),
            cni_conf_dir: "/nonexistent".into(),
            cni_bin_dir: "/nonexistent".into(),
            dns_settings: None,
            metrics: None,
            health: None,
            acknowledge_drains: false,
            duties: false,
            makes_dns_service: false,
            pod_cidrs: PodCidrs::Never,
        }
    }
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
    /// The agent that runs already, or the way for the next one.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// DNS.
    #[error(transparent)]
    Dns(#[from] crate::dns::DnsError),
    /// The plugin's binary.
    #[error(transparent)]
    Install(#[from] install::InstallError),
    /// What agents wrote in the API is still there.
    #[error(transparent)]
    Uninstall(#[from] kube::UninstallError),
    /// The operating system.
    #[error("{attempt}")]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        #[source]
        cause: std::io::Error,
    },
    /// Everything was handed over, and the loop does not get through its first pass.
    #[error("the first pass after taking over takes too long; the agent that ran before goes on")]
    Slow,
    /// The loop's thread ended by itself.
    #[error("the loop stopped; its last words are in the log")]
    LoopDied,
}

/// Runs the agent until SIGTERM or SIGINT. The network stays as it is when the agent stops.
///
/// An agent that runs already is succeeded, and one that is succeeded stands by: it goes on should its
/// successor end first.
///
/// # Errors
/// [`RunError`].
pub fn run(settings: Settings) -> Result<(), RunError> {
    capability::check()?;
    kernel::process::share_one_heap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    runtime.block_on(async {
        let mut end = End::hear()?;
        loop {
            let Ended { heir, is_told } = tenure::hold(&settings, &mut end).await?;
            let Some(mut heir) = heir.filter(|_| !is_told) else { break };
            tracing::info!("another agent has taken over; this one stands by");
            tokio::select! {
                () = end.told() => break,
                outlived = outlive(&mut heir, &settings.paths.run_dir) => outlived?,
            }
            tracing::warn!("the agent that had taken over has ended; starting anew");
        }
        tracing::info!("stopping; the network stays as it is");
        Ok(())
    })
}

/// Waits until nobody is in charge of the node any more.
async fn outlive(heir: &mut Heir, run_dir: &Path) -> Result<(), RunError> {
    heir.gone().await;
    // It may have been succeeded itself.
    Ok(Predecessor::outlive(run_dir).await?)
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// The operating system's.
pub fn wait_for_the_end() -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(system("start the runtime"))?.block_on(async {
        End::hear()?.told().await;
        Ok(())
    })
}

/// The signals that tell an agent to end.
pub(crate) struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl End {
    fn hear() -> Result<Self, RunError> {
        let terminate = signal(SignalKind::terminate()).map_err(system("wait for SIGTERM"))?;
        let interrupt = signal(SignalKind::interrupt()).map_err(system("wait for SIGINT"))?;
        Ok(End { terminate, interrupt })
    }

    /// Waits until it is told to end.
    pub(crate) async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(crate) fn system(attempt: &'static str) -> impl FnOnce(std::io::Error) -> RunError {
    move |cause| RunError::System { attempt, cause }
}
