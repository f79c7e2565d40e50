//! Every frontend from every kind of client, and the address that endpoints see.

use std::net::{SocketAddr, UdpSocket};

use libtest_mimic::Trial;
use model::{Family, Protocol};

use super::stage::{HOST_PORT, SILENCE, Stage, balancer, pod, service};
use super::table::{ALL, Over, TCP, TCP_UDP};
use crate::lab::{eventually, success, test};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        test("s21_s22_s24_services_have_many_ports_with_and_without_names", many_ports),
        test("s44_s52_every_packet_to_a_cluster_ip_can_take_the_nodes_address", masquerade_all),
    ];
    trials.push(test("s21_s24_what_fits_no_packet_arrives_all_the_same", large));
    for family in ["ipv4", "ipv6"] {
        let name = format!("s21_s24_s35_s44_s46_a_cluster_of_one_family_has_services_{family}");
        trials.push(test(&name, move || one_family(family)));
    }
    for link in ["routed", "bridge"] {
        for (routing, subnets) in [("direct", "1"), ("auto", "2")] {
            let name = format!(
                "s3_s21_s24_s44_s45_s46_s47_s49_s50_every_client_reaches_every_frontend_{link}_{routing}"
            );
            let flags = ["--pod-link", link, "--routing", routing, "--subnets", subnets];
            trials.push(test(&name, move || every_client(&flags)));
        }
        let name = format!("s7_s34_s51_whoever_serves_reaches_itself_{link}");
        trials.push(test(&name, move || hairpin(link)));
    }
    trials
}

