//! Clients that stay with their endpoint.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use model::{Family, Protocol};
use serde_json::{Value, json};

use super::ask::ask;
use super::endpoints::slices;
use super::stage::{Stage, balancer, service};
use super::table::{ALL, TCP_UDP};
use crate::lab::{eventually, success, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s54_s57_affinity_is_of_a_client_and_a_port_whatever_the_frontend", frontends),
        test("s54_s58_clients_outside_are_told_apart_before_they_take_the_nodes_address", outside),
        test("s55_affinity_ends_with_its_time_and_each_connection_renews_it", time),
        test("s56_a_client_whose_endpoint_may_not_be_used_gets_another_and_keeps_it", chosen),
    ]
}

/// How many questions in a row one of two endpoints does not answer by chance alone: once in 2^24.
const OFTEN: usize = 25;
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

fn sticky(seconds: u32) -> Value {
    let config = json!({ "clientIP": { "timeoutSeconds": seconds } });
    json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": config })
}

/// Who answers `who`.
fn answer(stage: &Stage, who: &str, protocol: Protocol, to: SocketAddr) -> String {
    eventually("somebody answers", || stage.hears(who, protocol, to).answer()).0
}

/// Everybody who answers `who`, asking often.
fn answers(stage: &Stage, who: &str, to: SocketAddr) -> BTreeSet<String> {
    (0..OFTEN).map(|_| answer(stage, who, Protocol::Tcp, to)).collect()
}

/// One endpoint for all frontends of a port, on each node and in each family for itself; switched on
/// and off.
fn frontends() {
    let stage = Stage::up(&[]);
    let both = "pod-1 | cluster | web-1 web-2 | itself\n pod-1 | node-1 | web-1 web-2 | itself
                pod-1 | vip | web-1 web-2 | itself";
    stage.lab.apply(&service("web", "app: web", "  type: LoadBalancer\n"));
    stage.balance("web", &balancer(1));
    stage.check("web", ALL, both);
    let at = stage.frontends("web");
    for seconds in [100, 10_800] {
        stage.change("web", &sticky(seconds));
        for (family, protocol) in Family::ALL.into_iter().flat_map(|f| PROTOCOLS.map(|p| (f, p))) {
            for client in ["pod-1", "pod-2", "node-1"] {
                let to = ["cluster", "node-1", "vip"].map(|to| at.at(to, family, protocol));
                let one = || -> BTreeSet<String> {
                    let asked = (0..OFTEN).map(|n| to[n % 3]).filter(|to| {
                        // From elsewhere, a node port is remembered by its own node.
                        client != "pod-2" || *to != at.at("node-1", family, protocol)
                    });
                    asked.map(|to| answer(&stage, client, protocol, to)).collect()
                };
                eventually("one endpoint answers at every frontend", || match one() {
                    hosts if hosts.len() == 1 => Ok(()),
                    hosts => Err((client, family, protocol, hosts)),
                });
            }
        }
    }
    stage.change("web", &json!({ "sessionAffinity": "None", "sessionAffinityConfig": null }));
    stage.check("web", ALL, both);
}

/// Many clients at one node port, all of which its endpoints see as the node.
fn outside() {
    let stage = Stage::up(&[]);
    let affine = "  type: NodePort\n  sessionAffinity: ClientIP\n";
    stage.lab.apply(&service("web", "app: web", affine));
    stage.check("web", TCP_UDP, "pod-1 | cluster:81 | refused");
    let clients: Vec<IpAddr> = (101..=120).map(|n| IpAddr::from([198, 51, 100, n])).collect();
    for client in &clients {
        let net = format!("{client}/24");
        success(&stage.lab.client(&["ip", "addr", "add", &net, "dev", "eth0"]))
            .expect("an address");
    }
    let at = stage.frontends("web");
    let to = at.at("node-1", Family::V4, Protocol::Tcp);
    let ask_from = |from: IpAddr| {
        let ask = || ask(Protocol::Tcp, Some(SocketAddr::new(from, 0)), to, Duration::from_secs(2));
        let noticed = stage.at("client").netns.run(ask).expect("enter the client's network");
        let (host, saw) = noticed.answer().expect("somebody answers");
        assert!(stage.at("node-1").addrs().contains(&saw), "{saw} was seen");
        host
    };
    eventually("both endpoints are there", || {
        let dump = stage.dump("node-1", &["services", "default/web"]);
        if dump.matches("cluster: yes").count() == 12 { Ok(()) } else { Err(dump) }
    });
    let first: Vec<String> = clients.iter().map(|client| ask_from(*client)).collect();
    let hosts: BTreeSet<&String> = first.iter().collect();
    assert_eq!(hosts.len(), 2, "twenty clients have not all the same endpoint: {first:?}");
    for _ in 0..5 {
        let again: Vec<String> = clients.iter().map(|client| ask_from(*client)).collect();
        assert_eq!(first, again);
    }
}

