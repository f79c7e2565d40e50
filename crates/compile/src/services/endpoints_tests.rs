//! Truth tables of endpoint choice, seen from node `a` in zone `east`.

use std::sync::Arc;

use model::{Endpoint, EndpointPort, NodeName, ServiceName, SliceKey};

use super::*;

/// `NODE:STATE[:zone=Z|node=N]`: the i-th endpoint has the address 10.0.0.i.
fn endpoint(at: usize, word: &str) -> Endpoint {
    let mut parts = word.split(':');
    let node = NodeName::from(parts.next().unwrap());
    let (ready, serving, terminating) = match parts.next().unwrap() {
        "ready" => (true, true, false),
        "down" => (false, false, false),
        "draining" => (false, true, true),
        "dying" => (false, false, true),
        "published" => (true, true, true), // publishNotReadyAddresses
        other => panic!("{other}"),
    };
    let mut hints = Hints::default();
    for hint in parts {
        match hint.split_once('=').unwrap() {
            ("zone", zone) => hints.zones.push(zone.to_owned()),
            (_, node) => hints.nodes.push(node.into()),
        }
    }
    Endpoint {
        addr: format!("10.0.0.{}", at + 1).parse().unwrap(),
        node: Some(node),
        conditions: Conditions { ready, serving, terminating },
        hints: (hints != Hints::default()).then(|| Box::new(hints)),
        hostname: None,
        pod: None,
    }
}

fn slice(name: &str, endpoints: Vec<Endpoint>, port: u16) -> EndpointSlice {
    EndpointSlice {
        key: SliceKey { service: ServiceName::new("ns", "web"), slice: name.into() },
        family: Family::V4,
        ports: vec![EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port }],
        endpoints,
        triggered: None,
        is_headless: false,
    }
}

fn port(name: &str) -> ServicePort {
    ServicePort { name: name.into(), protocol: Protocol::Tcp, port: 80, node_port: None }
}

/// The last numbers of the addresses, as `1,2`.
fn numbers(backends: &Arc<[Backend]>) -> String {
    let number = |b: &Backend| b.addr.to_string().rsplit('.').next().unwrap().to_owned();
    backends.iter().map(number).collect::<Vec<_>>().join(",")
}

fn check(line: &str, zone: Option<&str>) {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let [claim, endpoints, cluster, local] = columns[..] else { panic!("{line}") };
    let endpoints = endpoints.split_whitespace().enumerate();
    let slice = slice("x", endpoints.map(|(i, word)| endpoint(i, word)).collect(), 8080);
    let me = NodeName::from("a");
    let candidates = candidates(&[&slice], &port("http"), Family::V4, &me);
    let choice = Choice::among(&candidates, Here { node: &me, zone });
    let got = |policy| numbers(&choice.backends(&candidates, policy));
    assert_eq!(got(TrafficPolicy::Cluster), cluster, "{claim}: cluster");
    assert_eq!(got(TrafficPolicy::Local), local, "{claim}: local");
}

#[test]
fn conditions_and_place_decide_which_endpoints_are_chosen() {
    let cases = "
        ready ones are chosen                       | a:ready b:ready             | 1,2 | 1
        what is down is not                         | a:down b:ready              | 2   |
        terminating ones wait for the last resort   | a:draining b:ready          | 2   | 1
        which each set has for itself               | a:draining b:draining       | 1,2 | 1
        local has its own ready ones                | a:draining a:ready b:ready  | 2,3 | 2
        without serving there is no last resort     | a:dying b:dying             |     |
        draining beats down                         | b:down b:draining           | 2   |
        published ones are ready while they go      | a:published b:ready         | 1,2 | 1
        nothing is nothing                          |                             |     |";
    cases.trim().lines().for_each(|line| check(line, Some("east")));
}

#[test]
fn hints_narrow_the_cluster_set_and_never_the_local_one() {
    let cases = "
        zones                          | a:ready:zone=west b:ready:zone=east            | 2   | 1
        one without a hint disables it | a:ready:zone=west b:ready                      | 1,2 | 1
        none for here disables it      | a:ready:zone=west b:ready:zone=north           | 1,2 | 1
        several zones                  | a:ready:zone=west:zone=east b:ready:zone=west  | 1   | 1
        nodes                          | a:ready:node=b b:ready:node=a                  | 2   | 1
        node before zone               | a:ready:node=b:zone=east b:ready:node=a:zone=west | 2 | 1
        else the zone                  | a:ready:node=b:zone=west b:ready:node=b:zone=east | 2 | 1
        only the ready ones count      | a:draining b:ready:zone=east b:ready:zone=west | 2   | 1
        the last resort knows no hints | a:draining:zone=west b:draining:zone=east      | 1,2 | 1";
    cases.trim().lines().for_each(|line| check(line, Some("east")));
}

#[test]
fn a_node_without_a_zone_uses_no_zone() {
    check("any | a:ready:zone=west b:ready:zone=east | 1,2 | 1", None);
    check("empty | a:ready:zone= b:ready:zone=east | 1,2 | 1", None);
}

#[test]
fn slices_are_merged_and_an_address_in_two_counts_once() {
    let me = NodeName::from("a");
    let first = slice("x", vec![endpoint(0, "b:ready"), endpoint(1, "b:draining")], 8080);
    let second = slice("y", vec![endpoint(0, "a:down"), endpoint(1, "b:ready")], 8080);
    let other_port = slice("z", vec![endpoint(0, "b:ready")], 8081);
    let merged = candidates(&[&first, &second, &other_port], &port("http"), Family::V4, &me);
    let places: Vec<String> = merged.iter().map(|c| c.backend.to_string()).collect();
    assert_eq!(places, ["10.0.0.1:8080 (here)", "10.0.0.1:8081", "10.0.0.2:8080"]);
    assert!(merged[2].conditions.ready, "the copy that stays");
    assert!(candidates(&[&first], &port("dns"), Family::V4, &me).is_empty());
    assert!(candidates(&[&first], &port("http"), Family::V6, &me).is_empty());
}

#[test]
fn addresses_that_mean_something_else_on_every_node_are_never_chosen() {
    let cases = ["127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0", "255.255.255.255"];
    let cases6 = ["::1", "fe80::1", "ff02::1", "::", "::ffff:10.0.0.1"];
    for text in cases.into_iter().chain(cases6) {
        assert!(is_special(text.parse().unwrap()), "{text}");
    }
    for text in ["10.0.0.1", "192.0.2.1", "fd00::1", "2001:db8::1"] {
        assert!(!is_special(text.parse().unwrap()), "{text}");
    }
    let me = NodeName::from("a");
    let mut bad = endpoint(0, "a:ready");
    bad.addr = "127.0.0.1".parse().unwrap();
    let slice = slice("x", vec![bad, endpoint(1, "b:draining")], 80);
    let all = candidates(&[&slice], &port("http"), Family::V4, &me);
    let choice = Choice::among(&all, Here { node: &me, zone: None });
    assert_eq!(numbers(&choice.backends(&all, TrafficPolicy::Cluster)), "2");
}
