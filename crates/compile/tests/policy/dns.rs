//! Who may ask the cluster's DNS, whichever way a question goes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use fixtures::policies::fate::{addr_of, rows, stale};
use fixtures::policies::write::{egress, pods, selector};
use fixtures::policies::{Play, Step};
use model::{DNS_PORT, Namespace, NodeName, Protocol};
use plan::nft::{
    CtState, HookPoint, Network, Outcome, Packet, Surroundings, TableFamily, Transport, walk,
};
use seaway_compile::policy::{Connection, Judge, Learned, Party, resolve_all};
use serde_json::{Value, json};

use crate::stage::{after, block};

const CLUSTER: &str = "10.96.0.10";
const LOCAL: &str = "169.254.20.10";

/// Policies of namespace x: a may send nothing, b ask as people say it, c at the node's own address.
fn play() -> Play {
    let usual = json!([{
        "to": [{
            "namespaceSelector": selector("kubernetes.io/metadata.name=kube-system"),
            "podSelector": selector("k8s-app=kube-dns"),
        }],
        "ports": [{"protocol": "UDP", "port": "dns"}],
    }]);
    let local = json!([{"to": [block("169.254.20.10/32", &[])], "ports": [{"protocol": "UDP", "port": 53}]}]);
    let mut play = after([
        egress("mute", "pod=a", json!([])),
        egress("usual", "pod=b", usual),
        egress("local", "pod=c", local),
    ]);
    let addrs = [CLUSTER, LOCAL].map(|addr| addr.parse().expect("an address"));
    play.world.config.dns.local_addrs = addrs.into();
    space(&mut play, "kube-system");
    play
}

fn space(play: &mut Play, name: &str) {
    let labels = [(Namespace::NAME_LABEL, name)].into_iter().collect();
    let space = Namespace { name: "kube-system".into(), labels, is_terminating: false };
    play.world.namespaces.insert("kube-system".into(), space.into());
}

/// Whether a question of a pod passes its node: to whom, by which protocol, and whether the kernel tracks it.
fn passes(play: &Play, from: &str, to: SocketAddr, protocol: Protocol, is_tracked: bool) -> bool {
    let all = rows(&play.world);
    let node = play.world.pods[&name(from)].node.clone().expect("a node");
    let src = addr_of(&play.world, from);
    let is_here = !play
        .world
        .nodes
        .values()
        .any(|other| other.name != node && other.ips().any(|ip| ip == to.ip()));
    let link = |name: &str| name.parse().expect("a name of a link");
    let packet = Packet {
        iif: Some(link("sw0")),
        oif: (!is_here).then(|| link("eth0")),
        ether: None,
        network: Network::Ip {
            src,
            dst: to.ip(),
            transport: Transport::Ports {
                protocol: protocol.number(),
                sport: 40_000,
                dport: to.port(),
            },
        },
        ct_state: if is_tracked { CtState::New } else { CtState::Untracked },
        ct_status: BTreeSet::new(),
        is_reply: false,
        connection: is_tracked.then(|| stale(src, to)),
        mark: 0,
        priority: 0,
    };
    let point = if is_here { HookPoint::Input } else { HookPoint::Forward };
    let around = Surroundings::default();
    let outcome = walk(&all[&node], TableFamily::Inet, point, &packet, &around).outcome;
    let is_judged = judged(play, from, to, protocol);
    assert_eq!(
        outcome == Outcome::Accept,
        is_judged,
        "{from} > {to} {protocol}: the judge says {is_judged}"
    );
    is_judged
}

fn name(pod: &str) -> model::ObjectName {
    let (space, name) = pod.split_once('/').expect("NAMESPACE/NAME");
    model::ObjectName::new(space, name)
}

/// What is said of it by who explains.
fn judged(play: &Play, from: &str, to: SocketAddr, protocol: Protocol) -> bool {
    let table = resolve_all(&play.world);
    let learned = Learned::new();
    let judge = Judge { world: &play.world, table: &table, learned: &learned };
    let connection = Connection {
        client: Party::Pod(name(from)),
        from: addr_of(&play.world, from),
        server: Party::Elsewhere,
        to: to.ip(),
        protocol: protocol.number(),
        port: to.port(),
        is_led: false,
    };
    judge.egress(&connection).dropped().is_none()
}

