//! `seaway agent cleanup`.

use std::path::PathBuf;
use std::process::ExitCode;

use wire::cni::Paths;

use super::super::talk;
use super::{ApiServer, Places, access, found, start_log};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    places: Places,
    /// Forget the leases too.
    #[arg(long)]
    ledger: bool,
    /// Name of this machine's Node object: also take back what the agent has written in the API.
    #[arg(long, env = "SEAWAY_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// Kubeconfig file; the pod's service account when left out.
    #[arg(long, env = "SEAWAY_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    api_server: ApiServer,
    /// Remove nothing and wait to be told to end: what runs in a DaemonSet is to stay.
    #[arg(long, conflicts_with = "ledger")]
    wait: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.wait {
        agent::wait_for_the_end()?;
        return Ok(ExitCode::SUCCESS);
    }
    start_log(args.places.log_format)?;
    let Places { run_dir, state_dir, cni_conf_dir, cni_bin_dir, .. } = args.places;
    let node = args.node_name.filter(|name| !name.is_empty());
    let access = || access(args.kubeconfig, args.api_server, &found(&state_dir), &state_dir);
    let cluster = node.map(|node| (access(), node.into()));
    let paths = Paths { run_dir, state_dir };
    let left = agent::cleanup(&agent::Cleanup {
        paths,
        cni_conf_dir,
        cni_bin_dir,
        ledger: args.ledger,
        cluster,
    })?;
    for line in &left {
        talk(&format!("seaway: left behind: {line}"));
    }
    Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
