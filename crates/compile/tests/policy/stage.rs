//! Truth tables about flows on a stage.

use std::net::IpAddr;

use fixtures::policies::{Play, Stage, Step};
use model::{Family, NodeName, ObjectName};
use oracle::Packet;
use oracle::policy::{Flow, Learned, Origin, verdicts};
use serde_json::{Value, json};

/// A stage on which this has happened.
pub(crate) fn after(objects: impl IntoIterator<Item = Value>) -> Play {
    let mut play = Play::new(Stage::NINE, Family::V4);
    objects.into_iter().for_each(|object| play.happen(&Step::Put(object)));
    play
}

/// A block of addresses as a peer.
pub(crate) fn block(cidr: &str, except: &[&str]) -> Value {
    json!({"ipBlock": {"cidr": cidr, "except": except}})
}

/// Checks lines like `x/b > x/a tcp/80 | no | isolated by x/p`: who, whom, what; whether it is allowed; and
/// something that is part of why, of either end.
///
/// Ends are pods and nodes by name, and addresses. `as ADDR` says from whom it seems to be, `led` that a
/// Service led it there. With `6` after the protocol it is over IPv6.
#[track_caller]
pub(crate) fn check(play: &Play, cases: &str) {
    check_learned(play, &Learned::new(), cases);
}

/// The same where names have been answered.
#[track_caller]
pub(crate) fn check_learned(play: &Play, learned: &Learned, cases: &str) {
    for line in cases.trim().lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let verdicts = verdicts(&play.world, learned, &flow(play, cells[0]));
        let why = format!("egress: {}; ingress: {}", verdicts.egress.by, verdicts.ingress.by);
        let want = match cells[1] {
            "yes" => true,
            "no" => false,
            other => panic!("{other:?} is neither yes nor no"),
        };
        assert_eq!(verdicts.is_allowed(), want, "{line}\n{why}");
        let part = cells.get(2).copied().unwrap_or_default();
        assert!(why.contains(part), "{line}\n{why}");
    }
}

/// The flow that a line like `x/b > x/a tcp/80` is about.
pub(crate) fn flow(play: &Play, text: &str) -> Flow {
    let (ends, rest) = text.split_once(" > ").expect("FROM > TO");
    let mut words = rest.split_whitespace();
    let (to, what) = (words.next().expect("TO"), words.next().expect("PROTOCOL"));
    let (what, port) = what.split_once('/').unwrap_or((what, "0"));
    let (what, family) = match what.strip_suffix('6') {
        Some(what) => (what, Family::V6),
        None => (what, Family::V4),
    };
    let protocol = match (what, family) {
        ("tcp", _) => 6,
        ("udp", _) => 17,
        ("sctp", _) => 132,
        ("icmp", Family::V4) => 1,
        ("icmp", Family::V6) => 58,
        ("gre", _) => 47,
        other => panic!("{other:?} is no protocol"),
    };
    let (from, seen) = ends.split_once(" as ").unwrap_or((ends, ends));
    let origin = match from.split_once('/') {
        Some((space, name)) => Origin::Pod(ObjectName::new(space, name)),
        None if from.starts_with("node-") => Origin::Process(from.into()),
        None => Origin::Elsewhere,
    };
    let packet = Packet {
        src: addr(play, seen, family),
        dst: addr(play, to, family),
        protocol,
        dport: port.parse().expect("a port"),
    };
    Flow { origin, packet, is_led: words.next() == Some("led") }
}

fn addr(play: &Play, name: &str, family: Family) -> IpAddr {
    if let Ok(addr) = name.parse() {
        return addr;
    }
    let addrs: Vec<IpAddr> = match name.split_once('/') {
        Some((space, name)) => play.world.pods[&ObjectName::new(space, name)].addrs.clone(),
        None => play.world.nodes[&NodeName::from(name)].ips().collect(),
    };
    addrs.into_iter().find(|addr| Family::of(*addr) == family).expect("an address of the family")
}

/// The pod `NAMESPACE/NAME` of the stage with another value at `pointer`.
pub(crate) fn pod(name: &str, pointer: &str, value: Value) -> Value {
    let stage = Stage::NINE.world();
    let (space, pod) = name.split_once('/').expect("NAMESPACE/NAME");
    let there = &stage.pods[&ObjectName::new(space, pod)];
    let port = |port: &model::NamedPort| {
        let protocol = port.protocol.to_string().to_uppercase();
        json!({"name": *port.name, "containerPort": port.port, "protocol": protocol})
    };
    let addr = |addr: &IpAddr| json!({"ip": addr});
    let mut object = json!({
        "kind": "Pod",
        "metadata": {"namespace": space, "name": pod, "labels": {"pod": pod}, "deletionTimestamp": null},
        "spec": {
            "nodeName": there.node.as_ref().map(|node| node.as_str()),
            "hostNetwork": false,
            "containers": [{"ports": there.ports.iter().map(port).collect::<Vec<_>>()}],
        },
        "status": {"phase": "Running", "podIPs": there.addrs.iter().map(addr).collect::<Vec<_>>()},
    });
    *object.pointer_mut(pointer).expect("a field of a Pod") = value;
    object
}
