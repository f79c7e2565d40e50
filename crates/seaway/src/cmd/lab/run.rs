//! Running commands inside a lab.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::Context;
use lab::lab::{Lab, Target};
use lab::node::ContainerOf;
use lab::supervisor::Outside as Host;
use nix::sys::signal::{SigSet, Signal};

pub(super) const CLIENT: Host = Host::Client;
pub(super) const INTERNET: Host = Host::Internet;
pub(super) const ROUTER: Host = Host::Router;
pub(super) const SWITCH: Host = Host::Switch;

#[derive(clap::Args)]
pub(super) struct Exec {
    /// Name of the pod.
    pod: String,
    /// Namespace of the pod.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Name of the container; the pod's first when left out.
    #[arg(short, long)]
    container: Option<String>,
    /// The command and its arguments; a shell when left out.
    #[arg(last = true)]
    command: Vec<OsString>,
}

#[derive(clap::Args)]
pub(super) struct OnNode {
    /// Name of the node.
    node: String,
    /// The command and its arguments; a shell when left out.
    #[arg(last = true)]
    command: Vec<OsString>,
}

#[derive(clap::Args)]
pub(super) struct Outside {
    /// The command and its arguments; a shell when left out.
    #[arg(last = true)]
    command: Vec<OsString>,
}

#[derive(clap::Args)]
pub(super) struct Kubectl {
    /// What to tell kubectl.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

pub(super) fn exec(lab: &Lab, args: Exec) -> anyhow::Result<ExitCode> {
    let Exec { namespace, pod, container, command } = args;
    enter(lab, &Target::Container(ContainerOf { namespace, pod, container }), &command)
}

pub(super) fn on_node(lab: &Lab, args: OnNode) -> anyhow::Result<ExitCode> {
    enter(lab, &Target::Node(args.node), &args.command)
}

pub(super) fn outside(lab: &Lab, host: Host, args: &Outside) -> anyhow::Result<ExitCode> {
    enter(lab, &Target::Outside(host), &args.command)
}

pub(super) fn kubectl(lab: &Lab, args: &Kubectl) -> anyhow::Result<ExitCode> {
    let mut command = Command::new("kubectl");
    command.env("KUBECONFIG", lab.kubeconfig()).args(&args.words);
    Err(command.exec()).context("start kubectl")
}

/// Runs `words` inside `target` and passes its exit code on, 128 and the signal's number if a signal
/// ended it, as a shell does.
fn enter(lab: &Lab, target: &Target, words: &[OsString]) -> anyhow::Result<ExitCode> {
    let namespaces = lab.enter(target)?;
    let shell = [OsString::from("sh")];
    let words = if words.is_empty() { &shell[..] } else { words };
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("PATH", path_with_us()?);
    let mut child = namespaces
        .spawn(&mut command)
        .with_context(|| format!("start {}", words[0].to_string_lossy()))?;
    // From the keyboard these reach the command as well, which is to decide what they mean.
    let mut keyboard = SigSet::empty();
    keyboard.add(Signal::SIGINT);
    keyboard.add(Signal::SIGQUIT);
    keyboard.thread_block()?;
    Ok(code(child.wait()?))
}

/// The caller's PATH with the folder of this program: `seaway` is the same inside as outside.
fn path_with_us() -> anyhow::Result<OsString> {
    let us = std::env::current_exe().context("find this program")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(us.parent().map(PathBuf::from));
    Ok(std::env::join_paths(folders)?)
}

fn code(status: ExitStatus) -> ExitCode {
    let number = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(number).unwrap_or(u8::MAX))
}
