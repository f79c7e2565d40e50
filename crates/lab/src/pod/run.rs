//! One run of a container: its start, its hooks and probes, and what they lead to.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use tokio::task::{JoinHandle, JoinSet};

use super::console::Console;
use super::container::{self, NotStarted, Place};
use super::drain;
use super::ending::own_grace;
use super::hooks;
use super::inside::Inside;
use super::log::Log;
use super::prepare::{Prepared, Unprepared};
use super::probe::{Kind, Probing, Target, ports};
use super::restart::Policy;
use super::sandbox::{Sandbox, fresh_id};
use super::slot::{Part, Run};
use super::start::chain;
use super::status::State;
use super::stop::Stop;
use super::worker::{News, Worker, policy};
use crate::children::Child;
use crate::events::Kind as Matters;

/// How soon it is looked whether a missing ConfigMap or Secret has come.
const CONFIG_SOON: Duration = Duration::from_secs(2);
/// How long the output of a container that has ended may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How soon it is looked whether an unknown image has been loaded.
const IMAGE_SOON: Duration = Duration::from_secs(2);
/// How long an unknown image is an error before it is a back-off.
const PULL_AGAIN: Duration = Duration::from_secs(10);

impl Worker {
    /// Starts a container; says when to look again.
    pub(super) async fn launch(&mut self, pod: &Pod, manifest: &Container) -> Option<Instant> {
        let name = Some(manifest.name.as_str());
        match self.prepare(pod, manifest).await {
            Ok(prepared) => self.start_container(pod, manifest, prepared).await,
            Err(Unprepared::Image(unknown)) => {
                let image = manifest.image.as_deref().unwrap_or_default();
                let is_never = manifest.image_pull_policy.as_deref() == Some("Never");
                let now = Instant::now();
                let slot = self.slot(&manifest.name)?;
                let is_new = slot.unknown_since.is_none();
                let until = *slot.unknown_since.get_or_insert(now) + PULL_AGAIN;
                let (reason, message) = if is_never {
                    let said = format!(
                        "Container image {image:?} is not present with pull policy of Never"
                    );
                    ("ErrImageNeverPull", format!("{said}: {unknown}"))
                } else if now < until {
                    ("ErrImagePull", unknown.to_string())
                } else {
                    let said = format!("Back-off pulling image {image:?}: ErrImagePull");
                    ("ImagePullBackOff", format!("{said}: {unknown}"))
                };
                slot.wait(reason, Some(message.clone()));
                if is_new {
                    self.node.events.tell(pod, name, Matters::Warning, "Failed", message);
                }
                // Somebody may load it.
                Some(if now < until { until.min(now + IMAGE_SOON) } else { now + IMAGE_SOON })
            }
            Err(Unprepared::Config(message)) => {
                let slot = self.slot(&manifest.name)?;
                let reason = "CreateContainerConfigError";
                let is_new = !matches!(&slot.state, State::Waiting { message: Some(old), .. } if *old == message);
                slot.wait(reason, Some(message.clone()));
                if is_new {
                    let said = format!("Error: {message}");
                    self.node.events.tell(pod, name, Matters::Warning, "Failed", said);
                }
                Some(Instant::now() + CONFIG_SOON)
            }
        }
    }

    async fn start_container(
        &mut self,
        pod: &Pod,
        manifest: &Container,
        prepared: Prepared,
    ) -> Option<Instant> {
        let name = manifest.name.as_str();
        let Ok(id) = fresh_id() else { return Some(Instant::now() + CONFIG_SOON) };
        let log_dir = self.log_dir(pod);
        let slot = self.slot(name)?;
        if let Some(ended_at) = slot.ended_at.take() {
            let since = if slot.condemned { slot.ended_before } else { Some(ended_at) };
            if let Some(since) = since {
                slot.backoff.started(since, Instant::now());
            }
            slot.ended_before = Some(ended_at);
            slot.restarts += 1;
        }
        slot.condemned = false;
        slot.unknown_since = None;
        slot.id = id;
        slot.image = prepared.image.clone();
        slot.found.env = prepared.launch.env.clone();
        slot.found.cwd = prepared.launch.cwd.clone();
        slot.found.log = log_dir.join(name).join(format!("{}.log", slot.restarts));
        slot.launch = Some(Arc::new(prepared.launch.clone()));
        forget_older(&log_dir.join(name), slot.restarts);
        let log = slot.found.log.clone();
        let (image, _) = &slot.image;
        let pulled = format!("Container image {image:?} already present on machine");
        self.node.events.tell(pod, Some(name), Matters::Normal, "Pulled", pulled);
        let sandbox = self.sandbox.as_ref()?;
        let started = self.run_in(sandbox, manifest, &prepared, &log).await;
        match started {
            Ok(started) => {
                let created = format!("Created container: {name}");
                self.node.events.tell(pod, Some(name), Matters::Normal, "Created", created);
                self.node.events.tell(
                    pod,
                    Some(name),
                    Matters::Normal,
                    "Started",
                    format!("Started container {name}"),
                );
                self.begin(pod, manifest, prepared, started);
                None
            }
            Err(error) => self.start_failed(pod, name, &error),
        }
    }

