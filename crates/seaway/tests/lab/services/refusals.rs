//! Who is refused at once, who is dropped, and that nothing of it leaves the cluster.

use std::net::IpAddr;
use std::thread;

use libtest_mimic::Trial;
use model::{Family, Protocol};

use super::ask::Notice;
use super::stage::{SILENCE, Stage, balancer, service};
use super::table::{ALL, Over, TCP, TCP_UDP};
use crate::capture::{Capture, Where};
use crate::lab::{success, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s38_s41_a_port_without_an_endpoint_refuses_every_client", refused),
        test("s41_an_address_no_service_has_leads_nowhere", unused_address),
        test("s27_s28_s42_source_ranges_keep_strangers_from_a_load_balancers_address", ranges),
    ]
}

/// Nobody serves, and nobody serves that port.
fn refused() {
    let stage = Stage::up(&[]);
    let local =
        "  type: LoadBalancer\n  externalTrafficPolicy: Local\n  internalTrafficPolicy: Local\n";
    let objects = [
        service("none", "app: nobody", "  type: LoadBalancer\n"),
        service("local", "app: nobody", local),
        service("web", "app: web", ""),
    ];
    stage.lab.apply(&objects.concat());
    stage.balance("none", &balancer(1));
    stage.balance("local", &balancer(3));
    let mut everywhere = String::new();
    for client in ["pod-1", "node-1", "client"] {
        for to in ["cluster", "node-1", "vip"] {
            everywhere.push_str(&format!("{client} | {to} | refused\n"));
        }
    }
    // The kernel sends few ICMP errors a second to one client.
    stage.check("none", TCP_UDP, &everywhere);
    stage.check("local", TCP, &everywhere);
    stage.check(
        "web",
        ALL,
        "pod-2  | cluster    | web-1 web-2 | itself
         pod-1  | cluster:81 | refused
         node-2 | cluster:81 | refused
         client | cluster:81 | refused",
    );
}

/// An address of the range that no Service has: dropped on the client's node, whoever asks.
fn unused_address() {
    let stage = Stage::up(&[]);
    let unused = ["10.96.200.200", "fd00:10:96::c8c8"];
    let filter = format!("host {} or host {} or udp port 7999", unused[0], unused[1]);
    let capture = Capture::start(&stage.lab, Where::Node("node-1"), "eth0", 1, &filter);
    thread::scope(|scope| {
        for (client, addr) in ["pod-1", "node-1"].into_iter().flat_map(|c| unused.map(|u| (c, u))) {
            let to = (addr.parse::<IpAddr>().expect("an address"), 80).into();
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                let stage = &stage;
                scope.spawn(move || {
                    let noticed = stage.asks(client, protocol, to, SILENCE);
                    assert_eq!(noticed, Notice::Silence, "{client} {protocol} {to}");
                });
            }
        }
    });
    let neighbor = "10.80.1.12:7999".parse().expect("an address");
    stage.asks("node-1", Protocol::Udp, neighbor, SILENCE);
    let seen = capture.lines();
    assert!(seen.len() == 1 && seen[0].contains(".7999: UDP"), "{seen:?}");
}

/// Ranges hold for the load balancer's address alone, by the address a client really has.
fn ranges() {
    let stage = Stage::up(&[]);
    let limited = "  type: LoadBalancer\n  externalIPs: [192.0.2.201, '2001:db8:77::201']\n  \
                   loadBalancerSourceRanges: [' 198.51.100.0/24', 10.80.1.11/32, 2001:db8:c::/64, \
                   'fd00:80:1::11/128 ']\n";
    let half = "  type: LoadBalancer\n  loadBalancerSourceRanges: [198.51.100.0/24]\n";
    stage.lab.apply(
        &[service("limited", "app: web", limited), service("half", "app: web", half)].concat(),
    );
    stage.balance("limited", &balancer(1));
    stage.balance("half", &balancer(3));
    stage.check(
        "limited",
        ALL,
        "client   | vip      | web-1 web-2 | node-1
         node-1   | vip      | web-1 web-2 | itself
         internet | vip      | silence
         pod-1    | vip      | silence
         node-2   | vip      | silence
         internet | node-1   | web-1 web-2 | node-1
         internet | external | web-1 web-2 | node-1
         pod-1    | cluster  | web-1 web-2 | itself
         internet | cluster  | web-1 web-2 | node-1",
    );
    // A node in one of the ranges may come from the address itself, where it has that.
    for vip in ["192.0.2.1/32", "2001:db8:77::1/128"] {
        let add = ["ip", "addr", "add", vip, "dev", "lo"];
        success(&stage.lab.node("node-1", &add)).expect("give the node the address");
    }
    stage.check(
        "limited",
        TCP_UDP,
        "node-1 | vip | web-1 web-2 | itself\n internet | vip | silence",
    );
    let over = |family| Over { families: family, ..TCP_UDP };
    stage.check(
        "half",
        over(&[Family::V4]),
        "internet | vip | silence\n client | vip | web-1 web-2 | node-1",
    );
    stage.check("half", over(&[Family::V6]), "internet | vip | web-1 web-2 | node-1");
    let rejected = stage.dump("node-1", &["rejected"]);
    assert!(rejected.contains("default/half: spec.loadBalancerSourceRanges"), "{rejected}");
}
