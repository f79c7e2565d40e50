//! The supervisor: the one process a lab hangs on. It is PID 1 of the lab's PID namespace, holds the
//! underlay open, serves the API, runs the control plane and starts the nodes. When it ends, however
//! it ends, the kernel ends every process of the lab, and with them every namespace and mount.

mod faults;
mod freezer;
mod names;
mod nodes;
pub mod report;
mod requests;
mod start;

use std::fs::{File, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use apiserver::{Admission, Options, Server};
use kube::Access;
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

pub use requests::{Fault, Joined, Outside, Request};
pub use start::{StartError, start};

use crate::children::Children;
use crate::control;
use crate::directory::Directory;
use crate::plane;
use crate::services;
use crate::spec::Spec;
use crate::topology::{self, Place};
use crate::underlay::Underlay;
use nodes::Nodes;
use report::{Report, Reporter};

/// Name the supervisor's process is called by.
pub const ROLE: &str = "seaway-lab-supervisor";

/// Port of the API server on the control network: kube-apiserver's usual one.
const API_PORT: u16 = 6443;

/// A lab could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct SupervisorError {
    attempt: String,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl SupervisorError {
    fn of<E>(attempt: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |cause| SupervisorError { attempt: attempt.into(), cause: cause.into() }
    }
}

/// What the supervisor takes over from the process that started it.
struct Inheritance {
    /// The lock of the lab's directory, held until the very end.
    _lock: OwnedFd,
    reporter: Reporter,
}

/// The life of the supervisor: `seaway-lab-supervisor DIRECTORY`. Returns when it is told to end.
///
/// # Errors
/// [`SupervisorError`] when the lab cannot be made; `lab up` has been told then.
pub fn run(directory: &Path) -> Result<(), SupervisorError> {
    let directory = Directory::at(directory);
    let mut inheritance = detach().map_err(SupervisorError::of("become a daemon"))?;
    let lived =
        runtime().and_then(|runtime| runtime.block_on(live(&directory, &mut inheritance.reporter)));
    if let Err(error) = &lived {
        inheritance.reporter.tell(&Report::Failed(model::chain(error)));
    }
    lived
}

fn runtime() -> Result<tokio::runtime::Runtime, SupervisorError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(2).enable_all().build();
    built.map_err(SupervisorError::of("start the runtime"))
}

/// Leaves the terminal and session of the caller, takes over the descriptors that came as standard
/// input (lock) and output (reports), and gives this PID namespace a `/proc` of its own.
fn detach() -> io::Result<Inheritance> {
    nix::unistd::setsid()?;
    raise_descriptor_limit()?;
    std::env::set_current_dir("/")?;
    let lock = io::stdin().as_fd().try_clone_to_owned()?;
    let reporter = Reporter(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&nothing)?;
    nix::unistd::dup2_stdout(&nothing)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    let sealed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), sealed, None::<&str>)?;
    Ok(Inheritance { _lock: lock, reporter })
}

/// Every connection to the API server takes a descriptor, and a thousand watches are a thousand. What is
/// allowed is taken, up to what container runtimes give, since pods inherit it.
fn raise_descriptor_limit() -> nix::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = most.min(1 << 20);
    setrlimit(Resource::RLIMIT_NOFILE, limit, most)
}

async fn live(directory: &Directory, reporter: &mut Reporter) -> Result<(), SupervisorError> {
    let mut end = signal(SignalKind::terminate()).map_err(SupervisorError::of("hear signals"))?;
    let children = Children::adopt().map_err(SupervisorError::of("hear of children"))?;
    // First of all: from here on `lab down` finds whom to end.
    let listener = control::listen(&directory.control_socket())
        .map_err(SupervisorError::of("open the control socket"))?;
    let spec = read_spec(directory)?;
    let underlay = Underlay::make(&spec).map_err(SupervisorError::of("make the underlay"))?;
    let server = serve_api(directory, &spec, &underlay)?;
    names::serve(&spec, &underlay)?;
    reporter.tell(&Report::ApiReady);

    let access = Access::Kubeconfig(directory.kubeconfig());
    let client = kube::connect(&access).await.map_err(SupervisorError::of("reach the API"))?;
    tokio::spawn(plane::run(client.clone(), spec.clone()));
    let nodes = Nodes::new(directory.clone(), spec.clone(), underlay, server, children, client);
    for number in 1..=spec.nodes {
        // Of a cluster that was kept, the nodes are those of before.
        nodes.forget(number).await.map_err(SupervisorError::of("look for the cluster's nodes"))?;
        let name = nodes.start(number).await?;
        reporter.tell(&Report::NodeStarted(name));
    }
    reporter.tell(&Report::Started);
    // Whoever reads to the end of the pipe is done now.
    reporter.0 = File::open("/dev/null").map_err(SupervisorError::of("open /dev/null"))?;
    tokio::select! {
        () = serve_control(listener, nodes) => {}
        _ = end.recv() => {}
    }
    Ok(())
}

