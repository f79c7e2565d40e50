//! What could be wrong in the table.

use std::net::IpAddr;

use model::TrafficPolicy;
use seaway_compile::services::{Action, FrontendKind, PortEntry, ServiceTable, Source};

use super::Mistake::{Port, Table};
use super::Named;

pub(super) fn mistakes() -> Vec<Named> {
    vec![
        (
            "S-11: an endpoint is missing",
            Port(|port| port.cluster = port.cluster[1.min(port.cluster.len())..].into()),
        ),
        (
            "S-11: a local one is missing",
            Port(|port| port.local = port.local[1.min(port.local.len())..].into()),
        ),
        (
            "S-12, S-13: Cluster where Local is due",
            Port(|port| send_to(port, TrafficPolicy::Cluster)),
        ),
        ("S-12, S-13: Local where Cluster is due", Port(local_if_any)),
        ("S-23: node ports at other nodes' addresses", Table(all_nodes)),
        ("S-27: source ranges are ignored", Port(let_all_in)),
        ("S-33: no short circuit", Port(no_short_circuit)),
        (
            "S-38: dropped where refused is due",
            Port(|port| swap(port, Action::Reject, Action::Drop)),
        ),
        (
            "S-39, S-40: refused where dropped is due",
            Port(|port| swap(port, Action::Drop, Action::Reject)),
        ),
        ("S-41: cluster IPs that nobody has pass", Table(|table| table.cidrs.clear())),
        (
            "S-44, S-48: the node where the client is due",
            Port(|port| see(port, Source::Kept, Source::Node)),
        ),
        (
            "S-46, S-47: the client where the node is due",
            Port(|port| see(port, Source::Node, Source::Kept)),
        ),
        ("S-54: no affinity", Port(|port| port.affinity = None)),
    ]
}

fn each_action(port: &mut PortEntry, change: impl Fn(&mut Action)) {
    for frontend in &mut port.frontends {
        change(&mut frontend.inside);
        change(&mut frontend.outside);
    }
}

fn send_to(port: &mut PortEntry, policy: TrafficPolicy) {
    each_action(port, |action| {
        if let Action::Forward { to, .. } = action {
            *to = policy;
        }
    });
}

fn local_if_any(port: &mut PortEntry) {
    if !port.local.is_empty() {
        send_to(port, TrafficPolicy::Local);
    }
}

fn swap(port: &mut PortEntry, right: Action, wrong: Action) {
    each_action(port, |action| {
        if *action == right {
            *action = wrong;
        }
    });
}

fn see(port: &mut PortEntry, right: Source, wrong: Source) {
    each_action(port, |action| match action {
        Action::Forward { source, .. } if *source == right => *source = wrong,
        Action::Forward { .. } | Action::Reject | Action::Drop => {}
    });
}

fn let_all_in(port: &mut PortEntry) {
    port.frontends.iter_mut().for_each(|frontend| frontend.allowed = None);
}

fn no_short_circuit(port: &mut PortEntry) {
    let external = |kind| kind != FrontendKind::ClusterIp;
    for frontend in port.frontends.iter_mut().filter(|frontend| external(frontend.kind)) {
        frontend.inside = frontend.outside;
    }
}

fn all_nodes(table: &mut ServiceTable) {
    let all = ["192.0.0.1", "192.0.0.2", "192.0.1.1", "192.0.1.2"];
    table.node_port_addrs.extend(all.map(|ip| ip.parse::<IpAddr>().expect("an address")));
}
