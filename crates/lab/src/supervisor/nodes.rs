//! The nodes of the lab as the supervisor keeps them: started, joined at run time, removed.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use apiserver::Server;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube_rs::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube_rs::{Api, Client};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::sync::Mutex;

use super::{SupervisorError, api_url, write_secret};
use crate::children::{Child, Children};
use crate::directory::{Directory, NodeDirectory};
use crate::node::{self, Settings};
use crate::plane::is_overtaken;
use crate::plane::node_lifecycle::doubt;
use crate::spec::{MAX_NODES, Spec};
use crate::topology::{self, Place};
use crate::underlay::Underlay;

/// How long the pods of a node that leaves may take to end.
const DRAIN: Duration = Duration::from_secs(35);

/// The nodes, and what it takes to make one.
pub(super) struct Nodes {
    pub(super) directory: Directory,
    pub(super) spec: Arc<Spec>,
    server: Arc<Server>,
    children: Children,
    client: Client,
    /// Held by whoever starts or removes a node, one at a time.
    pub(super) inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) underlay: Underlay,
    pub(super) running: BTreeMap<u32, Child>,
}

impl Nodes {
    pub(super) fn new(
        directory: Directory,
        spec: Arc<Spec>,
        underlay: Underlay,
        server: Arc<Server>,
        children: Children,
        client: Client,
    ) -> Self {
        let inner = Mutex::new(Inner { underlay, running: BTreeMap::new() });
        Nodes { directory, spec, server, children, client, inner }
    }

    /// Runs `work` with the underlay.
    pub(super) async fn with_underlay<T>(&self, work: impl FnOnce(&Underlay) -> T) -> T {
        work(&self.inner.lock().await.underlay)
    }

    /// Starts node `number` and says its name.
    ///
    /// # Errors
    /// When its files, its host or its process cannot be made.
    pub(super) async fn start(&self, number: u32) -> Result<String, SupervisorError> {
        let name = topology::node_name(number);
        let directory = self.directory.node(&name);
        self.prepare(&directory, number)?;
        self.unmark_paused(&name).map_err(SupervisorError::of(format!("start {name}")))?;
        let mut inner = self.inner.lock().await;
        let attempt = || format!("start {name}");
        let host = inner.underlay.add_node(&self.spec, number);
        let host = host.map_err(SupervisorError::of(attempt()))?;
        let log = File::options().create(true).append(true).open(directory.log());
        let log = log.map_err(SupervisorError::of(attempt()))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0(node::ROLE).arg(directory.path());
        let second = log.try_clone().map_err(SupervisorError::of(attempt()))?;
        command.stdin(Stdio::null()).stdout(log).stderr(second);
        let enter = || {
            setns(host.netns(), CloneFlags::CLONE_NEWNET)?;
            setns(&**host.uts(), CloneFlags::CLONE_NEWUTS)?;
            let own = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC;
            Ok(unshare(own)?)
        };
        let child = self.children.spawn_after(enter, &mut command);
        let child = child.map_err(SupervisorError::of(attempt()))?;
        inner.running.insert(number, child);
        Ok(name)
    }

    /// Starts a node at run time: the one named, which must not be running, or the next number.
    ///
    /// # Errors
    /// What is wrong, for the person who asked.
    pub(super) async fn join(&self, wanted: Option<&str>) -> Result<String, String> {
        let number = match wanted {
            Some(name) => number_of(name)?,
            None => {
                let inner = self.inner.lock().await;
                let last = inner.running.keys().next_back().copied().unwrap_or(0);
                last.max(self.spec.nodes) + 1
            }
        };
        if number > MAX_NODES {
            return Err(format!("a lab has at most {MAX_NODES} nodes"));
        }
        if self.is_running(number).await {
            return Err(format!("{} is running", topology::node_name(number)));
        }
        self.forget(number).await.map_err(|error| format!("look for its Node object: {error}"))?;
        self.start(number).await.map_err(|error| model::chain(&error))
    }

    /// What the Node object of a node that is about to start says is from before.
    pub(super) async fn forget(&self, number: u32) -> Result<(), kube_rs::Error> {
        let nodes = Api::<Node>::all(self.client.clone());
        match nodes.get_opt(&topology::node_name(number)).await? {
            Some(node) => doubt(&nodes, &node).await,
            None => Ok(()),
        }
    }

