//! What names cost: `cargo bench -p seaway-plan --bench zone`. Numbers, not a test.
//!
//! 10,000 Services and 600 headless ones with 250 endpoints each: 160,600 names, and as many
//! addresses that lead back (DNS-122, DNS-124).
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a benchmark reads the clock, and how much memory it has"
)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use model::{Protocol, ServiceName};
use seaway_plan::zone::{Endpoint, Endpoints, Entry, Port, Question, Zones, answer, write};
use wire::dns::{Reply, Transport, read};

const SERVICES: u32 = 10_000;
const HEADLESS: u32 = 600;
const ENDPOINTS: u32 = 250;

fn main() {
    let before = resident();
    let start = Instant::now();
    let zones = zones();
    println!("built in {:?}: {} MiB resident", start.elapsed(), (resident() - before) >> 20);
    changes(&zones);
    let queries: Vec<_> = (0..SERVICES)
        .map(|n| query(&format!("s-{n}.ns-{}.svc.cluster.local", n % 100), 1, false))
        .collect();
    let took = times(200_000, |turn| {
        respond(&zones, &queries[(turn * 7919 % SERVICES) as usize], turn);
    });
    println!("{took:>6} ns  A, each of 10,000 in turn");
    for (what, name, kind) in [
        ("A", "s-1234.ns-34.svc.cluster.local", 1),
        ("A, mixed case", "S-1234.nS-34.sVC.cluSter.Local", 1),
        ("AAAA, NODATA", "s-1234.ns-34.svc.cluster.local", 28),
        ("A, NXDOMAIN", "s-1234.ns-34.svc.cluster.local.ns-1.svc.cluster.local", 1),
        ("A of an endpoint", "pod-17.h-300.ns-0.svc.cluster.local", 1),
        ("A of 250 endpoints", "h-300.ns-0.svc.cluster.local", 1),
        ("AAAA of them, NODATA", "h-300.ns-0.svc.cluster.local", 28),
        ("PTR", "7.0.244.10.in-addr.arpa", 12),
        ("SRV", "_http._tcp.s-1234.ns-34.svc.cluster.local", 33),
        ("elsewhere", "www.example.org", 1),
    ] {
        for edns in [false, true] {
            let query = query(name, kind, edns);
            let took = times(20_000, |turn| respond(&zones, &query, turn));
            println!("{took:>6} ns  {what}{}", if edns { ", EDNS" } else { "" });
        }
    }
}

/// A Service that changes: its own names are made again.
fn changes(zones: &Zones) {
    let mut zones = zones.clone();
    for (what, name, number) in [("a Service", "s-1", 1), ("250 endpoints", "h-1", 1)] {
        let took = times(1_000, |turn| {
            let entry = match name {
                "s-1" => cluster(number + turn % 2),
                _ => headless(number, turn % 2),
            };
            zones.put(&ServiceName::new("ns-1", name), Some(entry));
        });
        println!("{took:>6} ns  {what} changed");
    }
}

/// Nanoseconds of one run, of many.
fn times(runs: u32, mut run: impl FnMut(u32)) -> u128 {
    (0..runs / 10).for_each(&mut run);
    let start = Instant::now();
    (0..runs).for_each(&mut run);
    start.elapsed().as_nanos() / u128::from(runs)
}

fn respond(zones: &Zones, bytes: &[u8], turn: u32) {
    thread_local!(static OUT: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) });
    OUT.with_borrow_mut(|out| {
        out.clear();
        let query = read(black_box(bytes)).expect("a question");
        let question = Question { name: &query.name, kind: query.kind, turn };
        if let Some(answer) = answer(zones, &question) {
            write(&answer, Reply::new(&query, Transport::Udp, out));
        }
        black_box(&out);
    });
}

fn query(name: &str, kind: u8, edns: bool) -> Vec<u8> {
    let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a label"));
        query.extend(label.bytes());
    }
    query.extend([0, 0, kind, 0, 1]);
    query.extend(edns.then_some([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]).into_iter().flatten());
    query
}

fn zones() -> Zones {
    let mut zones = Zones::default();
    for i in 0..SERVICES {
        zones.put(
            &ServiceName::new(&format!("ns-{}", i % 100), &format!("s-{i}")),
            Some(cluster(i)),
        );
    }
    for i in 0..HEADLESS {
        zones.put(
            &ServiceName::new(&format!("ns-{}", i % 100), &format!("h-{i}")),
            Some(headless(i, 0)),
        );
    }
    zones.is_complete = true;
    zones
}

fn cluster(number: u32) -> Entry {
    let addrs: Box<[IpAddr]> = [at(0x0a60_0000 + number)].into();
    Entry::Cluster { addrs, ports: [port()].into(), endpoints: Endpoints::default() }
}

fn headless(number: u32, salt: u32) -> Entry {
    let ports = [port()];
    let names: Vec<Arc<str>> = (0..ENDPOINTS).map(|i| format!("pod-{i}").into()).collect();
    let endpoint = |(i, name)| {
        let salt = if i == 7 { salt << 20 } else { 0 };
        let ip = at(0x0af4_0000 + number * ENDPOINTS + i + salt);
        Endpoint { host: Some(name), ip, is_pod: true, ports: &ports }
    };
    Entry::Headless(Endpoints::new((0..).zip(&names).map(endpoint).collect(), Vec::new()))
}

fn port() -> Port {
    Port { name: "http".into(), protocol: Protocol::Tcp, port: 80 }
}

fn at(bits: u32) -> IpAddr {
    Ipv4Addr::from_bits(bits).into()
}

/// Bytes of memory that the process has.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("a Linux machine");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number of pages") * 4096
}
