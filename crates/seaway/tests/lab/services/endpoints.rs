//! EndpointSlices written by hand.

use model::{Family, Protocol};

use super::stage::{PORT, Stage};

/// The slices of the Service `service`, one for each family, whose names end in `part`.
///
/// `endpoints` are words like `web-1:terminating`, `web-2:ready,zone=a,node=node-2` or
/// `203.0.113.10`, of which an address is in the slice of its family alone.
pub(crate) fn slices(stage: &Stage, service: &str, part: &str, endpoints: &str) -> String {
    let slices = Family::ALL.map(|family| {
        let words = endpoints.split_whitespace();
        let endpoints: Vec<String> =
            words.filter_map(|word| endpoint(stage, family, word)).collect();
        slice(service, part, family, PORT, &endpoints.join("\n"))
    });
    slices.concat()
}

/// One slice with these endpoints, items of a YAML list.
pub(crate) fn slice(
    service: &str,
    part: &str,
    family: Family,
    port: u16,
    endpoints: &str,
) -> String {
    let kind = match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let ports = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(|protocol| {
        let upper = protocol.to_string().to_uppercase();
        format!("- {{name: {protocol}, protocol: {upper}, port: {port}}}\n")
    });
    let endpoints = if endpoints.is_empty() { "  []" } else { endpoints };
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}-{part}-{family}\n  \
         labels: {{kubernetes.io/service-name: {service}}}\naddressType: {kind}\nports:\n{}endpoints:\n{endpoints}\n",
        ports.concat()
    )
}

fn endpoint(stage: &Stage, family: Family, word: &str) -> Option<String> {
    let written: Option<std::net::IpAddr> = word.parse().ok();
    if let Some(addr) = written {
        return (Family::of(addr) == family).then(|| format!("- {{addresses: ['{addr}']}}"));
    }
    let (name, state) = word.split_once(':').unwrap_or((word, "unset"));
    let mut more = String::new();
    let mut node = if name.ends_with('1') { "node-1" } else { "node-2" };
    for part in state.split(',') {
        match part.split_once('=') {
            Some(("zone", zone)) => more += &format!(", hints: {{forZones: [{{name: {zone}}}]}}"),
            Some(("for", node)) => more += &format!(", hints: {{forNodes: [{{name: {node}}}]}}"),
            Some(("node", other)) => node = other,
            Some((other, _)) => panic!("no {other} of an endpoint"),
            None => more += conditions(part),
        }
    }
    let addr = stage.at(name).addr(family);
    let node = if node.is_empty() { String::new() } else { format!(", nodeName: {node}") };
    Some(format!("- {{addresses: ['{addr}']{node}{more}}}"))
}

/// Conditions by what they mean.
fn conditions(state: &str) -> &'static str {
    match state {
        "unset" => "",
        "ready" => ", conditions: {ready: true, serving: true, terminating: false}",
        "terminating" => ", conditions: {ready: false, serving: true, terminating: true}",
        "unready" => ", conditions: {ready: false}",
        "ending" => ", conditions: {ready: false, serving: false, terminating: true}",
        // `publishNotReadyAddresses`.
        "published" => ", conditions: {ready: true, serving: false, terminating: true}",
        other => panic!("no state {other}"),
    }
}
