//! A pod's way up: volumes, sandbox, network, init containers, containers, and each again when it
//! ends.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};
use nix::sys::signal::Signal;

use super::prepare::{join, sysctls};
use super::restart::{Policy, in_words};
use super::sandbox::{Sandbox, Sharing};
use super::slot::{Part, Slot};
use super::status::State;
use super::worker::{Worker, policy};
use super::{cni, files, resolver};
use crate::events::Kind;

/// How soon it is looked whether the network has become ready.
const NETWORK_SOON: Duration = Duration::from_millis(100);

impl Worker {
    /// Does the next things towards a running pod; says when to look again.
    pub(super) async fn advance(&mut self, pod: &Pod) -> Option<Instant> {
        if self.broken
            && let Err(at) = self.replace(pod).await
        {
            return at;
        }
        let volumes = match self.keep_volumes(pod).await {
            Ok(at) => at,
            Err(at) => return Some(at),
        };
        if self.sandbox.is_none() {
            if let Some(at) = self.retry.filter(|at| *at > Instant::now()) {
                return Some(at);
            }
            if let Err(error) = self.start_sandbox(pod).await {
                return Some(self.sandbox_failed(pod, &error));
            }
            (self.failures, self.retry) = (0, None);
        }
        let containers = self.drive_all(pod).await;
        [volumes, containers].into_iter().flatten().min()
    }

    /// Starts every container whose time has come; says when the next one's will.
    async fn drive_all(&mut self, pod: &Pod) -> Option<Instant> {
        let spec = pod.spec.as_ref()?;
        let policy = policy(pod);
        if self.is_done(policy) {
            // What was beside the containers has nothing left to do there.
            self.stop_all(pod, Instant::now() + super::ending::own_grace(pod));
            return None;
        }
        let mut next: Option<Instant> = None;
        let mut look = |at: Option<Instant>| next = [next, at].into_iter().flatten().min();
        for ephemeral in spec.ephemeral_containers.iter().flatten() {
            if let Some(manifest) = as_container(ephemeral) {
                if !self.ephemeral.iter().any(|slot| slot.name == manifest.name) {
                    let slot = Slot::new(&manifest, Part::Ephemeral, "ContainerCreating");
                    self.ephemeral.push(slot);
                }
                look(self.drive(pod, &manifest, Policy::Never).await);
            }
        }
        for manifest in spec.init_containers.iter().flatten() {
            let Some(part) = self.slot(&manifest.name).map(|slot| slot.part) else { continue };
            // An init container's end with 0 is its success under every policy but its own.
            let policy = match (part, policy) {
                (Part::Sidecar, _) => Policy::Always,
                _ if self.initialized => continue,
                (_, Policy::Always) => Policy::OnFailure,
                (_, Policy::OnFailure | Policy::Never) => policy,
            };
            look(self.drive(pod, manifest, policy).await);
            let is_passed = |slot: &mut Slot| match part {
                Part::Sidecar => slot.has_started(),
                Part::Init | Part::Main | Part::Ephemeral => slot.succeeded(),
            };
            if !self.initialized && !self.slot(&manifest.name).is_some_and(is_passed) {
                return next;
            }
        }
        self.initialized = true;
        for manifest in &spec.containers {
            look(self.drive(pod, manifest, policy).await);
            // The next one starts when this one's hook has done its work.
            let is_held = |slot: &mut Slot| slot.run.as_ref().is_some_and(|run| !run.hooked);
            if self.slot(&manifest.name).is_some_and(is_held) {
                break;
            }
        }
        next
    }

    /// Whether all that the pod is for has ended for good.
    fn is_done(&self, policy: Policy) -> bool {
        let is_over = |slot: &Slot| match &slot.state {
            State::Ended(end) => !slot.condemned && !policy.restarts(end.code),
            State::Waiting { .. } | State::Running { .. } => false,
        };
        self.initialized && self.containers.iter().all(is_over)
    }

    /// The container of that name.
    pub(super) fn slot(&mut self, name: &str) -> Option<&mut Slot> {
        self.slots_mut().find(|slot| slot.name == name)
    }

    /// Starts one container if it is time; says when it will be.
    async fn drive(&mut self, pod: &Pod, manifest: &Container, policy: Policy) -> Option<Instant> {
        let slot = self.slot(&manifest.name)?;
        if slot.runs() {
            let image = manifest.image.as_deref().unwrap_or_default();
            if slot.part != Part::Init && slot.image.0 != image {
                self.replace_container(pod, &manifest.name);
            }
            return None;
        }
        let code = slot.end().map(|end| end.code);
        if let Some((code, ended_at)) = code.zip(slot.ended_at) {
            if !slot.condemned && !policy.restarts(code) {
                return None;
            }
            // Kubelet counts from the end it knew when it decided to stop the container.
            let since = if slot.condemned { slot.ended_before } else { Some(ended_at) };
            let earliest = since.map(|since| (slot.backoff.earliest(since), since));
            if let Some((earliest, since)) = earliest.filter(|(at, _)| Instant::now() < *at) {
                let delay = in_words(earliest.duration_since(since));
                let (name, of) = (&manifest.name, title(pod));
                let message =
                    format!("back-off {delay} restarting failed container={name} pod={of}");
                if matches!(slot.state, State::Ended(_)) {
                    slot.wait("CrashLoopBackOff", Some(message));
                    let said = format!("Back-off restarting failed container {name} in pod {of}");
                    self.node.events.tell(pod, Some(name), Kind::Warning, "BackOff", said);
                }
                return Some(earliest);
            }
        }
        self.launch(pod, manifest).await
    }

