//! `seaway policy drops`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::super::{dump, print};
use super::{NAMESPACE, Output, pod_name};

/// How often it is looked for more.
const ROUND: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only what this pod, NAME or NAMESPACE/NAME, sent or was to get.
    #[arg(long)]
    pod: Option<String>,
    /// Only what pods of this namespace did; that of the pod, if one is given.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Go on, and print what is dropped from now on as it happens.
    #[arg(short, long)]
    follow: bool,
    /// How to print it: as lines, each of them one object with json.
    #[arg(short, long, default_value = "text", value_enum)]
    output: Output,
    /// Directory of the agent's sockets.
    #[arg(long, env = "SEAWAY_RUN_DIR", default_value = "/run/seaway", value_name = "DIR")]
    run_dir: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let socket = args.run_dir.join("agent.sock");
    let mut lines = read(&socket)?;
    let mut next = 0;
    loop {
        for line in lines.iter().filter(|line| number(line) >= next && args.is_asked_for(line)) {
            match args.output {
                Output::Text => print(&format!("{}\n", line["text"].as_str().unwrap_or_default())),
                Output::Json => print(&format!("{line}\n")),
            }
        }
        next = lines.last().map_or(next, |line| number(line) + 1);
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(ROUND);
        lines = read(&socket)?;
        // Another agent counts from the beginning.
        if lines.last().is_some_and(|line| number(line) + 1 < next) {
            next = 0;
        }
    }
}

fn read(socket: &Path) -> anyhow::Result<Vec<Value>> {
    let lines = dump::ask_json(socket, "drops")?;
    lines.as_array().cloned().context("the agent's answer is no list")
}

fn number(line: &Value) -> u64 {
    line["number"].as_u64().unwrap_or_default()
}

impl Args {
    fn is_asked_for(&self, line: &Value) -> bool {
        let pods = ["client", "server"].map(|end| line[end]["pod"].as_str().unwrap_or_default());
        let namespace = self.namespace.as_deref();
        match (&self.pod, namespace) {
            (Some(pod), _) => {
                let wanted = pod_name(pod, namespace.unwrap_or(NAMESPACE)).to_string();
                pods.contains(&wanted.as_str())
            }
            (None, Some(namespace)) => {
                pods.iter().any(|pod| pod.split_once('/').is_some_and(|(of, _)| of == namespace))
            }
            (None, None) => true,
        }
    }
}