fn read_spec(directory: &Directory) -> Result<Arc<Spec>, SupervisorError> {
    let path = directory.spec_file();
    let attempt = || format!("read {}", path.display());
    let bytes = std::fs::read(&path).map_err(SupervisorError::of(attempt()))?;
    serde_json::from_slice(&bytes).map(Arc::new).map_err(SupervisorError::of(attempt()))
}

/// Starts the API server, for people on this machine's loopback and for nodes on the control network.
fn serve_api(
    directory: &Directory,
    spec: &Spec,
    underlay: &Underlay,
) -> Result<Arc<Server>, SupervisorError> {
    const LISTEN: &str = "listen for the API server";
    let local = TcpListener::bind(("127.0.0.1", 0)).map_err(SupervisorError::of(LISTEN))?;
    let url = local.local_addr().map_err(SupervisorError::of(LISTEN))?;
    let url = format!("https://{url}");
    let mut listeners = vec![local];
    let control = underlay.host(Place::Control).map_err(SupervisorError::of(LISTEN))?;
    let addrs = topology::api_addrs(spec);
    for addr in &addrs {
        let bound = control.run(|| TcpListener::bind(SocketAddr::new(*addr, API_PORT)));
        let bound = bound.map_err(SupervisorError::of(LISTEN))?;
        listeners.push(bound.map_err(SupervisorError::of(LISTEN))?);
    }
    let sans = addrs.iter().copied().chain(services::api_address(spec));
    let sans = sans.map(|address| address.to_string()).collect();
    let nodes = directory.clone();
    let nodes = apiserver::Nodes::at(move |node| nodes.node(node).pods_socket());
    let ranges = services::Ranges { cidrs: spec.service_cidrs.clone() };
    let admission: Vec<Box<dyn Admission>> = vec![Box::new(services::Allocator::new(&ranges))];
    let server = Server::new(Options {
        listeners,
        sans,
        nodes,
        admission,
        state_dir: spec.state_dir.clone(),
        ..Options::default()
    });
    let server = Arc::new(server.map_err(SupervisorError::of("start the API server"))?);
    write_secret(&directory.kubeconfig(), &server.kubeconfig(&url))?;
    let serving = server.clone();
    tokio::spawn(async move {
        if let Err(error) = serving.run(std::future::pending()).await {
            tracing::error!("the API server ended: {}", model::chain(&error));
        }
    });
    Ok(server)
}

/// Address of the API server as nodes reach it.
fn api_url(spec: &Spec) -> Option<String> {
    let addr = topology::api_addrs(spec).into_iter().next()?;
    Some(format!("https://{}", SocketAddr::new(addr, API_PORT)))
}

async fn serve_control(listener: UnixListener, nodes: Nodes) {
    let nodes = Arc::new(nodes);
    control::serve(listener, move |request| requests::answer(request, nodes.clone())).await;
}

/// Writes a file that only its owner may read.
fn write_secret(path: &Path, text: &str) -> Result<(), SupervisorError> {
    let attempt = || format!("write {}", path.display());
    let file = File::create(path).map_err(SupervisorError::of(attempt()))?;
    file.set_permissions(Permissions::from_mode(0o600))
        .and_then(|()| io::Write::write_all(&mut &file, text.as_bytes()))
        .map_err(SupervisorError::of(attempt()))
}
