//! A thousand endpoints: each is reached, and none more than its share.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use model::{Family, Protocol};

use super::ask::{connect, read_line};
use super::endpoints::slice;
use super::serve::Server;
use super::stage::{PORT, Stage, service};
use crate::lab::{eventually, success, test};

/// Addresses of one host outside, in three slices.
const ENDPOINTS: u16 = 1024;
const SLICE: u16 = 400;
/// Each is asked 16 times, on average; that none is asked but once in a million runs takes 15.
const QUESTIONS: usize = 16 * ENDPOINTS as usize;
const CLIENTS: usize = 2;

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("s18_each_of_a_thousand_endpoints_has_its_share", shares)]
}

fn shares() {
    let stage = Stage::up(&[]);
    let host = &stage.at("internet").netns;
    let _server = Server::start(host, Protocol::Tcp, PORT, "");
    stage.route("router", "10.99.0.0/16", "203.0.113.10");
    let local = ["ip", "route", "add", "local", "10.99.0.0/16", "dev", "lo"];
    let mut command = stage.lab.seaway(&["lab", "internet"]);
    success(&command.arg("--").args(local).output().expect("start seaway lab"))
        .expect("the host has every address of the range");
    let mut objects = service("many", "", "");
    let numbers: Vec<u16> = (0..ENDPOINTS).collect();
    for (part, numbers) in numbers.chunks(SLICE.into()).enumerate() {
        let mut endpoints = String::new();
        for number in numbers {
            writeln!(endpoints, "- {{addresses: ['{}']}}", addr(*number)).expect("a String");
        }
        objects += &slice("many", &part.to_string(), Family::V4, PORT, &endpoints);
    }
    stage.lab.apply(&objects);
    let frontends = stage.frontends("many");
    let to = frontends.at("cluster", Family::V4, Protocol::Tcp);
    eventually("all endpoints are there", || {
        let dump = stage.dump("node-1", &["services", "default/many"]);
        let there = dump.matches("cluster: yes").count();
        if there == 3 * usize::from(ENDPOINTS) { Ok(()) } else { Err(there) }
    });
    let counts = thread::scope(|scope| {
        let ask = |_| scope.spawn(|| ask_often(&stage, to, QUESTIONS / CLIENTS));
        let clients: Vec<_> = (0..CLIENTS).map(ask).collect();
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for client in clients {
            for (addr, count) in client.join().expect("a client panicked") {
                *counts.entry(addr).or_default() += count;
            }
        }
        counts
    });
    assert_eq!(counts.len(), usize::from(ENDPOINTS), "some were never reached");
    assert_eq!(counts.values().sum::<usize>(), QUESTIONS);
    // Of equal shares, this is the mean of 1,023 with a deviation of 45; six of them are once in a
    // billion runs, while a share of 1.15 for a half of them would be 370 more.
    let deviation = chi_squared(&counts);
    assert!(deviation < 1023.0 + 6.0 * 45.3, "{deviation}: {counts:?}");
}

fn addr(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    IpAddr::from([10, 99, high, low])
}

/// Who answered, and how often.
fn ask_often(stage: &Stage, to: SocketAddr, times: usize) -> BTreeMap<IpAddr, usize> {
    let ask = || {
        let mut counts = BTreeMap::new();
        for _ in 0..times {
            let stream = connect(None, to, Duration::from_secs(5)).expect("an endpoint answers");
            let line = read_line(&stream).expect("it says which it is");
            let host = line.split("host=").nth(1).expect("its address").trim();
            *counts.entry(host.parse().expect("an address")).or_default() += 1;
        }
        counts
    };
    stage.at("pod-1").netns.run(ask).expect("enter the client's network")
}

fn chi_squared(counts: &BTreeMap<IpAddr, usize>) -> f64 {
    let mean = 16.0;
    let off = |count: &usize| {
        let off = f64::from(u32::try_from(*count).expect("few")) - mean;
        off * off / mean
    };
    counts.values().map(off).sum()
}
