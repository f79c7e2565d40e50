//! `seaway policy show`.

use std::process::ExitCode;

use anyhow::Context;
use compile::policy::{Explained, ExplainedPeers, ExplainedTarget, ExplainedWay, explain};
use model::RuleAction;
use serde_json::{Value, json};

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
        Output::Json => format!("{:#}\n", document(&explained)),
    });
    Ok(ExitCode::SUCCESS)
}

fn document(explained: &Explained) -> Value {
    let Explained { pod, node, addrs, ways, faults } = explained;
    let [ingress, egress] = ways.each_ref().map(way);
    json!({
        "namespace": &*pod.namespace,
        "name": &*pod.name,
        "node": node.as_ref().map(|node| node.as_str()),
        "addresses": addrs,
        "ingress": ingress,
        "egress": egress,
        "closed": faults,
    })
}

fn way(way: &ExplainedWay) -> Value {
    let isolated: Vec<String> = way.isolated_by.iter().map(ToString::to_string).collect();
    let rules = way.rules.iter().map(|rule| {
        json!({
            "rule": rule.rule.to_string(),
            "action": match rule.action {
                RuleAction::Accept => "accept",
                RuleAction::Deny => "deny",
                RuleAction::Pass => "pass",
            },
            "targets": rule.targets.iter().map(target).collect::<Vec<_>>(),
        })
    });
    json!({ "isolatedBy": isolated, "rules": rules.collect::<Vec<_>>() })
}

fn target(target: &ExplainedTarget) -> Value {
    let peers =
        |peers: &ExplainedPeers| json!({ "selector": peers.selector, "members": peers.members });
    let all = target.peers.as_ref().map(|all| all.iter().map(peers).collect::<Vec<_>>());
    json!({ "peers": all, "ports": target.ports })
}
