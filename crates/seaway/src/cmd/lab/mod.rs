//! `seaway lab`: make, use and remove clusters on this machine.

mod faults;
mod kubeconfig;
mod logs;
mod objects;
mod run;
mod status;
mod up;

use std::process::ExitCode;

use lab::directory::Directory;
use lab::down::{Found, down};
use lab::images::Store;
use lab::lab::Lab;
use lab::spec::LabName;
use serde_json::{Value, json};

use super::{print, talk};
use crate::cmd::cluster::Output;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the lab.
    #[arg(long, global = true, default_value = "lab", env = "SEAWAY_LAB")]
    name: LabName,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a lab and wait until everything in it is ready.
    Up(Box<up::Args>),
    /// Take a lab down; nothing of it is left, whatever state it is in.
    Down(DownArgs),
    /// List the labs of this machine.
    List(Shown),
    /// Show nodes and pods.
    Status(status::Args),
    /// Make or change the objects of manifests.
    Apply(objects::Args),
    /// Delete the objects of manifests.
    Delete(objects::Args),
    /// Run a command in a container of a pod.
    Exec(run::Exec),
    /// Run a command on a node.
    Node(run::OnNode),
    /// Run a command on the host outside that uses the cluster.
    Client(run::Outside),
    /// Run a command on the host outside that the cluster uses.
    Internet(run::Outside),
    /// Run a command on the underlay's router.
    Router(run::Outside),
    /// Run a command on the underlay's switch, where every node's cable ends.
    Switch(run::Outside),
    /// Print logs: of a container, a node and its agent, or the lab itself.
    Logs(logs::Args),
    /// Print the path of the kubeconfig, or put the lab into your own.
    Kubeconfig(kubeconfig::Args),
    /// Run kubectl against the lab.
    Kubectl(run::Kubectl),
    /// Load the images of an archive (OCI image layout or `docker save`), for pods of all nodes.
    Load(LoadArgs),
    /// Start one more node, or one that died or left.
    Join(JoinArgs),
    /// Take a node out: its pods end, then the node.
    Leave(LeaveArgs),
    /// Put another agent in the place of a node's; nothing on the node notices.
    RestartAgent(RestartArgs),
    /// Cut a node's power: it is gone without a word; `join` starts it again.
    KillNode(faults::Node),
    /// Freeze a node: its processes stop, and it answers no packet.
    PauseNode(faults::Node),
    /// Have a paused node go on.
    ResumeNode(faults::Node),
    /// List the cables and what is wrong with them.
    Cables(Shown),
    /// Pull a cable out.
    Cut(faults::Cable),
    /// Have a cable lose and delay frames, in each direction.
    Impair(faults::Impair),
    /// Make a cable whole again, or all of them.
    Heal(faults::Heal),
}

#[derive(clap::Args)]
struct Shown {
    /// Form of the output: text or json.
    #[arg(short, long, default_value = "text", value_enum)]
    output: Output,
}

#[derive(clap::Args)]
struct DownArgs {
    /// Every lab of this machine.
    #[arg(long)]
    all: bool,
}

#[derive(clap::Args)]
struct LoadArgs {
    /// The archive: a tar file, which may be compressed by gzip.
    archive: std::path::PathBuf,
    /// Name of the image, instead of the one in the archive.
    #[arg(long = "as", value_name = "NAME")]
    named: Option<String>,
}

#[derive(clap::Args)]
struct JoinArgs {
    /// Name of the node; the next number when left out.
    node: Option<String>,
    /// How long the node may take to be ready, in seconds.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

#[derive(clap::Args)]
struct LeaveArgs {
    /// Name of the node.
    node: String,
}

#[derive(clap::Args)]
struct RestartArgs {
    /// Name of the node.
    node: String,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { name, command } = args;
    match command {
        Command::Up(args) => up::run(name, *args),
        Command::Down(args) => take_down(&name, &args),
        Command::List(args) => list(args.output),
        Command::Status(args) => status::run(&open(&name)?, &args),
        Command::Apply(args) => objects::apply(&open(&name)?, &args),
        Command::Delete(args) => objects::delete(&open(&name)?, &args),
        Command::Exec(args) => run::exec(&open(&name)?, args),
        Command::Node(args) => run::on_node(&open(&name)?, args),
        Command::Client(args) => run::outside(&open(&name)?, run::CLIENT, &args),
        Command::Internet(args) => run::outside(&open(&name)?, run::INTERNET, &args),
        Command::Router(args) => run::outside(&open(&name)?, run::ROUTER, &args),
        Command::Switch(args) => run::outside(&open(&name)?, run::SWITCH, &args),
        Command::Logs(args) => logs::run(&Directory::of(&name), args),
        Command::Kubeconfig(args) => kubeconfig::run(&name, args),
        Command::Kubectl(args) => run::kubectl(&open(&name)?, &args),
        Command::Load(args) => load(&open(&name)?, &args),
        Command::Join(args) => join(&open(&name)?, &args),
        Command::RestartAgent(args) => {
            open(&name)?.restart_agent(&args.node)?;
            talk(&format!("the agent of {} is another one", args.node));
            Ok(ExitCode::SUCCESS)
        }
        Command::KillNode(args) => faults::kill(&open(&name)?, args),
        Command::PauseNode(args) => faults::pause(&open(&name)?, args),
        Command::ResumeNode(args) => faults::resume(&open(&name)?, args),
        Command::Cables(args) => faults::cables(&open(&name)?, args.output),
        Command::Cut(args) => faults::cut(&open(&name)?, args),
        Command::Impair(args) => faults::impair(&open(&name)?, args),
        Command::Heal(args) => faults::heal(&open(&name)?, args),
        Command::Leave(args) => {
            open(&name)?.leave(&args.node)?;
            talk(&format!("{} has left lab {name}", args.node));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The lab, which must be up and ours to use.
fn open(name: &LabName) -> anyhow::Result<Lab> {
    Ok(Lab::open(name)?)
}

fn take_down(name: &LabName, args: &DownArgs) -> anyhow::Result<ExitCode> {
    let names = if args.all { Directory::all()? } else { vec![name.clone()] };
    for name in names {
        let told = match down(&Directory::of(&name))? {
            Found::Up => "is down; nothing of it is left",
            Found::Remains => "was dead; what it had left is gone",
            Found::Nothing => "is not up; there is nothing to take down",
        };
        talk(&format!("lab {name} {told}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn list(output: Output) -> anyhow::Result<ExitCode> {
    let state = |name: &LabName| if Directory::of(name).is_up() { "up" } else { "dead" };
    let all = Directory::all()?;
    match output {
        Output::Text => all.iter().for_each(|name| print(&format!("{name}\t{}\n", state(name)))),
        Output::Json => {
            let lab = |name| json!({ "name": LabName::as_str(name), "state": state(name) });
            print(&format!("{:#}\n", all.iter().map(lab).collect::<Value>()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn load(lab: &Lab, args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let store = Store::at(Directory::of(lab.name()).images());
    for name in store.load(&args.archive, args.named.as_deref())? {
        talk(&format!("image {name} is in lab {}", lab.name()));
    }
    Ok(ExitCode::SUCCESS)
}

fn join(lab: &Lab, args: &JoinArgs) -> anyhow::Result<ExitCode> {
    let node = lab.join(args.node.as_deref())?;
    let wanted = lab::wait::Wanted { nodes: vec![node.clone()], pods: Vec::new() };
    up::wait(lab, &wanted, std::time::Duration::from_secs(args.timeout))?;
    talk(&format!("{node} has joined lab {}", lab.name()));
    Ok(ExitCode::SUCCESS)
}
