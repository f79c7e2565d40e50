//! One pod of the node: the loop that brings what runs to what its object wants.

use std::net::IpAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use kube_rs::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::cni::Join;
use super::env::Facts;
use super::restart::Policy;
use super::sandbox::Sandbox;
use super::slot::Slot;
use super::status::{self, Situation};
use super::{Node, Present};

/// How soon what the API server refused or did not hear is said again.
const SAY_AGAIN: Duration = Duration::from_secs(1);

/// What a pod's object says, last time it was heard of.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Its newest version.
    pub pod: Arc<Pod>,
    /// Whether it is no more.
    pub gone: bool,
}

/// The end of one run of a container.
pub(crate) struct Exit {
    /// The run.
    pub id: String,
    /// How it ended.
    pub status: ExitStatus,
}

/// When to look again, if nothing happens before.
pub(crate) enum Next {
    /// Then, or never.
    Look(Option<Instant>),
    /// There is nothing left to do for this pod.
    Done,
}

/// See the module.
pub(crate) struct Worker {
    pub(super) node: Arc<Node>,
    wants: watch::Receiver<Wanted>,
    told: watch::Sender<Present>,
    exits: mpsc::UnboundedReceiver<Exit>,
    pub(super) exited: mpsc::UnboundedSender<Exit>,
    pub(super) sandbox: Option<Sandbox>,
    /// Its place on the network; kept until it has been left.
    pub(super) join: Option<Join>,
    /// Whether the sandbox has to be replaced.
    pub(super) broken: bool,
    pub(super) ips: Vec<IpAddr>,
    /// How often in a row a sandbox failed, and when to try next.
    pub(super) failures: u32,
    pub(super) retry: Option<Instant>,
    pub(super) init: Vec<Slot>,
    pub(super) containers: Vec<Slot>,
    /// When what still runs is killed, once the pod is to end.
    pub(super) deadline: Option<Instant>,
    /// Whether the pod has come to its end by itself.
    over: bool,
    started: Timestamp,
}

impl Worker {
    /// A worker that acts on `wants` and tells about containers through `told`.
    pub(crate) fn new(
        node: Arc<Node>,
        wants: watch::Receiver<Wanted>,
        told: watch::Sender<Present>,
    ) -> Self {
        let (exited, exits) = mpsc::unbounded_channel();
        let pod = wants.borrow().pod.clone();
        let spec = pod.spec.clone().unwrap_or_default();
        let slots =
            |list: &[Container], reason| list.iter().map(|one| Slot::new(one, reason)).collect();
        let init = spec.init_containers.unwrap_or_default();
        let reason = if init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let started = status.and_then(|status| status.start_time.clone());
        Self {
            node,
            wants,
            told,
            exits,
            exited,
            sandbox: None,
            join: None,
            broken: false,
            ips: Vec::new(),
            failures: 0,
            retry: None,
            init: slots(&init, "PodInitializing"),
            containers: slots(&spec.containers, reason),
            deadline: None,
            over: matches!(phase, Some("Succeeded" | "Failed")),
            started: started.map_or_else(Timestamp::now, |time| time.0),
        }
    }