/// TCP, UDP and SCTP at one port number, from pods, nodes and outside; nodes share a subnet, or a
/// router is between them.
fn every_client(flags: &[&str]) {
    let stage = Stage::up(flags);
    let spec = "  type: LoadBalancer\n  externalIPs: [192.0.2.201, '2001:db8:77::201']\n";
    stage.lab.apply(&service("web", "app: web", spec));
    stage.balance("web", &balancer(1));
    let mut table = String::new();
    for (client, to, seen) in [
        ("pod-1", "cluster", "itself"),
        ("pod-2", "cluster", "itself"),
        ("node-1", "cluster", "itself"),
        ("node-2", "cluster", "itself"),
        ("client", "cluster", "node-1"),
        ("pod-1", "node-1", "itself"),
        ("pod-1", "node-2", "node-2"),
        ("pod-2", "node-1", "node-1"),
        ("node-1", "node-1", "itself"),
        ("node-2", "node-1", "node-1"),
        ("client", "node-1", "node-1"),
        ("client", "node-2", "node-2"),
        ("pod-1", "vip", "itself"),
        ("pod-2", "vip", "itself"),
        ("node-1", "vip", "itself"),
        ("node-2", "vip", "itself"),
        ("client", "vip", "node-1"),
        ("pod-2", "external", "itself"),
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

/// Everything above, where nodes and pods have one family.
fn one_family(name: &str) {
    let stage = Stage::up(&["--ip-family", name]);
    stage.lab.apply(&service("web", "app: web", "  type: NodePort\n"));
    let family = if name == "ipv4" { Family::V4 } else { Family::V6 };
    stage.check(
        "web",
        Over { families: &[family], ..ALL },
        "pod-1  | cluster | web-1 web-2 | itself
         node-2 | cluster | web-1 web-2 | itself
         client | cluster | web-1 web-2 | node-1
         pod-2  | node-2  | web-1 web-2 | itself
         client | node-2  | web-1 web-2 | node-2",
    );
}

/// One number for two protocols with different targets, and targets by name; curl is the judge.
fn many_ports() {
    let stage = Stage::up(&[]);
    let ports = "    ports: [{name: web, containerPort: 8080}, {name: other, containerPort: 9191, protocol: UDP}]\n    \
                 args: [--http, '8080', --tcp, '9090', --udp, '9191']\n";
    let named = pod("named-1", "node-2", ports);
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: named}\nspec:\n  \
                   ipFamilyPolicy: PreferDualStack\n  type: NodePort\n  selector: {app: named}\n  ports:\n  \
                   - {name: a, port: 80, targetPort: 9090, nodePort: 30080}\n  \
                   - {name: b, port: 80, targetPort: other, protocol: UDP, nodePort: 30080}\n  \
                   - {name: c, port: 8000, targetPort: web, nodePort: 30081}\n  \
                   - {name: d, port: 82, targetPort: other, protocol: UDP}\n";
    stage.lab.apply(&[named.as_str(), service].concat());
    stage.kubectl(&["wait", "--for=condition=Ready", "pod/named-1", "--timeout=30s"]);
    stage.check(
        "named",
        TCP_UDP,
        "pod-1  | cluster      | named-1 | itself
         client | node-1:30080 | named-1 | node-1",
    );
    let udp = Over { protocols: &[Protocol::Udp], ..TCP };
    stage.check("named", udp, "pod-2 | cluster:82 | named-1 | itself");
    let frontends = stage.frontends("named");
    for family in Family::ALL {
        let at = |name: &str| format!("http://{}/", frontends.at(name, family, Protocol::Tcp));
        for url in [at("cluster:8000"), at("node-1:30081"), at("node-2:30081")] {
            let get = ["curl", "-sf", "-m", "5", &url];
            for (client, output) in [
                ("a pod of another node", stage.lab.exec("pod-1", &get)),
                ("a pod of the node", stage.lab.exec("pod-2", &get)),
                ("the pod itself", stage.lab.exec("named-1", &get)),
                ("a node", stage.lab.node("node-1", &get)),
                ("the pod's node", stage.lab.node("node-2", &get)),
                ("a client outside", stage.lab.client(&get)),
            ] {
                let page = success(&output).unwrap_or_else(|e| panic!("{url} from {client}: {e}"));
                assert!(page.contains("host: named-1"), "{url} from {client}: {page}");
            }
        }
    }
}

/// Datagrams in fragments and a long request, to an endpoint behind an overlay whose packets are smaller
/// than the client's.
fn large() {
    let stage = Stage::up(&["--subnets", "2"]);
    let http = "  - {name: http, port: 81, targetPort: 8080}\n  type: NodePort\n";
    stage.lab.apply(&service("web", "pod: web-2", http));
    stage.check(
        "web",
        TCP_UDP,
        "pod-1 | cluster | web-2 | itself\n client | node-1 | web-2 | node-1",
    );
    let frontends = stage.frontends("web");
    let cluster = Family::ALL.map(|f| ("pod-1", frontends.at("cluster", f, Protocol::Udp)));
    let node_port = Family::ALL.map(|f| ("client", frontends.at("node-1", f, Protocol::Udp)));
    for (client, to) in cluster.into_iter().chain(node_port) {
        for size in [1450, 4_000, 20_000] {
            // The first that is too big for IPv6 is lost: so its sender learns.
            eventually(&format!("{client} sends {size} bytes to {to}"), || {
                let send = || datagram(to, size).map_err(|error| error.to_string());
                stage.at(client).netns.run(send).expect("enter the client's network")
            });
        }
    }
    let post = "head -c 900000 /dev/zero | curl -sf -m 5 --data-binary @- ";
    for family in Family::ALL {
        let url = format!("http://{}/", frontends.at("cluster:81", family, Protocol::Tcp));
        for output in [
            stage.lab.exec("pod-1", &["sh", "-c", &format!("{post}{url}")]),
            stage.lab.client(&["sh", "-c", &format!("{post}{url}")]),
        ] {
            let page = success(&output).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert!(page.contains("host: web-2") && page.contains("900000"), "{url}: {page}");
        }
    }
}

/// One datagram of `size` bytes and the beginning of it back.
fn datagram(to: SocketAddr, size: usize) -> std::io::Result<()> {
    let socket = UdpSocket::bind((fixtures::sctp::any(Family::of(to.ip())), 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.send(&vec![b'x'; size])?;
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer)?;
    assert!(answer[..length].ends_with(b"xxxx"), "not what was sent");
    Ok(())
}

/// Whoever asks, the node has asked.
fn masquerade_all() {
    let stage = Stage::up(&["--masquerade-all", "--routing", "vxlan"]);
    stage.lab.apply(&service("web", "app: web", ""));
    stage.check(
        "web",
        TCP_UDP,
        "pod-1  | cluster | web-1 web-2 | node-1
         pod-2  | cluster | web-1 web-2 | node-2
         node-1 | cluster | web-1 web-2 | itself",
    );
}