    fn start_failed(&mut self, pod: &Pod, name: &str, error: &NotStarted) -> Option<Instant> {
        let message = chain(error);
        self.node.events.tell(
            pod,
            Some(name),
            Matters::Warning,
            "Failed",
            format!("Error: {message}"),
        );
        self.slot(name)?.not_started(message);
        Some(Instant::now())
    }

    /// Takes over a container that has just started.
    fn begin(
        &mut self,
        pod: &Pod,
        manifest: &Container,
        prepared: Prepared,
        (mut child, console, copied): (Child, Console, JoinHandle<()>),
    ) {
        let Prepared { launch, signal, message, .. } = prepared;
        let target = Target {
            ip: self.ips.first().copied(),
            ports: ports(manifest),
            env: manifest.env.clone().unwrap_or_default(),
            inside: Inside {
                process: child.pidfd.clone(),
                env: launch.env,
                cwd: launch.cwd,
                identity: launch.identity,
            },
            children: self.node.context.children.clone(),
            program: self.node.settings.program.clone(),
        };
        let hook = manifest.lifecycle.as_ref().and_then(|hooks| hooks.post_start.clone());
        let (pid, news) = (child.pid, self.news.clone());
        let Some(slot) = self.slot(&manifest.name) else { return };
        let id = slot.id.clone();
        let run = Run {
            since: Timestamp::now(),
            begun: tokio::time::Instant::now(),
            target: target.clone(),
            signal,
            message,
            hooked: hook.is_none(),
            started: manifest.startup_probe.is_none(),
            ready: manifest.readiness_probe.is_none(),
            stop: None,
            tasks: JoinSet::new(),
            vital: Vec::new(),
        };
        slot.started(pid, run);
        slot.console = Some(console);
        let (ended, exited) = (id.clone(), news.clone());
        tokio::spawn(async move {
            let status = child.wait().await;
            // Whoever sees that it has ended finds all it has written. A process outside of the
            // container that holds its output open isn't waited for.
            drop(tokio::time::timeout(LAST_WORDS, copied).await);
            // Nobody listens only if the pod is no more.
            drop(exited.send(News::Ended(ended, status)));
        });
        match (hook, &mut slot.run) {
            (Some(hook), Some(run)) => {
                let of = format!("{:?} in Pod {:?}", manifest.name, super::start::title(pod));
                run.tasks.spawn(async move {
                    let outcome = hooks::run(&hook, &target, &of).await;
                    drop(news.send(News::Hooked(id, outcome)));
                });
            }
            _ => self.probe(&manifest.name),
        }
    }

    /// Starts a container's process with its output in the file at `log`, its console beside it; the
    /// task ends when all it wrote is there.
    async fn run_in(
        &self,
        sandbox: &Sandbox,
        manifest: &Container,
        Prepared { launch, target, .. }: &Prepared,
        log: &Path,
    ) -> Result<(Child, Console, JoinHandle<()>), NotStarted> {
        let log = Log::create(log)?;
        let with = (&self.node.context.children, self.node.settings.program.as_path());
        let has_stdin = manifest.stdin == Some(true);
        let place = Place::Sandbox(sandbox, target.as_ref());
        let (child, streams) = container::start(place, with, launch, has_stdin).await?;
        let once = manifest.stdin_once == Some(true);
        let (console, listen) = Console::new((streams.stdin, once), streams.terminal);
        let copied = match streams.stderr {
            Some(stderr) => tokio::spawn(log.copy(streams.stdout, stderr, listen)),
            None => tokio::spawn(log.copy(streams.stdout, tokio::io::empty(), listen)),
        };
        Ok((child, console, copied))
    }

    /// Starts the probes whose time has come: the startup probe, or when that has succeeded or there
    /// is none, the others.
    pub(super) fn probe(&mut self, name: &str) {
        let pod = self.pod();
        let Some(manifest) = manifest(&pod, name) else { return };
        let (events, news) = (self.node.events.clone(), self.news.clone());
        let Some(slot) = self.slot(name) else { return };
        let run_id = slot.id.clone();
        let Some(run) = &mut slot.run else { return };
        let probing = Probing {
            target: run.target.clone(),
            run: run_id,
            since: run.begun,
            of: (pod.clone(), name.to_owned()),
            events,
            news,
        };
        let mut start = |kind, probe: &Option<_>| {
            let Some(probe) = probe.clone() else { return };
            let task = run.tasks.spawn(probing.clone().run(kind, probe));
            if kind != Kind::Readiness {
                run.vital.push(task);
            }
        };
        if run.started {
            start(Kind::Liveness, &manifest.liveness_probe);
            start(Kind::Readiness, &manifest.readiness_probe);
        } else {
            start(Kind::Startup, &manifest.startup_probe);
        }
    }