/// A silence longer than the timeout and a new choice; no silence and the old one, for longer than
/// the timeout. Another timeout holds at once.
fn time() {
    let stage = Stage::up(&[]);
    stage.lab.apply(&service("web", "app: web", ""));
    stage.check("web", TCP_UDP, "pod-1 | cluster | web-1 web-2 | itself");
    stage.change("web", &sticky(3600));
    let at = stage.frontends("web");
    let to = at.at("cluster", Family::V4, Protocol::Tcp);
    eventually("one endpoint answers", || match answers(&stage, "pod-1", to) {
        hosts if hosts.len() == 1 => Ok(()),
        hosts => Err(hosts),
    });
    stage.change("web", &sticky(1));
    eventually("the client is forgotten after a while", || {
        let first = answer(&stage, "pod-1", Protocol::Tcp, to);
        thread::sleep(Duration::from_millis(1100));
        let second = answer(&stage, "pod-1", Protocol::Tcp, to);
        if first == second { Err(first) } else { Ok(()) }
    });
    stage.change("web", &sticky(3));
    eventually(
        "one endpoint answers for more than three seconds, as it is asked all the time",
        || {
            let (start, first) = (Instant::now(), answer(&stage, "pod-1", Protocol::Tcp, to));
            let mut last = start;
            while start.elapsed() < Duration::from_secs(4) {
                thread::sleep(Duration::from_millis(100));
                let host = answer(&stage, "pod-1", Protocol::Tcp, to);
                // On a machine that stands still the client may well be forgotten.
                if last.elapsed() > Duration::from_secs(2) || host != first {
                    return Err((last.elapsed(), first, host));
                }
                last = Instant::now();
            }
            Ok(())
        },
    );
}

/// The remembered endpoint ends, is hinted away, or is on another node than the policy wants.
fn chosen() {
    let stage = Stage::up(&["--zones", "2"]);
    let affine = "  type: NodePort\n  sessionAffinity: ClientIP\n";
    let all = slices(&stage, "web", "all", "web-1:ready web-2:ready");
    stage.lab.apply(&[service("web", "", affine), all.clone()].concat());
    let at = stage.frontends("web");
    let other = |host: &str| if host == "web-1" { "web-2" } else { "web-1" };
    for family in Family::ALL {
        let to = at.at("cluster", family, Protocol::Tcp);
        let is_kept = |host: &str| {
            eventually(&format!("{host} alone answers"), || match answers(&stage, "pod-1", to) {
                hosts if hosts.len() == 1 && hosts.contains(host) => Ok(()),
                hosts => Err(hosts),
            });
        };
        let had = answer(&stage, "pod-1", Protocol::Tcp, to);
        is_kept(&had);
        let next = other(&had);
        let ends = format!("{had}:terminating {next}:ready");
        stage.lab.apply(&slices(&stage, "web", "all", &ends));
        is_kept(next);
        // Back again, and not asked any more: the client has another.
        stage.lab.apply(&all);
        is_kept(next);
        let hinted = format!("{next}:zone=lab-zone-2 {had}:zone=lab-zone-1");
        stage.lab.apply(&slices(&stage, "web", "all", &hinted));
        is_kept(&had);
        stage.lab.apply(&all);
        is_kept(&had);
        stage.change("web", &json!({ "internalTrafficPolicy": "Local" }));
        is_kept("web-1");
        stage.change("web", &json!({ "internalTrafficPolicy": "Cluster" }));
        is_kept("web-1");
    }
}