    /// Works until the pod is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let wanted = self.wants.borrow_and_update().clone();
            let at = match self.pass(&wanted).await {
                Next::Done => return,
                Next::Look(at) => at,
            };
            self.show();
            tokio::select! {
                heard = self.wants.changed() => if heard.is_err() { return },
                Some(exit) = self.exits.recv() => self.note(&exit),
                () = pause_ends(&mut self.sandbox), if !self.broken => self.broken = true,
                () = look_at(at) => {}
            }
            while let Ok(exit) = self.exits.try_recv() {
                self.note(&exit);
            }
        }
    }

    async fn pass(&mut self, wanted: &Wanted) -> Next {
        let pod = &wanted.pod;
        if wanted.gone || pod.metadata.deletion_timestamp.is_some() {
            return self.end(wanted).await;
        }
        if self.over {
            // It has ended by itself: give its address back; its status stays.
            return Next::Look(self.leave(pod).await.err());
        }
        let at = self.advance(pod).await;
        let phase = status::phase(policy(pod), &self.situation(pod));
        let said = self.say(pod).await;
        if matches!(phase, "Succeeded" | "Failed") && said {
            self.over = true;
            return Next::Look(Some(Instant::now()));
        }
        let again = (!said).then(|| Instant::now() + SAY_AGAIN);
        Next::Look([at, again].into_iter().flatten().min())
    }

    fn note(&mut self, exit: &Exit) {
        let slots = self.containers.iter_mut().chain(&mut self.init);
        if let Some(slot) = slots.into_iter().find(|slot| slot.id == exit.id) {
            slot.ended(exit.status);
        }
    }

    /// Shows what there is of the pod to those who ask for it on this node.
    fn show(&self) {
        let containers = self.containers.iter().chain(&self.init).map(Slot::seen).collect();
        self.told.send_replace(Present { containers });
    }

    /// Writes the pod's status if it differs; whether the API server has it now. Whoever reads it
    /// there finds the same here.
    pub(super) async fn say(&self, pod: &Pod) -> bool {
        self.show();
        let situation = self.situation(pod);
        let status = status::status(pod, &situation, Timestamp::now());
        if pod.status.as_ref() == Some(&status) {
            return true;
        }
        let api = self.api(pod);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        // With the uid, so that a new pod of that name doesn't get the old one's status.
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
        match api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => true,
            Err(kube_rs::Error::Api(refused)) if refused.code == 404 || refused.code == 409 => true,
            Err(error) => {
                tracing::debug!("write the status of pod {name}: {error}");
                false
            }
        }
    }

    pub(super) fn api(&self, pod: &Pod) -> Api<Pod> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        Api::namespaced(self.node.client.clone(), namespace)
    }

    /// What is known here and now.
    pub(super) fn facts(&self) -> Facts {
        Facts { host_ips: self.node.context.addrs.clone(), pod_ips: self.ips.clone() }
    }

    /// Whether all init containers have done their work, or, those that stay, have started.
    pub(super) fn is_initialized(&self, pod: &Pod) -> bool {
        let manifests = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref());
        let manifests = manifests.unwrap_or_default();
        self.init.iter().zip(manifests).all(|(slot, manifest)| {
            slot.succeeded() || (stays(manifest) && (slot.runs() || slot.last.is_some()))
        })
    }

    fn situation(&self, pod: &Pod) -> Situation {
        let spec = pod.spec.clone().unwrap_or_default();
        let views = |slots: &[Slot], manifests: &[Container], is_init| {
            let image = |index: usize| manifests.get(index).and_then(|one| one.image.as_deref());
            let view = |(index, slot): (usize, &Slot)| {
                slot.view(image(index).unwrap_or_default(), is_init)
            };
            slots.iter().enumerate().map(view).collect()
        };
        Situation {
            init: views(&self.init, &spec.init_containers.unwrap_or_default(), true),
            containers: views(&self.containers, &spec.containers, false),
            initialized: self.is_initialized(pod),
            sandbox: self.sandbox.is_some() && !self.broken,
            pod_ips: self.ips.clone(),
            host_ips: self.node.context.addrs.clone(),
            started: Some(self.started),
        }
    }
}

/// The pod's restart policy.
pub(super) fn policy(pod: &Pod) -> Policy {
    Policy::named(pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()))
}

/// Whether an init container goes on beside the others (a sidecar, KEP-753).
pub(super) fn stays(manifest: &Container) -> bool {
    manifest.restart_policy.as_deref() == Some("Always")
}

async fn pause_ends(sandbox: &mut Option<Sandbox>) {
    match sandbox {
        Some(sandbox) => drop(sandbox.pause.wait().await),
        None => std::future::pending().await,
    }
}

async fn look_at(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
