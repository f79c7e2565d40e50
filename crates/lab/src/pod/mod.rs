//! The pods of one node: what kubelet and a container runtime do on a real one.
//!
//! A [`Runner`] watches the pods that are bound to its node and gives each a worker, a task that
//! compares what the pod's object wants with what runs, and does the next thing towards it: make its
//! volumes (`volume`), start a sandbox (`sandbox`), join the network (`cni`), start containers
//! (`container`, which becomes the role in `init`), run their hooks (`hooks`), ask their probes
//! (`probe`), restart them (`restart`), end them (`ending`, `stop`). What it did is told in the
//! object's status (`status`) and in events (`events`).
//!
//! A worker acts on levels: a lost, doubled or reordered event costs a pass and not correctness. One
//! that waits holds up no other. Everything it starts is a descendant of the node's first process,
//! and its mounts are in the node's mount namespace, so nothing can outlive the node.

mod account;
pub mod cni;
mod conditions;
mod console;
pub(crate) mod container;
mod drain;
mod ending;
mod env;
mod fields;
mod files;
mod hooks;
pub mod init;
mod inside;
pub(crate) mod launch;
mod leftovers;
mod log;
mod message;
mod prepare;
mod probe;
mod resolver;
mod restart;
mod root;
mod run;
pub mod sandbox;
mod services;
mod slot;
mod start;
pub(crate) mod status;
pub(crate) mod stdio;
mod stop;
mod volume;
mod watch;
mod worker;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube_rs::Client;
use tokio::sync::{mpsc, oneshot};

pub(crate) use console::{Console, Input, Output};
pub use launch::Program;
pub use resolver::Dns;

use crate::events::Events;
use crate::images::Images;
use crate::node::Context;
use launch::Launch;
use status::{Ended, State};

/// What a node's pods are like, beyond what its [`Context`] says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What images stand for.
    pub images: Images,
    /// How pods resolve names.
    pub dns: Dns,
    /// This binary.
    pub program: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            images: Images::default(),
            dns: Dns {
                servers: vec![std::net::Ipv4Addr::new(10, 96, 0, 10).into()],
                domain: "cluster.local".to_owned(),
            },
            program: PathBuf::from("/proc/self/exe"),
        }
    }
}

/// Everything the workers of one node share.
pub(crate) struct Node {
    pub context: Arc<Context>,
    pub settings: Settings,
    pub client: Client,
    pub cni: cni::Runtime,
    pub pause: sandbox::Pause,
    pub events: Events,
    pub objects: Arc<volume::objects::Objects>,
}

/// Runs the pods bound to one node, until it is dropped. See the module.
#[derive(Debug)]
pub struct Runner {
    questions: mpsc::Sender<Question>,
    node: Arc<Node>,
}

/// A container, for those who want to run something beside it or read what it wrote.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name.
    pub container: String,
    /// Its first process: number as the node sees it, and a descriptor of it; `None` if it does
    /// not run.
    pub process: Option<(i32, Arc<OwnedFd>)>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// The log of its newest run, in the format of the container runtime interface.
    pub log: PathBuf,
}

/// A container of a pod, with what its newest run is like.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Where it is.
    pub found: Found,
    /// What it does.
    pub state: State,
    /// How its run before that ended.
    pub last: Option<Ended>,
    /// How its newest run was started.
    pub launch: Option<Arc<Launch>>,
    /// What can be attached to.
    pub console: Option<Console>,
}

/// What there is of a pod on this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Present {
    /// Its containers, then its init containers.
    pub containers: Vec<Seen>,
    /// Its network, while it has a sandbox.
    pub network: Option<Network>,
}

/// Which network a pod is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Its node's.
    Node,
    /// Its own, which can be opened at this path.
    Own(PathBuf),
}

