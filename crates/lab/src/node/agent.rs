//! Keeps the node's agent alive: what a DaemonSet and the kubelet do on a cluster.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::context::Context;
use super::settings::Settings;
use crate::spec::Spec;

/// Longest pause before the agent is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An agent that lived this long is started again at once: what ended it was no mistake at start.
const STEADY: Duration = Duration::from_secs(10);

/// Starts the agent, and again whenever it ends.
pub(super) async fn keep(context: &Context, settings: &Settings, log: File) {
    let mut pause = Duration::from_millis(50);
    loop {
        let started = Instant::now();
        match start(context, settings, &log) {
            Ok(mut agent) => {
                let status = agent.wait().await;
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

fn start(
    context: &Context,
    settings: &Settings,
    log: &File,
) -> std::io::Result<crate::children::Child> {
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