    /// Takes a node out: no new pods, its pods end, then its process, its host and its Node object.
    ///
    /// # Errors
    /// What is wrong, for the person who asked.
    pub(super) async fn leave(&self, name: &str) -> Result<(), String> {
        let number = number_of(name)?;
        let directory = self.directory.node(name);
        if !directory.path().exists() {
            return Err(format!("{name} is not a node of this lab"));
        }
        if directory.is_paused() {
            return Err(format!("{name} is paused; resume it, or kill it"));
        }
        if self.is_running(number).await {
            self.drain(name).await.map_err(|error| format!("drain {name}: {error}"))?;
        }
        let mut inner = self.inner.lock().await;
        if let Some(mut child) = inner.running.remove(&number) {
            child.signal(Signal::SIGKILL).map_err(|error| format!("end {name}: {error}"))?;
            child.wait().await;
        }
        let unplugged = inner.underlay.remove_node(&self.spec, number);
        unplugged.map_err(|error| model::chain(&error))?;
        drop(inner);
        let nodes = Api::<Node>::all(self.client.clone());
        match nodes.delete(name, &DeleteParams::default()).await {
            Err(error) if !is_overtaken(&error) => return Err(format!("delete {name}: {error}")),
            Ok(_) | Err(_) => {}
        }
        std::fs::remove_dir_all(directory.path())
            .map_err(|error| format!("remove {}: {error}", directory.path().display()))
    }

    /// Whether the process of this node lives.
    pub(super) async fn is_running(&self, number: u32) -> bool {
        match self.inner.lock().await.running.get_mut(&number) {
            Some(child) => !child.has_ended(),
            None => false,
        }
    }

    /// Keeps new pods away from node `name` and waits until those it has are gone, or long enough.
    async fn drain(&self, name: &str) -> Result<(), kube_rs::Error> {
        let nodes = Api::<Node>::all(self.client.clone());
        let cordon = Patch::Merge(json!({ "spec": { "unschedulable": true } }));
        match nodes.patch(name, &PatchParams::default(), &cordon).await {
            Err(error) if !is_overtaken(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let pods = Api::<Pod>::all(self.client.clone());
        let here = ListParams::default().fields(&format!("spec.nodeName={name}"));
        for pod in pods.list(&here).await?.items.into_iter().filter(|pod| !goes_with_node(pod)) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
            let pod = pod.metadata.name.unwrap_or_default();
            match api.delete(&pod, &DeleteParams::default()).await {
                Err(error) if !is_overtaken(&error) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        let empty = async {
            while !pods.list(&here).await?.items.iter().all(goes_with_node) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        match tokio::time::timeout(DRAIN, empty).await {
            Ok(emptied) => emptied,
            Err(_) => {
                tracing::warn!("{name} leaves with pods that did not end in {DRAIN:?}");
                Ok(())
            }
        }
    }

    /// Writes what the node's process will find in its directory.
    fn prepare(&self, directory: &NodeDirectory, number: u32) -> Result<(), SupervisorError> {
        let settings = Settings { spec: Spec::clone(&self.spec), number };
        let attempt = || format!("prepare {}", directory.path().display());
        std::fs::create_dir_all(directory.run()).map_err(SupervisorError::of(attempt()))?;
        let json = serde_json::to_vec_pretty(&settings).map_err(SupervisorError::of(attempt()))?;
        std::fs::write(directory.settings_file(), json).map_err(SupervisorError::of(attempt()))?;
        let url = api_url(&self.spec).unwrap_or_default();
        let kubeconfig = self.server.node_kubeconfig(&settings.name(), &url);
        write_secret(&directory.run().join("kubeconfig"), &kubeconfig)
    }
}

/// Whether a pod is one of those that every node has: it would be made anew while the node is there.
fn goes_with_node(pod: &Pod) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.kind == "DaemonSet")
}

pub(super) fn number_of(name: &str) -> Result<u32, String> {
    let number = topology::node_number(name).filter(|number| (1..=MAX_NODES).contains(number));
    number
        .ok_or_else(|| format!("{name:?} is not a node name: node-1 to {}", Place::Node(MAX_NODES)))
}
