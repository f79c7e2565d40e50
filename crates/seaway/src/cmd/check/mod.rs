//! `seaway check`: whether every path of a lab's network works, tried from inside the pods.
//!
//! In each pod, on each node and on the host outside, a responder answers on a free port. Then every
//! place sends to every other: a TCP connection, a UDP datagram, and a datagram that
//! fills the MTU with DF set. The responder says from which address it was reached, so that a
//! translation where none belongs is a failure, and so is a missing one on the way out.

mod matrix;
mod places;
mod probe;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use lab::spec::LabName;

/// Check that every path of a lab's network works.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The lab to check.
    #[arg(long, default_value = "lab", env = "SEAWAY_LAB")]
    name: LabName,
    /// Try every pair of pods; otherwise at most three pods of each node.
    #[arg(long)]
    all: bool,
    /// How long one probe may take, in seconds.
    #[arg(long, default_value_t = 3)]
    timeout: u64,
    /// How to print the result.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A line per kind of path, then every failure.
    Table,
    /// Every probe, as JSON.
    Json,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let places = places::find(&args.name, args.all)?;
    let results = matrix::run(&places, Duration::from_secs(args.timeout))?;
    let text = match args.output {
        Format::Table => report::table(&results),
        Format::Json => report::json(&results),
    };
    super::print(&text);
    let green = !results.is_empty() && results.iter().all(|result| result.outcome.is_ok());
    Ok(if green { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
