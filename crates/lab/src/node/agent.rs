//! Keeps the node's agent alive: what a DaemonSet and the kubelet do on a cluster.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::context::Context;
use super::settings::Settings;
use crate::children::Child;
use crate::spec::Spec;

/// Longest pause before the agent is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An agent that lived this long is started again at once: what ended it was no mistake at start.
const STEADY: Duration = Duration::from_secs(10);

/// How long the next agent may take until it has taken over.
const TAKES_OVER_WITHIN: Duration = Duration::from_secs(60);

/// How long an agent that was taken over from may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// How often it is looked at who is in charge.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where a wish for another agent is answered.
pub(super) type Asked = oneshot::Sender<Result<(), String>>;

/// Has no agent, and says so whenever another one is `wanted`.
pub(super) async fn none(mut wanted: mpsc::Receiver<Asked>) {
    while let Some(asked) = wanted.recv().await {
        let why = "the nodes of this lab have no agents of their own: it is up with --no-agent";
        drop(asked.send(Err(why.to_owned())));
    }
}

/// Starts the agent, and again whenever it ends; and another one in its place whenever that is `wanted`.
pub(super) async fn keep(
    context: &Context,
    settings: &Settings,
    log: File,
    mut wanted: mpsc::Receiver<Asked>,
) {
    let mut pause = Duration::from_millis(50);
    loop {
        let started = Instant::now();
        match start(context, settings, &log) {
            Ok(mut agent) => {
                let status = loop {
                    tokio::select! {
                        status = agent.wait() => break status,
                        Some(asked) = wanted.recv() => {
                            let replaced = replace(&mut agent, context, settings, &log).await;
                            drop(asked.send(replaced));
                        }
                    }
                };
                tracing::warn!("the agent ended ({status}) and is started again; see agent.log");
            }
            Err(error) => tracing::error!("start the agent: {error}"),
        }
        if started.elapsed() > STEADY {
            pause = Duration::from_millis(50);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Puts another agent in the place of `agent`, which ends once the other one has taken over. It goes on
/// when that does not come to it.
async fn replace(
    agent: &mut Child,
    context: &Context,
    settings: &Settings,
    log: &File,
) -> Result<(), String> {
    let next = start(context, settings, log);
    let mut next = next.map_err(|error| format!("start another agent: {error}"))?;
    let taken_over = tokio::time::timeout(TAKES_OVER_WITHIN, in_charge(&mut next, context)).await;
    let taken_over = taken_over.unwrap_or_else(|_| {
        drop(next.signal(Signal::SIGKILL));
        Err(format!("has not taken over in {TAKES_OVER_WITHIN:?}"))
    });
    taken_over.map_err(|why| format!("the new agent {why}; see agent.log"))?;
    let mut last = std::mem::replace(agent, next);
    last.signal(Signal::SIGTERM).map_err(|error| format!("end the old agent: {error}"))?;
    if tokio::time::timeout(ENDS_WITHIN, last.wait()).await.is_err() {
        tracing::warn!("the old agent does not end in {ENDS_WITHIN:?} and is killed");
        last.signal(Signal::SIGKILL).map_err(|error| format!("kill the old agent: {error}"))?;
    }
    Ok(())
}

/// Waits until it is `agent` that answers at the agent's socket.
async fn in_charge(agent: &mut Child, context: &Context) -> Result<(), String> {
    let socket = context.run_dir.join("seaway/agent.sock");
    loop {
        if let Ok(stream) = UnixStream::connect(&socket).await
            && stream.peer_cred().is_ok_and(|peer| peer.pid() == Some(agent.pid))
        {
            return Ok(());
        }
        if agent.has_ended() {
            return Err(format!("ended ({})", agent.wait().await));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn start(context: &Context, settings: &Settings, log: &File) -> std::io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("seaway").args(arguments(context, settings));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    context.children.spawn(&mut command)
}

/// The agent's command line: every path of its own is below the node's `/run`.
fn arguments(context: &Context, settings: &Settings) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let own = context.run_dir.join("seaway");
    let mut arguments = vec![
        "agent".to_owned(),
        "--node-name".to_owned(),
        context.name.clone(),
        "--kubeconfig".to_owned(),
        path(&context.kubeconfig),
        "--run-dir".to_owned(),
        path(&own),
        "--state-dir".to_owned(),
        path(&own.join("state")),
        "--cni-conf-dir".to_owned(),
        path(&context.cni_conf_dir),
        "--cni-bin-dir".to_owned(),
        path(&context.cni_bin_dir),
        "--pod-link".to_owned(),
        settings.spec.pod_link.to_string(),
        "--routing".to_owned(),
        settings.spec.routing.to_string(),
        // The runner of pods waits for that.
        "--acknowledge-drains".to_owned(),
    ];
    if let Some(mtu) = settings.spec.mtu {
        arguments.extend(["--mtu".to_owned(), mtu.to_string()]);
    }
    if let Some(document) = &settings.spec.dns_settings {
        arguments.extend(["--dns-settings".to_owned(), path(document)]);
    }
    arguments.extend(services(&settings.spec));
    arguments
}

/// What the agent is told about Services.
fn services(spec: &Spec) -> Vec<String> {
    let list = |flag: &str, values: Vec<String>| {
        (!values.is_empty()).then(|| [flag.to_owned(), values.join(",")])
    };
    let addresses = spec.nodeport_addresses.iter().map(ToString::to_string).collect();
    let external = spec.external_ips.iter().map(ToString::to_string).collect();
    let lists = [list("--nodeport-addresses", addresses), list("--external-ips", external)];
    let mut arguments: Vec<String> = lists.into_iter().flatten().flatten().collect();
    if spec.masquerade_all {
        arguments.push("--masquerade-all".to_owned());
    }
    arguments
}
