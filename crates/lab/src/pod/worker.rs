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
use super::probe::{Answer, Kind};
use super::restart::Policy;
use super::sandbox::Sandbox;
use super::slot::{Part, Slot};
use super::status::{self, Situation};
use super::volume::Volumes;
use super::{Network, Node, Present};

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

/// What a worker hears of what it has started.
pub(crate) enum News {
    /// That run of a container has ended.
    Ended(String, ExitStatus),
    /// A probe of that run has a new answer.
    Probed(String, Answer),
    /// The postStart hook of that run has done its work, or failed.
    Hooked(String, Result<(), String>),
    /// Something that a volume shows may have changed.
    Changed,
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
    heard: mpsc::UnboundedReceiver<News>,
    pub(super) news: mpsc::UnboundedSender<News>,
    pub(super) sandbox: Option<Sandbox>,
    /// Its place on the network; kept until it has been left.
    pub(super) join: Option<Join>,
    /// Whether the sandbox has to be replaced.
    pub(super) broken: bool,
    pub(super) ips: Vec<IpAddr>,
    /// How often in a row a sandbox failed, and when to try next.
    pub(super) failures: u32,
    pub(super) retry: Option<Instant>,
    pub(super) volumes: Volumes,
    pub(super) init: Vec<Slot>,
    pub(super) containers: Vec<Slot>,
    pub(super) ephemeral: Vec<Slot>,
    /// Whether all init containers had done their work, in this sandbox.
    pub(super) initialized: bool,
    /// Why the pod has failed as a whole: reason and message.
    pub(super) failed: Option<(&'static str, String)>,
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
        let (news, heard) = mpsc::unbounded_channel();
        let pod = wants.borrow().pod.clone();
        let spec = pod.spec.clone().unwrap_or_default();
        let init = spec.init_containers.unwrap_or_default();
        let reason = if init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
        let part = |one: &Container| if stays(one) { Part::Sidecar } else { Part::Init };
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let started = status.and_then(|status| status.start_time.clone());
        let main = |one: &Container| Slot::new(one, Part::Main, reason);
        Self {
            node,
            wants,
            told,
            heard,
            news,
            sandbox: None,
            join: None,
            broken: false,
            ips: Vec::new(),
            failures: 0,
            retry: None,
            volumes: Volumes::default(),
            init: init.iter().map(|one| Slot::new(one, part(one), "PodInitializing")).collect(),
            containers: spec.containers.iter().map(main).collect(),
            ephemeral: Vec::new(),
            initialized: false,
            failed: None,
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
                Some(news) = self.heard.recv() => self.note(news),
                () = pause_ends(&mut self.sandbox), if !self.broken => self.broken = true,
                () = look_at(at) => {}
            }
            while let Ok(news) = self.heard.try_recv() {
                self.note(news);
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
            return Next::Look(self.finish(pod).await);
        }
        let at = match self.past_deadline(pod) {
            Ok(()) => self.fail(pod),
            Err(deadline) => [self.advance(pod).await, deadline].into_iter().flatten().min(),
        };
        let phase = status::phase(policy(pod), &self.situation());
        let said = self.say(pod).await;
        if matches!(phase, "Succeeded" | "Failed") && said {
            self.over = true;
            return Next::Look(Some(Instant::now()));
        }
        let again = (!said).then(|| Instant::now() + SAY_AGAIN);
        Next::Look([at, again].into_iter().flatten().min())
    }

    fn note(&mut self, news: News) {
        let (News::Ended(run, _) | News::Probed(run, _) | News::Hooked(run, _)) = &news else {
            self.volumes.stale = true;
            return;
        };
        let Some(slot) = self.slots_mut().find(|slot| slot.id == *run) else { return };
        match news {
            News::Ended(_, status) => slot.ended(status),
            News::Probed(_, answer) => {
                slot.answered(answer);
                let name = slot.name.clone();
                match (answer.kind, answer.ok) {
                    (Kind::Startup, true) => self.probe(&name),
                    (Kind::Startup | Kind::Liveness, false) => self.unhealthy(&name, answer.kind),
                    (Kind::Readiness, _) | (Kind::Liveness, true) => {}
                }
            }
            News::Hooked(_, Ok(())) => {
                slot.hooked();
                let name = slot.name.clone();
                self.probe(&name);
            }
            News::Hooked(_, Err(why)) => {
                let name = slot.name.clone();
                self.hook_failed(&name, why);
            }
            News::Changed => {}
        }
    }

    /// Every container; those that were added to look at the others come last.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.containers.iter().chain(&self.init).chain(&self.ephemeral)
    }

    /// As [`slots`](Self::slots).
    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.containers.iter_mut().chain(&mut self.init).chain(&mut self.ephemeral)
    }

    /// The newest version of the pod's object that was heard of.
    pub(super) fn pod(&self) -> Arc<Pod> {
        self.wants.borrow().pod.clone()
    }

    /// `Ok` if the pod has been active for as long as it may; else when it will have been.
    fn past_deadline(&self, pod: &Pod) -> Result<(), Option<Instant>> {
        let limit = pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
        let Some(limit) = limit.and_then(|limit| u64::try_from(limit).ok()) else {
            return Err(None);
        };
        let active = Timestamp::now().duration_since(self.started).unsigned_abs();
        match Duration::from_secs(limit).checked_sub(active) {
            Some(left) if !left.is_zero() => Err(Some(Instant::now() + left)),
            Some(_) | None => Ok(()),
        }
    }

    /// Shows what there is of the pod to those who ask for it on this node.
    fn show(&self) {
        let containers = self.slots().map(Slot::seen).collect();
        let network = self.sandbox.as_ref().map(|sandbox| match &sandbox.netns {
            Some(path) => Network::Own(path.clone()),
            None => Network::Node,
        });
        self.told.send_replace(Present { containers, network });
    }

    /// Writes the pod's status if it differs; whether the API server has it now. Whoever reads it
    /// there finds the same here.
    pub(super) async fn say(&self, pod: &Pod) -> bool {
        self.show();
        let situation = self.situation();
        let status = status::status(pod, &situation, Timestamp::now());
        if pod.status.as_ref() == Some(&status) {
            return true;
        }
        let api = self.api(pod);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        // Of this version only: it holds others' conditions, which must not be lost, and a new pod of
        // that name doesn't get the old one's status. Of a newer version the watch tells.
        let version =
            json!({"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version});
        let patch = json!({"metadata": version, "status": status});
        match api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => true,
            Err(kube_rs::Error::Api(refused)) if refused.code == 404 => true,
            Err(kube_rs::Error::Api(refused)) if refused.code == 409 => false,
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

    fn situation(&self) -> Situation {
        let views = |slots: &[Slot]| slots.iter().map(Slot::view).collect();
        Situation {
            init: views(&self.init),
            containers: views(&self.containers),
            ephemeral: views(&self.ephemeral),
            initialized: self.initialized,
            sandbox: self.sandbox.is_some() && !self.broken,
            failed: self.failed.clone(),
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
