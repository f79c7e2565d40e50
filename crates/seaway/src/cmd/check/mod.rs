//! `seaway check`: whether every path of a lab's network works, tried from inside the pods.
//!
//! In each pod, on each node and on the host outside, a responder answers on a free port. Then every
//! place sends to every other: a TCP connection, a UDP datagram, and a datagram that
//! fills the MTU with DF set. The responder says from which address it was reached, so that a
//! translation where none belongs is a failure, and so is a missing one on the way out.
//!
//! And each node is looked at from itself ([`node`]), which is also what `--node` does on the node of
//! any cluster.

mod matrix;
mod node;
mod nodes;
mod places;
mod probe;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use lab::spec::LabName;

use super::cluster::Output;
use node::Verdict;

/// Check that every path of a lab's network works, and Services on its nodes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Check the node this is run on, and nothing else: kernel, leftovers of kube-proxy, firewalls, Services.
    #[arg(long, conflicts_with = "all")]
    node: bool,
    /// With --node: directory of the agent's sockets.
    #[arg(long, env = "SEAWAY_RUN_DIR", default_value = "/run/seaway", value_name = "DIR")]
    run_dir: PathBuf,
    /// The lab to check.
    #[arg(long, default_value = "lab", env = "SEAWAY_LAB")]
    name: LabName,
    /// Try every pair of pods; otherwise at most three pods of each node.
    #[arg(long)]
    all: bool,
    /// How long one probe may take, in seconds.
    #[arg(long, default_value_t = 3)]
    timeout: u64,
    /// Form of the output: text, a line for each kind of path and every failure, or json, every probe.
    #[arg(short, long, default_value = "text", value_enum)]
    output: Output,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let timeout = Duration::from_secs(args.timeout);
    if args.node {
        let findings = node::examine(&args.run_dir, timeout);
        super::print(&match args.output {
            Output::Text => report::findings(None, &findings),
            Output::Json => report::findings_json(&findings),
        });
        return Ok(code(findings.iter().all(|finding| finding.verdict != Verdict::Bad)));
    }
    let places = places::find(&args.name, args.all)?;
    let results = matrix::run(&places, timeout)?;
    let nodes = nodes::examine(&args.name, &places, timeout)?;
    super::print(&match args.output {
        Output::Text => report::table(&results, &nodes),
        Output::Json => report::json(&results, &nodes),
    });
    let paths = !results.is_empty() && results.iter().all(|result| result.outcome.is_ok());
    let mut findings = nodes.iter().flat_map(|(_, findings)| findings);
    Ok(code(paths && findings.all(|finding| finding.verdict != Verdict::Bad)))
}

/// What is found on this node, as JSON.
pub(crate) fn of_this_node(run_dir: &Path, timeout: Duration) -> String {
    report::findings_json(&node::examine(run_dir, timeout))
}

fn code(is_green: bool) -> ExitCode {
    if is_green { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
