//! A pod's way up: sandbox, network, init containers, containers, and each again when it ends.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod};
use nix::sys::signal::Signal;
use tokio::task::JoinHandle;

use super::cni;
use super::console::Console;
use super::container::{NotStarted, Place};
use super::launch::Launch;
use super::log::Log;
use super::prepare::{Unprepared, join, sysctls};
use super::restart::Policy;
use super::sandbox::{Sandbox, Sharing, fresh_id};
use super::slot::Slot;
use super::status::State;
use super::worker::{Exit, Worker, policy, stays};
use super::{container, files};
use crate::children::Child;
use crate::events::Kind;

/// How soon it is looked whether the network has become ready.
const NETWORK_SOON: Duration = Duration::from_millis(100);
/// How soon it is looked whether a missing ConfigMap or Secret has come.
const CONFIG_SOON: Duration = Duration::from_secs(2);
/// How long the output of a container that has ended may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long an unknown image is an error before it is a back-off.
const PULL_AGAIN: Duration = Duration::from_secs(10);

/// Which list of the manifest a container is in, and where.
type At = (bool, usize);

impl Worker {
    /// Does the next things towards a running pod; says when to look again.
    pub(super) async fn advance(&mut self, pod: &Pod) -> Option<Instant> {
        if self.broken
            && let Err(at) = self.replace(pod).await
        {
            return at;
        }
        if self.sandbox.is_none() {
            if let Some(at) = self.retry.filter(|at| *at > Instant::now()) {
                return Some(at);
            }
            if let Err(error) = self.start_sandbox(pod).await {
                return Some(self.sandbox_failed(pod, &error));
            }
            (self.failures, self.retry) = (0, None);
        }
        let spec = pod.spec.as_ref()?;
        let policy = policy(pod);
        let mut next: Option<Instant> = None;
        let mut look = |at: Option<Instant>| next = [next, at].into_iter().flatten().min();
        for (index, manifest) in spec.init_containers.iter().flatten().enumerate() {
            // An init container's end with 0 is its success under every policy but its own.
            let policy = match policy {
                _ if stays(manifest) => Policy::Always,
                Policy::Always => Policy::OnFailure,
                Policy::OnFailure | Policy::Never => policy,
            };
            look(self.drive(pod, manifest, (true, index), policy).await);
            let Some(slot) = self.init.get(index) else { break };
            if !slot.succeeded() && !(stays(manifest) && (slot.runs() || slot.last.is_some())) {
                return next;
            }
        }
        for (index, manifest) in spec.containers.iter().enumerate() {
            look(self.drive(pod, manifest, (false, index), policy).await);
        }
        next
    }

    fn slot(&mut self, (is_init, index): At) -> Option<&mut Slot> {
        if is_init { self.init.get_mut(index) } else { self.containers.get_mut(index) }
    }

    /// Starts one container if it is time; says when it will be.
    async fn drive(
        &mut self,
        pod: &Pod,
        manifest: &Container,
        at: At,
        policy: Policy,
    ) -> Option<Instant> {
        let slot = self.slot(at)?;
        if slot.runs() {
            return None;
        }
        let ended = slot.end().map(|end| end.code).zip(slot.ended_at);
        if let Some((code, ended_at)) = ended {
            if !policy.restarts(code) {
                return None;
            }
            let (now, earliest) = (Instant::now(), slot.backoff.earliest(ended_at));
            if now < earliest {
                let delay = earliest.duration_since(ended_at).as_secs();
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let message = format!(
                    "back-off {delay}s restarting failed container={} pod={name}",
                    slot.name
                );
                if matches!(slot.state, State::Ended(_)) {
                    slot.wait("CrashLoopBackOff", Some(message.clone()));
                    self.node.events.tell(
                        pod,
                        Some(&manifest.name),
                        Kind::Warning,
                        "BackOff",
                        message,
                    );
                }
                return Some(earliest);
            }
        }
        self.launch(pod, manifest, at).await
    }

    async fn launch(&mut self, pod: &Pod, manifest: &Container, at: At) -> Option<Instant> {
        let name = Some(manifest.name.as_str());
        let launch = match self.prepare(pod, manifest).await {
            Ok(launch) => launch,
            Err(Unprepared::Image(unknown)) => {
                let message = unknown.to_string();
                let now = Instant::now();
                let slot = self.slot(at)?;
                let is_new = slot.unknown_since.is_none();
                let until = *slot.unknown_since.get_or_insert(now) + PULL_AGAIN;
                let reason = if now < until { "ErrImagePull" } else { "ImagePullBackOff" };
                slot.wait(reason, Some(message.clone()));
                if is_new {
                    self.node.events.tell(pod, name, Kind::Warning, "Failed", message);
                }
                return Some(until).filter(|until| now < *until);
            }
            Err(Unprepared::Config(message)) => {
                let slot = self.slot(at)?;
                let reason = "CreateContainerConfigError";
                let is_new = !matches!(&slot.state, State::Waiting { message: Some(old), .. } if *old == message);
                slot.wait(reason, Some(message.clone()));
                if is_new {
                    self.node.events.tell(
                        pod,
                        name,
                        Kind::Warning,
                        "Failed",
                        format!("Error: {message}"),
                    );
                }
                return Some(Instant::now() + CONFIG_SOON);
            }
        };
        self.start_container(pod, manifest, at, launch).await
    }

