//! `seaway policy`: what policies allow, which of their rules say so, and what others would change.
//!
//! All of it but what was dropped is computed here, from objects: those that an agent knows, or those of files.
//! Nothing is sent to the cluster.

mod check;
mod drops;
mod flows;
mod html;
mod matrix;
mod objects;
mod show;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use compile::policy::{Judge, Learned, PolicyTable, resolve_all};
use model::{ObjectName, Protocol, World};

use objects::Objects;

use super::cluster::Output;

/// Namespace of what names none.
const NAMESPACE: &str = "default";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show which policies select a pod, and whom their rules mean now.
    Show(show::Args),
    /// Show which rules decide about one connection, at both its ends.
    Trace(trace::Args),
    /// Show who reaches whom, at every port.
    Matrix(matrix::Args),
    /// Tell what manifests would change, without touching the cluster. The exit code is 0 when nothing changes,
    /// 1 when something does, and 2 when that can't be told.
    Check(check::Args),
    /// Show what policies of this node's pods have lately dropped, and which of them it was.
    Drops(drops::Args),
}

/// Where objects are from.
#[derive(clap::Args)]
struct Source {
    /// Take the objects of these manifests (files, directories, or - for standard input) instead of asking the
    /// agent of this node. Several are fine.
    #[arg(long, value_name = "FILE|DIR|-")]
    offline: Vec<PathBuf>,
    /// Directory of the agent's sockets.
    #[arg(long, env = "SEAWAY_RUN_DIR", default_value = "/run/seaway", value_name = "DIR")]
    run_dir: PathBuf,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Show(args) => show::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Matrix(args) => matrix::run(&args),
        Command::Check(args) => Ok(check::run(&args)),
        Command::Drops(args) => drops::run(&args),
    }
}

impl Source {
    /// The objects, as far as policies are about them.
    fn read(&self) -> anyhow::Result<Objects> {
        match self.offline.is_empty() {
            true => Objects::of_agent(&self.run_dir.join("agent.sock")),
            false => Objects::of_files(&self.offline),
        }
    }
}

/// A World and what its policies ask of all its pods.
struct Judged {
    world: World,
    table: PolicyTable,
    learned: Learned,
}

impl Judged {
    fn new(world: World, learned: Learned) -> Self {
        let table = resolve_all(&world);
        Judged { world, table, learned }
    }

    fn judge(&self) -> Judge<'_> {
        Judge { world: &self.world, table: &self.table, learned: &self.learned }
    }
}

/// `NAMESPACE/NAME`, or `NAME` in `namespace`.
fn pod_name(text: &str, namespace: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
    ObjectName::new(namespace, name)
}

/// A protocol and a port of it, or a protocol without ports.
#[derive(Clone, Copy)]
struct Port {
    protocol: Option<Protocol>,
    port: u16,
}

impl std::str::FromStr for Port {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "a protocol and a port like tcp/80, or icmp";
        if text == "icmp" {
            return Ok(Port { protocol: None, port: 0 });
        }
        let (protocol, port) = text.split_once('/').ok_or(WANTED)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return Err(WANTED),
        };
        Ok(Port { protocol: Some(protocol), port: port.parse().map_err(|_| WANTED)? })
    }
}
