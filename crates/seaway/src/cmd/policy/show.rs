//! `seaway policy show`.

use std::process::ExitCode;

use agent::admin::policy_document;
use anyhow::Context;
use compile::policy::explain;

use super::super::print;
use super::{Judged, NAMESPACE, Output, Source, pod_name};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The pod, as NAME or NAMESPACE/NAME.
    pod: String,
    /// Its namespace.
    #[arg(short, long, default_value = NAMESPACE)]
    namespace: String,
    /// How to print it.
    #[arg(short, long, default_value = "text", value_enum)]
    output: Output,
    #[command(flatten)]
    source: Source,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let objects = args.source.read()?;
    objects.tell();
    let judged = Judged::new(objects.world, objects.learned);
    let name = pod_name(&args.pod, &args.namespace);
    let is_host = judged.world.pods.get(&name).is_some_and(|pod| pod.is_host_network);
    let explained = explain(&judged.judge(), &name).with_context(|| match is_host {
        true => format!("pod {name} has its node's network, which no policy is about"),
        false => format!("there is no pod {name}"),
    })?;
    print(&match args.output {
        Output::Text => explained.to_string(),
        Output::Json => format!("{:#}\n", policy_document(&explained)),
    });
    Ok(ExitCode::SUCCESS)
}