    async fn start_container(
        &mut self,
        pod: &Pod,
        manifest: &Container,
        at: At,
        launch: Launch,
    ) -> Option<Instant> {
        let id = match fresh_id() {
            Ok(id) => id,
            Err(_) => return Some(Instant::now() + CONFIG_SOON),
        };
        let log_dir = self.log_dir(pod);
        let slot = self.slot(at)?;
        if let Some(ended_at) = slot.ended_at.take() {
            slot.backoff.started(ended_at, Instant::now());
            slot.restarts += 1;
        }
        slot.id = id.clone();
        slot.found.env = launch.env.clone();
        slot.found.log = log_dir.join(&slot.name).join(format!("{}.log", slot.restarts));
        slot.launch = Some(Arc::new(launch.clone()));
        forget_older(&log_dir.join(&slot.name), slot.restarts);
        let log = slot.found.log.clone();
        let sandbox = self.sandbox.as_ref()?;
        let started = self.run_in(sandbox, manifest, &launch, &log).await;
        let name = Some(manifest.name.as_str());
        match started {
            Ok((mut child, console, copied)) => {
                let slot = self.slot(at)?;
                slot.started(child.pid, child.pidfd.clone());
                slot.console = Some(console);
                let exited = self.exited.clone();
                tokio::spawn(async move {
                    let status = child.wait().await;
                    // Whoever sees that it has ended finds all it has written. A process outside of
                    // the container that holds its output open isn't waited for.
                    drop(tokio::time::timeout(LAST_WORDS, copied).await);
                    // Nobody listens only if the pod is no more.
                    drop(exited.send(Exit { id, status }));
                });
                let said = format!("Started container {}", manifest.name);
                self.node.events.tell(pod, name, Kind::Normal, "Started", said);
                None
            }
            Err(error) => {
                let message = error.to_string();
                self.node.events.tell(
                    pod,
                    name,
                    Kind::Warning,
                    "Failed",
                    format!("Error: {message}"),
                );
                self.slot(at)?.not_started(message);
                Some(Instant::now())
            }
        }
    }

    /// Starts a container's process with its output in the file at `log`, its console beside it; the
    /// task ends when all it wrote is there.
    async fn run_in(
        &self,
        sandbox: &Sandbox,
        manifest: &Container,
        launch: &Launch,
        log: &Path,
    ) -> Result<(Child, Console, JoinHandle<()>), NotStarted> {
        let log = Log::create(log)?;
        let with = (&self.node.context.children, self.node.settings.program.as_path());
        let has_stdin = manifest.stdin == Some(true);
        let place = Place::Sandbox(sandbox);
        let (child, streams) = container::start(place, with, launch, has_stdin).await?;
        let (console, listen) = Console::new(streams.stdin, streams.terminal);
        let copied = match streams.stderr {
            Some(stderr) => tokio::spawn(log.copy(streams.stdout, stderr, listen)),
            None => tokio::spawn(log.copy(streams.stdout, tokio::io::empty(), listen)),
        };
        Ok((child, console, copied))
    }

    async fn start_sandbox(&mut self, pod: &Pod) -> Result<(), SandboxError> {
        let sharing = Sharing::of(pod);
        let node = self.node.clone();
        if !sharing.host_network {
            node.cni.status().await?;
        }
        let (host, _) = files::host_name(pod, &node.settings.dns.domain);
        let netns_dir = node.context.run_dir.join("netns");
        let with = (netns_dir.as_path(), &node.context.children);
        let sandbox = Sandbox::start(&node.pause, &host, sharing, sysctls(pod), with).await?;
        let netns = sandbox.netns.clone();
        let container_id = sandbox.id.clone();
        // Known from here on, so that a failure below is cleaned up like a lost sandbox.
        self.sandbox = Some(sandbox);
        self.broken = true;
        if let Some(netns) = netns {
            let join = join(pod, container_id, netns);
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
        let all = || self.containers.iter().chain(&self.init);
        all().for_each(|slot| slot.signal(Signal::SIGKILL));
        if all().any(Slot::runs) {
            return Err(None);
        }
        self.leave(pod).await.map_err(Some)?;
        if self.failures == 0 {
            let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
            self.node.events.tell(pod, None, Kind::Normal, "SandboxChanged", message);
        }
        // A new sandbox is initialized anew.
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
        // A node without such a file says nothing.
        let own = |path| std::fs::read_to_string(path).unwrap_or_default();
        let hosts = if sharing.host_network {
            files::node_hosts(pod, &own("/etc/hosts"))
        } else {
            files::hosts(pod, &self.ips, &dns.domain)
        };
        let host = match sharing.host_network {
            true => self.node.context.name.clone(),
            false => files::host_name(pod, &dns.domain).0,
        };
        std::fs::write(folder.join("hosts"), hosts)?;
        let resolver = files::resolv_conf(pod, dns, &own("/etc/resolv.conf"));
        std::fs::write(folder.join("resolv.conf"), resolver)?;
        std::fs::write(folder.join("hostname"), host + "\n")
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

/// Removes the logs of all runs but that numbered `newest` and the one before it.
fn forget_older(folder: &Path, newest: i32) {
    for name in ["log", "log.1"] {
        // There is none before the third run, or of one that did not start.
        drop(std::fs::remove_file(folder.join(format!("{}.{name}", newest - 2))));
    }
}

#[derive(Debug, thiserror::Error)]
enum SandboxError {
    #[error("{0}")]
    Kernel(#[from] io::Error),
    #[error("{}", chain(.0))]
    Network(#[from] cni::Error),
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}
