//! Seaway: the whole network of a Kubernetes cluster in one binary.
//!
//! The role is chosen before anything is started: a runtime that calls the CNI plugin pays for no
//! argument parser and no async runtime.

mod cmd;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    };
    result.unwrap_or_else(|error| {
        cmd::talk(&format!("seaway: {error:#}"));
        ExitCode::FAILURE
    })
}
