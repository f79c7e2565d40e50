//! One node of the lab: a process that is PID 1 of its own PID namespace and has its own network,
//! mounts, host name and `/run`. It runs the pods bound to it and keeps the agent alive.

mod agent;
mod context;
mod mounts;
mod readiness;
mod registration;
mod requests;
mod settings;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube::Access;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

pub use context::Context;
pub use requests::{ContainerOf, Reply, Request};
pub use settings::Settings;

use crate::children::Children;
use crate::control;
use crate::directory::NodeDirectory;
use crate::images::{Images, Store};
use crate::pod::{self, Runner};
use crate::services;
use crate::stream;

/// Name the process of a node is called by.
pub const ROLE: &str = "seaway-lab-node";

/// A node could not start.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct NodeError {
    attempt: String,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl NodeError {
    fn of<E>(attempt: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |cause| NodeError { attempt: attempt.into(), cause: cause.into() }
    }
}

/// The life of a node process: `seaway-lab-node DIRECTORY`, started by the supervisor in namespaces
/// of its own. Returns when it is told to end.
///
/// # Errors
/// [`NodeError`] when the node cannot be what it should.
pub fn run(directory: &Path) -> Result<(), NodeError> {
    let directory = NodeDirectory::at(directory);
    let settings = Settings::read(&directory.settings_file())
        .map_err(NodeError::of(format!("read {}", directory.settings_file().display())))?;
    let log = open_log(&directory.agent_log()).map_err(NodeError::of("open the agent's log"))?;
    mounts::prepare(&directory, &settings).map_err(NodeError::of("prepare the file system"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(NodeError::of("start the runtime"))?;
    runtime.block_on(live(settings, log))
}

/// Starts everything a node does and waits for the signal to end.
async fn live(settings: Settings, log: File) -> Result<(), NodeError> {
    let mut end = signal(SignalKind::terminate()).map_err(NodeError::of("listen for signals"))?;
    let children = Children::adopt().map_err(NodeError::of("listen for children"))?;
    let context = Arc::new(context(&settings, children));
    let listener = control::listen(&context.run_dir.join("control.sock"))
        .map_err(NodeError::of("open the control socket"))?;
    let streams = control::listen(&context.run_dir.join("pods.sock"))
        .map_err(NodeError::of("open the socket for logs and commands"))?;
    let access = Access::Kubeconfig(context.kubeconfig.clone());
    let client = kube::connect(&access).await.map_err(NodeError::of("reach the API server"))?;

    let mut images = Images::default();
    for entry in &settings.spec.images {
        images.map(entry).map_err(NodeError::of("read the image map"))?;
    }
    let images = images.with_store(Store::at(context.run_dir.join("images")));
    // As kubeadm has it: the addresses of one family do for both, and no client tries more than one.
    let servers = services::dns_addresses(&settings.spec).into_iter().take(1).collect();
    let dns = pod::Dns { servers, ..pod::Settings::default().dns };
    let pods = pod::Settings { images: images.clone(), dns, ..pod::Settings::default() };
    let pods = Runner::start(context.clone(), client.clone(), pods);
    let pods = Arc::new(pods.map_err(NodeError::of("start the pod runner"))?);
    let (shown, ready) = watch::channel(Err("the node has just started".to_owned()));
    let asked = pods.clone();
    let (another, wanted) = mpsc::channel(1);
    let answer = move |request| requests::answer(request, asked.clone(), another.clone());
    let agent = async {
        match settings.spec.has_agents {
            true => agent::keep(&context, &settings, log, wanted).await,
            false => agent::none(wanted).await,
        }
    };
    tracing::info!("node {} starts", context.name);
    tokio::select! {
        () = control::serve(listener, answer) => {}
        () = stream::serve(streams, pods.clone()) => {}
        () = agent => {}
        () = readiness::watch(&context, &pods, shown) => {}
        () = registration::keep(client, &context, &images, ready) => {}
        _ = end.recv() => {}
    }
    tracing::info!("node {} ends", context.name);
    Ok(())
}

/// Where a node's runtime looks for network configurations, inside of the node.
pub const CNI_CONF_DIR: &str = "/run/cni/net.d";

fn context(settings: &Settings, children: Children) -> Context {
    let run_dir = PathBuf::from("/run");
    Context {
        name: settings.name(),
        labels: settings.labels(),
        addrs: settings.addrs(),
        kubeconfig: run_dir.join("kubeconfig"),
        cni_conf_dir: PathBuf::from(CNI_CONF_DIR),
        cni_bin_dir: run_dir.join("cni/bin"),
        run_dir,
        children,
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}