    /// A liveness or startup probe has failed for good: the container is stopped, and started again
    /// if it may.
    ///
    /// Source: kubelet `computePodActions`.
    pub(super) fn unhealthy(&mut self, name: &str, kind: Kind) {
        let pod = self.pod();
        let Some(manifest) = manifest(&pod, name) else { return };
        let Some(slot) = self.slot(name) else { return };
        let restarts = slot.part == Part::Sidecar || policy(&pod) != Policy::Never;
        slot.condemned = restarts;
        let probe = match kind {
            Kind::Startup => &manifest.startup_probe,
            Kind::Liveness | Kind::Readiness => &manifest.liveness_probe,
        };
        let own = probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
        let own = own.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
        let which = kind.name().to_lowercase();
        let after = if restarts { ", will be restarted" } else { "" };
        let message = format!("Container {name} failed {which} probe{after}");
        let until = Instant::now() + own.unwrap_or_else(|| own_grace(&pod));
        self.stop(&pod, name, Some(message), until, true);
    }

    /// A postStart hook has failed: its container is stopped.
    pub(super) fn hook_failed(&mut self, name: &str, why: String) {
        let pod = self.pod();
        if let Some(slot) = self.slot(name) {
            slot.wait("PostStartHookError", Some(why));
        }
        let said = "PostStartHook failed".to_owned();
        self.node.events.tell(&pod, Some(name), Matters::Warning, "FailedPostStartHook", said);
        let until = Instant::now() + own_grace(&pod);
        self.stop(&pod, name, Some("FailedPostStartHook".to_owned()), until, true);
    }

    /// The container's image is another one now.
    pub(super) fn replace_container(&mut self, pod: &Pod, name: &str) {
        if let Some(slot) = self.slot(name) {
            slot.condemned = true;
        }
        let message = format!("Container {name} definition changed, will be restarted");
        self.stop(pod, name, Some(message), Instant::now() + own_grace(pod), true);
    }

    /// Begins to stop a container, or makes a stop that is on its way end by `until`.
    pub(super) fn stop(
        &mut self,
        pod: &Pod,
        name: &str,
        message: Option<String>,
        until: Instant,
        has_turn: bool,
    ) {
        let hook = manifest(pod, name).and_then(|it| it.lifecycle.as_ref()?.pre_stop.clone());
        let (events, shared) = (self.node.events.clone(), Arc::new(pod.clone()));
        let drained = drain::drained(self.node.client.clone(), shared.clone());
        let Some(slot) = self.slot(name) else { return };
        let Some(run) = &mut slot.run else { return };
        if let Some(stop) = &run.stop {
            stop.hurry(until.into());
            if has_turn {
                stop.take_turn();
            }
            return;
        }
        let process = run.target.inside.process.clone();
        let (stop, stopping) = Stop::new(process, run.signal, until.into(), has_turn);
        run.stop = Some(stop);
        let (target, container) = (run.target.clone(), name.to_owned());
        let of = format!("{name:?} in Pod {:?}", super::start::title(pod));
        let hooked = async move {
            let Some(hook) = hook else { return };
            if let Err(why) = hooks::run(&hook, &target, &of).await {
                tracing::debug!("{why}");
                // The reason may hold secrets, so the event does not.
                let said = "PreStopHook failed".to_owned();
                let name = Some(container.as_str());
                events.tell(&shared, name, Matters::Warning, "FailedPreStopHook", said);
            }
        };
        run.tasks.spawn(stopping.run(async {
            tokio::join!(hooked, drained);
        }));
        let said = message.unwrap_or_else(|| format!("Stopping container {name}"));
        self.node.events.tell(pod, Some(name), Matters::Normal, "Killing", said);
    }
}

/// The container of that name in the pod's manifest, whichever list it is in; one that was added
/// to look at the others has neither probes nor hooks.
fn manifest<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.find(|container| container.name == name)
}

/// Removes the logs of all runs but that numbered `newest` and the one before it.
fn forget_older(folder: &Path, newest: i32) {
    for name in ["log", "log.1"] {
        // There is none before the third run, or of one that did not start.
        drop(std::fs::remove_file(folder.join(format!("{}.{name}", newest - 2))));
    }
}
