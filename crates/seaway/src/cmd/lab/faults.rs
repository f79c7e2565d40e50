//! `seaway lab kill-node`, `pause-node`, `cut`, …: what can happen to machines and cables.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use lab::fault::{CableState, Impairment, LONGEST_DELAY, Loss};
use lab::lab::Lab;
use lab::supervisor::Fault;
use serde_json::{Value, json};

use super::{print, talk};
use crate::cmd::cluster::Output;

#[derive(clap::Args)]
pub(super) struct Node {
    /// Name of the node.
    node: String,
}

#[derive(clap::Args)]
pub(super) struct Cable {
    /// Name of the cable: a node, subnet1 and so on, client, internet or control.
    cable: String,
}

#[derive(clap::Args)]
pub(super) struct Heal {
    /// Name of the cable; all of them when left out.
    cable: Option<String>,
}

#[derive(clap::Args)]
pub(super) struct Impair {
    /// Name of the cable: a node, or subnet1 and so on.
    cable: String,
    /// Share of frames that are lost, like 10% or 0.5%.
    #[arg(long, default_value = "0%", value_name = "PERCENT")]
    loss: Loss,
    /// How long the others take, in milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    delay: u64,
}

pub(super) fn kill(lab: &Lab, args: Node) -> anyhow::Result<ExitCode> {
    let told = format!("{} has no power; `seaway lab join {0}` starts it again", args.node);
    inflict(lab, Fault::Kill(args.node), &told)
}

pub(super) fn pause(lab: &Lab, args: Node) -> anyhow::Result<ExitCode> {
    let told = format!("{} is paused; `seaway lab resume-node {0}` has it go on", args.node);
    inflict(lab, Fault::Pause(args.node), &told)
}

pub(super) fn resume(lab: &Lab, args: Node) -> anyhow::Result<ExitCode> {
    let told = format!("{} goes on", args.node);
    inflict(lab, Fault::Resume(args.node), &told)
}

pub(super) fn cut(lab: &Lab, args: Cable) -> anyhow::Result<ExitCode> {
    let told = format!("cable {} is cut; `seaway lab heal {0}` mends it", args.cable);
    inflict(lab, Fault::Cut(args.cable), &told)
}

pub(super) fn impair(lab: &Lab, args: Impair) -> anyhow::Result<ExitCode> {
    let Impair { cable, loss, delay } = args;
    let delay = Duration::from_millis(delay);
    ensure!(delay <= LONGEST_DELAY, "--delay {}: at most {LONGEST_DELAY:?}", delay.as_millis());
    let told = format!("cable {cable} loses {loss} and delays {delay:?}, each way");
    inflict(lab, Fault::Impair(cable, Impairment { loss, delay }), &told)
}

pub(super) fn heal(lab: &Lab, args: Heal) -> anyhow::Result<ExitCode> {
    let told = match &args.cable {
        Some(cable) => format!("cable {cable} is whole"),
        None => "every cable is whole".to_owned(),
    };
    inflict(lab, Fault::Heal(args.cable), &told)
}

/// A line per cable: name, ends, state.
pub(super) fn cables(lab: &Lab, output: Output) -> anyhow::Result<ExitCode> {
    let all = lab.cables()?;
    match output {
        Output::Text => {
            for cable in all {
                let [near, far] = &cable.ends;
                print(&format!("{}\t{near} -- {far}\t{}\n", cable.name, cable.fault));
            }
        }
        Output::Json => {
            let all = all.iter().map(|CableState { name, ends, fault }| {
                json!({ "name": name, "ends": ends, "fault": fault.to_string() })
            });
            print(&format!("{:#}\n", all.collect::<Value>()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn inflict(lab: &Lab, fault: Fault, told: &str) -> anyhow::Result<ExitCode> {
    lab.inflict(fault)?;
    talk(told);
    Ok(ExitCode::SUCCESS)
}