    async fn start_sandbox(&mut self, pod: &Pod) -> Result<(), SandboxError> {
        let sharing = Sharing::of(pod);
        let node = self.node.clone();
        if !sharing.host_network {
            node.cni.status().await?;
        }
        let host = files::kernel_name(pod, &node.settings.dns.domain).map_err(io::Error::other)?;
        let netns_dir = node.context.run_dir.join("netns");
        let with = (netns_dir.as_path(), &node.context.children);
        let sandbox = Sandbox::start(&node.pause, &host, sharing, sysctls(pod), with).await?;
        let netns = sandbox.netns.clone();
        let container_id = sandbox.id.clone();
        // Known from here on, so that a failure below is cleaned up like a lost sandbox.
        self.sandbox = Some(sandbox);
        self.broken = true;
        if let Some(netns) = netns {
            let join = join(pod, container_id, netns, self.resolv(pod).capability);
            self.join = Some(join.clone());
            self.ips = node.cni.add(&join).await?;
        } else {
            self.ips = node.context.addrs.clone();
        }
        self.write_files(pod, sharing)?;
        self.broken = false;
        Ok(())
    }

    fn sandbox_failed(&mut self, pod: &Pod, error: &SandboxError) -> Instant {
        let now = Instant::now();
        if let SandboxError::Network(cni::Error::NotReady(_)) = error {
            return now + NETWORK_SOON;
        }
        let message = format!("Failed to create pod sandbox: {error}");
        self.node.events.tell(pod, None, Kind::Warning, "FailedCreatePodSandBox", message);
        let at = self.failed();
        self.retry = Some(at);
        at
    }

    /// Clears away a sandbox that is lost, with everything in it. `Err` says when to look again.
    async fn replace(&mut self, pod: &Pod) -> Result<(), Option<Instant>> {
        self.slots().for_each(|slot| slot.signal(Signal::SIGKILL));
        if self.slots().any(Slot::runs) {
            return Err(None);
        }
        self.leave(pod).await.map_err(Some)?;
        if self.failures == 0 {
            let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.node.events.tell(pod, None, Kind::Normal, "SandboxChanged", message);
        }
        // A new sandbox is initialized anew.
        self.initialized = false;
        for slot in &mut self.init {
            slot.wait("PodInitializing", None);
            slot.ended_at = None;
        }
        Ok(())
    }

    fn write_files(&self, pod: &Pod, sharing: Sharing) -> io::Result<()> {
        let folder = self.folder(pod);
        std::fs::create_dir_all(folder.join("root"))?;
        let dns = &self.node.settings.dns;
        let hosts = if sharing.host_network {
            files::node_hosts(pod, &own("/etc/hosts"))
        } else {
            files::hosts(pod, &self.ips, &dns.domain)
        };
        let host = match sharing.host_network {
            true => self.node.context.name.clone(),
            false => files::kernel_name(pod, &dns.domain).map_err(io::Error::other)?,
        };
        std::fs::write(folder.join("hosts"), hosts)?;
        let resolv = self.resolv(pod);
        for warning in resolv.warnings {
            self.node.events.tell(pod, None, Kind::Warning, "DNSConfigForming", warning);
        }
        std::fs::write(folder.join("resolv.conf"), resolv.text)?;
        std::fs::write(folder.join("hostname"), host + "\n")
    }

    /// How the pod resolves names.
    fn resolv(&self, pod: &Pod) -> resolver::Resolv {
        resolver::resolv_conf(pod, &self.node.settings.dns, &own("/etc/resolv.conf"))
    }

    /// The pod's own folder on the node.
    pub(super) fn folder(&self, pod: &Pod) -> PathBuf {
        self.node.context.run_dir.join("pods").join(pod.metadata.uid.as_deref().unwrap_or_default())
    }

    /// Where its containers' logs are.
    pub(super) fn log_dir(&self, pod: &Pod) -> PathBuf {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (meta, logs) = (&pod.metadata, self.node.context.run_dir.join("log/pods"));
        logs.join([text(&meta.namespace), text(&meta.name), text(&meta.uid)].join("_"))
    }
}

/// A file of the node. One without such a file says nothing.
fn own(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[derive(Debug, thiserror::Error)]
enum SandboxError {
    #[error("{0}")]
    Kernel(#[from] io::Error),
    #[error("{}", chain(.0))]
    Network(#[from] cni::Error),
}

/// An ephemeral container has the fields of any other, and one more.
fn as_container(ephemeral: &EphemeralContainer) -> Option<Container> {
    serde_json::from_value(serde_json::to_value(ephemeral).ok()?).ok()
}

/// A pod as kubelet's messages name it.
///
/// Source: kubelet `format.Pod`.
pub(super) fn title(pod: &Pod) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (name, namespace) = (text(&pod.metadata.name), text(&pod.metadata.namespace));
    format!("{name}_{namespace}({})", text(&pod.metadata.uid))
}

/// An error and its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}
