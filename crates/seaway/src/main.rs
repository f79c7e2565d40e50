//! Seaway: the whole network of a Kubernetes cluster in one binary.
//!
//! The role is chosen before anything is started: a runtime that calls the CNI plugin pays for no
//! argument parser and no async runtime.

mod cmd;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// The whole network of a Kubernetes cluster in one binary.
#[derive(Parser)]
#[command(name = "seaway", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the manifest that brings Seaway to a cluster.
    Install(cmd::install::Args),
    /// Run the agent of one node.
    Agent(Box<cmd::agent::Args>),
    /// Make, use and remove clusters on this machine.
    Lab(cmd::lab::Args),
    /// Check that every path of the network works.
    Check(cmd::check::Args),
    /// Print what a node holds, as tables.
    Dump(cmd::dump::Args),
    /// Explain policies: who reaches whom, by which rules, and what others would change.
    Policy(cmd::policy::Args),
    /// Turn the settings of what was there before into Seaway's.
    Migrate(cmd::migrate::Args),
    /// Show how the network of a cluster is: its nodes, what is red and why.
    Status(cmd::status::Args),
    /// Wait until every node has put in place what an object says.
    Wait(cmd::wait::Args),
    /// Gather what is known of this node, or of a lab, in one file, for whoever is asked to help.
    Bundle(cmd::bundle::Args),
    /// Print what a shell reads to complete commands.
    Completion(cmd::shell::Completion),
    /// Print the man page of a command, or write them all.
    Man(cmd::shell::Man),
}

fn main() -> ExitCode {
    agent::end_with_other_panics();
    if let Some(code) = cmd::inner::run() {
        return code;
    }
    let result = match Cli::parse().command {
        Command::Agent(args) => cmd::agent::run(*args),
        Command::Install(args) => cmd::install::run(args),
        Command::Lab(args) => cmd::lab::run(args),
        Command::Check(args) => cmd::check::run(args),
        Command::Dump(args) => cmd::dump::run(args),
        Command::Policy(args) => cmd::policy::run(args),
        Command::Migrate(args) => cmd::migrate::run(args),
        Command::Status(args) => cmd::status::run(&args),
        Command::Wait(args) => cmd::wait::run(&args),
        Command::Bundle(args) => cmd::bundle::run(&args),
        Command::Completion(args) => Ok(cmd::shell::complete(&args, Cli::command())),
        Command::Man(args) => cmd::shell::man(&args, Cli::command()),
    };
    result.unwrap_or_else(|error| {
        cmd::talk(&format!("seaway: {}", kube::chain(error.as_ref())));
        ExitCode::FAILURE
    })
}