/// Columns are: at the cluster's address, at the one of every node, at the own node's port, at another node's.
#[track_caller]
fn check(play: &Play, table: &str) {
    let node = |name: &str, port| {
        let ip: IpAddr = play.world.nodes[&NodeName::from(name)].ips().next().expect("an address");
        SocketAddr::new(ip, port)
    };
    let dns = |addr: &str| SocketAddr::new(addr.parse().expect("an address"), DNS_PORT);
    let mut said = String::new();
    for line in table.trim().lines() {
        let from = line.split_whitespace().next().expect("a pod");
        let own = play.world.pods[&name(from)].node.clone().expect("a node");
        let other = play.world.nodes.keys().find(|name| **name != own).expect("another node");
        let places = [
            (dns(CLUSTER), false),
            (dns(LOCAL), false),
            (node(own.as_str(), 10053), true),
            (node(other.as_str(), 10053), true),
        ];
        let mut cells = vec![from.to_owned()];
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let may = places.map(|(to, is_tracked)| passes(play, from, to, protocol, is_tracked));
            let may = may.map(|may| if may { "yes" } else { "no" });
            cells.push(format!("{protocol} {}", may.join(" ")));
        }
        said.push_str(&cells.join(" | "));
        said.push('\n');
    }
    let want: Vec<String> = table
        .trim()
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(said.trim().lines().collect::<Vec<_>>(), want);
}

#[test]
fn npn24_npu9_who_may_ask_for_names_may_ask_every_node_and_nobody_else_may() {
    let mut play = play();
    check(
        &play,
        "
        x/a | udp no  no  no  no  | tcp no  no  no  no
        x/b | udp yes yes yes yes | tcp no  no  no  no
        x/c | udp no  yes yes yes | tcp no  no  no  no
        y/a | udp yes yes yes yes | tcp yes yes yes yes",
    );
    // A namespace that is called so no more; and whom a NetworkPolicy lets out everywhere.
    space(&mut play, "other");
    play.happen(&Step::Put(egress("mute", "pod=a", json!([{}]))));
    check(
        &play,
        "
        x/a | udp yes yes yes yes | tcp yes yes yes yes
        x/b | udp no  no  no  no  | tcp no  no  no  no",
    );
}

#[test]
fn npu9_whoever_is_allowed_a_node_is_allowed_its_port_and_not_that_of_the_own_node() {
    let mut play = play();
    let nets: Vec<Value> = play
        .world
        .nodes
        .values()
        .flat_map(|node| node.ips().map(|ip| block(&ipnet::IpNet::from(ip).to_string(), &[])))
        .collect();
    play.happen(&Step::Put(egress("mute", "pod=a", json!([{"to": nets}]))));
    check(&play, "x/a | udp no no no yes | tcp no no no yes");
}

#[test]
fn npu9_who_selects_all_pods_selects_the_dns_and_is_shown_it() {
    let mut play = play();
    play.happen(&Step::Put(egress(
        "mute",
        "pod=a",
        json!([{"to": [{"namespaceSelector": {}}, pods("pod=b")]}]),
    )));
    check(&play, "x/a | udp yes yes yes yes | tcp yes yes yes yes");
    let table = resolve_all(&play.world);
    let learned = Learned::new();
    let judge = Judge { world: &play.world, table: &table, learned: &learned };
    let shown = seaway_compile::policy::explain(&judge, &name("x/b")).expect("the pod").to_string();
    assert!(shown.contains("[1: kube-system/cluster DNS]"), "{shown}");
    assert!(
        table.pods.keys().all(|pod| *pod.namespace != *"kube-system"),
        "it is nobody's subject"
    );
    // Without our DNS there is nobody to stand in for.
    play.world.config.dns.is_served = false;
    play.happen(&Step::Put(egress("usual", "pod=b", json!([]))));
    let dns = SocketAddr::new(CLUSTER.parse().expect("an address"), DNS_PORT);
    assert!(!judged(&play, "x/b", dns, Protocol::Udp));
}