/// Why a container was not found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// No such pod on this node.
    #[error("pod {0} is not on this node")]
    NoPod(String),
    /// The pod has no such container.
    #[error("pod {pod} has no container {container:?}; it has {known}")]
    NoContainer {
        /// Namespace and name.
        pod: String,
        /// The name that was asked for.
        container: String,
        /// The names there are.
        known: String,
    },
    /// The runner has ended.
    #[error("the node is going down")]
    Ended,
}

pub(crate) struct Question {
    namespace: String,
    pod: String,
    answer: oneshot::Sender<Option<(Arc<Pod>, Present)>>,
}

impl Runner {
    /// Starts to run the pods bound to the node of `context`, as the API server behind `client`
    /// knows them.
    ///
    /// # Errors
    /// If there is no memory for the pause program.
    pub fn start(context: Arc<Context>, client: Client, settings: Settings) -> io::Result<Self> {
        let cni = cni::Runtime {
            children: context.children.clone(),
            conf_dir: context.cni_conf_dir.clone(),
            bin_dir: context.cni_bin_dir.clone(),
            cache_dir: context.run_dir.join("cni/results"),
        };
        let events = Events::start(client.clone(), "seaway-lab", Some(&context.name));
        let pause = sandbox::Pause::load()?;
        let objects = volume::objects::Objects::new(client.clone());
        let node = Arc::new(Node { context, settings, client, cni, pause, events, objects });
        let (questions, asked) = mpsc::channel(16);
        // Read before any pod starts: nothing that is in here runs.
        let left = node.cni.joined();
        tokio::spawn(leftovers::take_off(node.clone(), left));
        tokio::spawn(watch::run(node.clone(), asked));
        Ok(Self { questions, node })
    }

    /// A container of a pod on this node; the pod's first if it isn't named.
    ///
    /// # Errors
    /// See [`FindError`].
    pub async fn find(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
    ) -> Result<Found, FindError> {
        let (_, present) = self.see(namespace, pod).await?;
        let pod = || format!("{namespace}/{pod}");
        let mut containers = present.containers.iter().map(|seen| &seen.found);
        let found = match container {
            None => containers.next(),
            Some(wanted) => containers.find(|found| found.container == wanted),
        };
        found.cloned().ok_or_else(|| {
            let known: Vec<_> =
                present.containers.iter().map(|seen| seen.found.container.as_str()).collect();
            let container = container.unwrap_or_default().to_owned();
            FindError::NoContainer { pod: pod(), container, known: known.join(", ") }
        })
    }

    /// A pod on this node, and what there is of it.
    ///
    /// # Errors
    /// [`FindError::NoPod`] and [`FindError::Ended`].
    pub(crate) async fn see(
        &self,
        namespace: &str,
        pod: &str,
    ) -> Result<(Arc<Pod>, Present), FindError> {
        let (answer, seen) = oneshot::channel();
        let question = Question { namespace: namespace.to_owned(), pod: pod.to_owned(), answer };
        self.questions.send(question).await.map_err(|_| FindError::Ended)?;
        let seen = seen.await.map_err(|_| FindError::Ended)?;
        seen.ok_or_else(|| FindError::NoPod(format!("{namespace}/{pod}")))
    }

    /// Starts a further process of a container; see [`container::start`].
    ///
    /// # Errors
    /// See [`container::NotStarted`]; nothing runs then.
    pub(crate) async fn start_beside(
        &self,
        process: &Arc<OwnedFd>,
        launch: &Launch,
        has_stdin: bool,
    ) -> Result<(crate::children::Child, stdio::Streams), container::NotStarted> {
        let with = (&self.node.context.children, self.node.settings.program.as_path());
        container::start(container::Place::Beside(process), with, launch, has_stdin).await
    }

    /// Whether pods can join the network now, as the node's `Ready` condition tells it.
    ///
    /// # Errors
    /// What is missing.
    pub async fn network(&self) -> Result<(), cni::Error> {
        self.node.cni.status().await
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("context", &self.context).finish_non_exhaustive()
    }
}
