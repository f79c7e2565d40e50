//! The race that clusters with DNAT in front of DNS lose: A and AAAA, asked at the same moment from one
//! socket, of which connection tracking drops one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use fixtures::message;
use libtest_mimic::Trial;

use super::stage::{Client, Shared, Stage, VIPS, at, open};
use crate::lab::{success, text};

pub(crate) fn trials(stage: &Shared) -> Vec<Trial> {
    vec![stage.test("dns54_dns108_dns110_dns173_neither_of_two_parallel_questions_is_lost", pairs)]
}

/// Pairs from each place, each from a port of its own.
const PAIRS: usize = 10_000;
/// Ports of a place at once.
const THREADS: usize = 2;

fn pairs(stage: &Stage) {
    let before = failures(stage);
    for vip in VIPS {
        for client in [Client::Pod("shell-1"), Client::Host("node-1")] {
            let netns = stage.netns(client);
            let lost: usize = thread::scope(|scope| {
                let asked = (0..THREADS).map(|_| {
                    scope.spawn(|| {
                        let ask = || (0..PAIRS / THREADS).filter(|_| !pair(at(vip, 53))).count();
                        netns.run(ask).expect("enter the client's network")
                    })
                });
                let asked: Vec<_> = asked.collect();
                asked.into_iter().map(|thread| thread.join().expect("a client panicked")).sum()
            });
            assert_eq!(lost, 0, "{client:?} at {vip}: pairs without both answers");
            let tracked = stage.lab.node("node-1", &["conntrack", "-L", "-d", vip]);
            assert_eq!(text(&tracked), "", "{client:?} at {vip}: tracked");
        }
    }
    assert_eq!(failures(stage), before, "insert_failed");
}

/// Whether both answers come back.
fn pair(to: SocketAddr) -> bool {
    let socket = open(to);
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    for kind in ["A", "AAAA"] {
        let query = message::query("web.ns1.svc.cluster.local.", message::kind(kind), None);
        socket.send(&query).expect("send");
    }
    let mut reply = [0; 512];
    // The type's lower byte, behind the name.
    let at = 12 + "web.ns1.svc.cluster.local.".len() + 2;
    let answers = (0..2).map_while(|_| {
        socket.recv(&mut reply).ok()?;
        Some(reply[at])
    });
    let kinds: BTreeSet<u8> = answers.collect();
    kinds.len() == 2
}

/// How often node-1 failed to begin to track something, in all.
fn failures(stage: &Stage) -> u64 {
    let said = success(&stage.lab.node("node-1", &["conntrack", "-S"])).expect("conntrack -S");
    let counts = said.split_whitespace().filter_map(|word| word.strip_prefix("insert_failed="));
    counts.map(|count| count.parse::<u64>().expect("a number")).sum()
}
