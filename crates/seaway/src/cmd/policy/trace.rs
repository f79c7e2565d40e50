//! `seaway policy trace`.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use compile::policy::{Connection, Party, Verdict, Verdicts, parties};
use model::{Direction, Family, NodeName, World};
use serde_json::{Map, Value, json};

use super::super::print;
use super::{Judged, NAMESPACE, Output, Port, Source, pod_name};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Who begins the connection: a pod as NAME or NAMESPACE/NAME, a node as node/NAME, or an address.
    from: String,
    /// Who answers it. After a Service that is an endpoint, and not the Service's address.
    to: String,
    /// At which port: tcp/80, udp/53, sctp/9, or icmp.
    port: Port,
    /// Namespace of pods that name none.
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
    let [from, to] = [&args.from, &args.to].map(|text| end(text, &args.namespace, &judged.world));
    let ((client, sources), (server, targets)) = (from?, to?);
    let shared = sources.iter().find_map(|from| {
        let is_of_family = |to: &&IpAddr| Family::of(**to) == Family::of(*from);
        Some((*from, *targets.iter().find(is_of_family)?))
    });
    let (from, to) =
        shared.with_context(|| format!("{client} and {server} have no family in common"))?;
    let icmp = if from.is_ipv4() { 1 } else { 58 };
    let protocol = args.port.protocol.map_or(icmp, model::Protocol::number);
    let port = args.port.port;
    let connection = Connection { client, from, server, to, protocol, port, is_led: false };
    let verdicts = judged.judge().judge(&connection);
    let audit = |direction| judged.judge().audit(&connection, direction);
    let audits = [Direction::Egress, Direction::Ingress].map(|way| Some((way, audit(way)?)));
    let audits: Vec<_> = audits.into_iter().flatten().collect();
    print(&match args.output {
        Output::Text => text(&connection, &verdicts, &audits),
        Output::Json => format!("{:#}\n", document(&connection, &verdicts, &audits)),
    });
    Ok(ExitCode::SUCCESS)
}

/// Who is meant, and the addresses.
fn end(text: &str, namespace: &str, world: &World) -> anyhow::Result<(Party, Vec<IpAddr>)> {
    if let Ok(addr) = text.parse::<IpAddr>() {
        let party = parties(world).remove(&addr).unwrap_or(Party::Elsewhere);
        return Ok((party, vec![addr]));
    }
    if let Some(name) = text.strip_prefix("node/") {
        let name = NodeName::from(name);
        let node = world.nodes.get(&name).with_context(|| format!("there is no node {name}"))?;
        return Ok((Party::Node(name), node.ips().collect()));
    }
    let name = pod_name(text, namespace);
    let Some(pod) = world.pods.get(&name) else { bail!("there is no pod {name}") };
    ensure!(!pod.addrs.is_empty(), "pod {name} has no address");
    match (&pod.node, pod.is_host_network) {
        (Some(node), true) => Ok((Party::Node(node.clone()), pod.addrs.clone())),
        (_, _) => Ok((Party::Pod(name), pod.addrs.clone())),
    }
}

/// What would be said at an end if audited policies were enforced.
type Audited = (Direction, Verdict);

fn text(connection: &Connection, verdicts: &Verdicts, audits: &[Audited]) -> String {
    let Connection { client, from, server, to, .. } = connection;
    let outcome = if verdicts.is_allowed() { "allowed" } else { "dropped" };
    let mut text = format!("{client} ({from}) -> {server} ({to}): {outcome}\n{verdicts}");
    for (direction, would) in audits {
        let outcome = if would.dropped().is_none() { "allowed" } else { "dropped" };
        text.push_str(&format!("audit: {direction} would be {outcome}: {}\n", would.by));
    }
    text
}

fn document(connection: &Connection, verdicts: &Verdicts, audits: &[Audited]) -> Value {
    let verdict = |verdict: &Verdict| {
        json!({
            "allowed": verdict.dropped().is_none(),
            "dropReason": verdict.dropped().map(model::DropReason::name),
            "by": verdict.by.to_string(),
            "passedOver": verdict.steps.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    };
    let audit: Map<String, Value> =
        audits.iter().map(|(direction, would)| (direction.to_string(), verdict(would))).collect();
    json!({
        "from": { "who": connection.client.to_string(), "address": connection.from },
        "to": { "who": connection.server.to_string(), "address": connection.to },
        "allowed": verdicts.is_allowed(),
        "egress": verdict(&verdicts.egress),
        "ingress": verdict(&verdicts.ingress),
        "audit": audit,
    })
}
