//! Every frontend from every kind of client, and the address that endpoints see.

use libtest_mimic::Trial;
use model::Protocol;

use super::stage::{HOST_PORT, Stage, balancer, pod, service};
use super::table::{ALL, Over, TCP, TCP_UDP};
use crate::lab::test;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        test("s22_a_service_has_many_ports_and_named_ones_by_tcp_and_udp_alike", many_ports),
        test("s52_every_packet_to_a_cluster_ip_can_take_the_nodes_address", masquerade_all),
    ];
    for link in ["routed", "bridge"] {
        let name = format!(
            "s3_s21_s22_s24_s44_s45_s46_s47_s49_s50_every_client_reaches_every_frontend_{link}"
        );
        trials.push(test(&name, move || every_client(link)));
        let name = format!("s7_s34_s51_whoever_serves_reaches_itself_{link}");
        trials.push(test(&name, move || hairpin(link)));
    }
    trials
}

/// TCP, UDP and SCTP at one port number, from pods and nodes with and without an endpoint, and from
/// outside.
fn every_client(link: &str) {
    let stage = Stage::up(&["--pod-link", link]);
    let spec = "  type: LoadBalancer\n  externalIPs: [192.0.2.201, '2001:db8:77::201']\n";
    stage.lab.apply(&service("web", "app: web", spec));
    stage.balance("web", &balancer(1));
    // On the bridge, a neighbor's answer would not come by the node.
    let pod_1 = if link == "bridge" { "node-1 itself" } else { "itself" };
    let pod_2 = if link == "bridge" { "itself node-2" } else { "itself" };
    let mut table = String::new();
    for (client, to, seen) in [
        ("pod-1", "cluster", pod_1),
        ("pod-2", "cluster", pod_2),
        ("node-1", "cluster", "itself"),
        ("node-2", "cluster", "itself"),
        ("client", "cluster", "node-1"),
        ("pod-1", "node-1", pod_1),
        ("pod-1", "node-2", "node-2"),
        ("pod-2", "node-1", "node-1"),
        ("node-1", "node-1", "itself"),
        ("node-2", "node-1", "node-1"),
        ("client", "node-1", "node-1"),
        ("client", "node-2", "node-2"),
        ("pod-1", "vip", pod_1),
        ("pod-2", "vip", pod_2),
        ("node-1", "vip", "itself"),
        ("node-2", "vip", "itself"),
        ("client", "vip", "node-1"),
        ("pod-2", "external", pod_2),
        ("node-2", "external", "itself"),
        ("client", "external", "node-1"),
    ] {
        table.push_str(&format!("{client} | {to} | web-1 web-2 | {seen}\n"));
    }
    stage.check("web", ALL, &table);
}

/// A pod and a process of a node's own network reach themselves at every frontend.
fn hairpin(link: &str) {
    let stage = Stage::up(&["--pod-link", link]);
    let host = format!("targetPort: {HOST_PORT}");
    let balanced = "  type: LoadBalancer\n";
    let host = service("host", "app: host", balanced).replace("targetPort: 9090", &host);
    stage.lab.apply(&[service("web", "pod: web-1", balanced), host].concat());
    stage.balance("web", &balancer(1));
    stage.balance("host", &balancer(3));
    stage.check(
        "web",
        ALL,
        "web-1 | cluster | web-1 | node-1
         web-1 | node-1  | web-1 | node-1
         web-1 | vip     | web-1 | node-1",
    );
    stage.check(
        "host",
        TCP_UDP,
        "node-1 | cluster | node-1 | itself
         node-1 | node-1  | node-1 | itself
         node-1 | vip     | node-1 | itself
         node-2 | cluster | node-1 | itself
         node-2 | node-2  | node-1 | itself
         pod-2  | cluster | node-1 | itself
         client | node-1  | node-1 | itself
         client | node-2  | node-1 | node-2",
    );
    // A datagram server that listens everywhere answers a neighbor of its bridge from the bridge's own
    // address, whatever address it was asked at.
    let protocols = if link == "bridge" { TCP } else { TCP_UDP };
    stage.check("host", protocols, "pod-1 | cluster | node-1 | itself");
}

/// One number for two protocols with different targets, and targets by name.
fn many_ports() {
    let stage = Stage::up(&[]);
    let ports = "    ports: [{name: web, containerPort: 9090}, {name: other, containerPort: 9191, protocol: UDP}]\n    \
                 args: [--tcp, '9090', --udp, '9191']\n";
    let named = pod("named-1", "node-2", ports);
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: named}\nspec:\n  \
                   ipFamilyPolicy: PreferDualStack\n  type: NodePort\n  selector: {app: named}\n  ports:\n  \
                   - {name: a, port: 80, targetPort: web, nodePort: 30080}\n  \
                   - {name: b, port: 80, targetPort: other, protocol: UDP, nodePort: 30080}\n  \
                   - {name: c, port: 81, targetPort: web}\n  \
                   - {name: d, port: 82, targetPort: other, protocol: UDP}\n";
    stage.lab.apply(&[named.as_str(), service].concat());
    stage.kubectl(&["wait", "--for=condition=Ready", "pod/named-1", "--timeout=30s"]);
    stage.check(
        "named",
        TCP_UDP,
        "pod-1  | cluster      | named-1 | itself
         client | node-1:30080 | named-1 | node-1",
    );
    stage.check("named", TCP, "pod-1 | cluster:81 | named-1 | itself");
    let udp = Over { protocols: &[Protocol::Udp], ..TCP };
    stage.check("named", udp, "pod-2 | cluster:82 | named-1 | itself");
}

/// Whoever asks, the node has asked.
fn masquerade_all() {
    let stage = Stage::up(&["--masquerade-all"]);
    stage.lab.apply(&service("web", "app: web", ""));
    stage.check(
        "web",
        TCP_UDP,
        "pod-1  | cluster | web-1 web-2 | node-1
         pod-2  | cluster | web-1 web-2 | node-2
         node-1 | cluster | web-1 web-2 | itself",
    );
}
