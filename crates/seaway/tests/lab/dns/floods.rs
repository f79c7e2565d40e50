//! Floods of one pod, and how its neighbors fare: they lose nothing.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fixtures::message;
use libtest_mimic::Trial;

use super::dig::Dig;
use super::stage::{Client, FLAGS, Stage, VIPS, at, open};
use crate::lab::{Lab, eventually, success, test};
use crate::processes;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("dns96_dns163_a_pod_that_pours_questions_costs_nobody_else_an_answer", datagrams),
        test("dns163_a_pod_that_pours_connections_costs_nobody_else_an_answer", connections),
    ]
}

/// What a pod may send each second: what an agent without optimizations keeps up with.
const RATE: &str = "2000";
/// Connections that the flooding pod tries to hold.
const CONNECTIONS: usize = 4000;
/// What a flood may cost the agent, in KiB.
const ROOM: u64 = 64 << 10;
/// Who asks meanwhile: another pod of the node, the node itself, a pod of another one.
const OTHERS: [Client; 3] =
    [Client::Pod("neighbor"), Client::Host("node-1"), Client::Pod("shell-2")];

fn stage() -> Stage {
    let stage = Stage::on(Lab::up_with_env(&FLAGS, &[("SEAWAY_DNS_CLIENT_RATE", RATE)]));
    stage.shell("neighbor", "node-1", "");
    stage
}

/// Each of [`OTHERS`] asks once, and hears.
fn all_hear(stage: &Stage, when: &str, transports: &[&str]) {
    let questions = [("web.ns1.svc.cluster.local", "A"), ("example.org", "A")].repeat(20);
    for (client, transport) in OTHERS.iter().flat_map(|c| transports.iter().map(move |t| (c, t))) {
        let dig = Dig::at(VIPS[0]).with(transport).with("+tries=1");
        let replies = dig.ask(stage, *client, &questions);
        let replies = replies.unwrap_or_else(|e| panic!("{when}: {client:?} {transport}: {e}"));
        assert!(replies.iter().all(|reply| reply.answer.len() == 1), "{when}: {client:?}");
    }
}

/// Packets that node-1 dropped because they were too many.
fn excess(stage: &Stage) -> u64 {
    let metrics = ["curl", "-s", "127.0.0.1:10249/metrics"];
    let text = success(&stage.lab.node("node-1", &metrics)).expect("metrics");
    let line = text.lines().find_map(|l| l.strip_prefix("coredns_dns_excess_packets_total "));
    line.and_then(|number| number.trim().parse().ok()).expect("a number of packets")
}

/// Three kinds of questions, each as fast as they go, from `shell-1`.
fn datagrams() {
    let stage = stage();
    all_hear(&stage, "before", &["+notcp"]);
    let netns = stage.netns(Client::Pod("shell-1"));
    let number = AtomicU64::new(0);
    let name = |zone: &str| format!("x{}.{zone}", number.fetch_add(1, Ordering::Relaxed));
    let ask = |name: &str| message::query(name, message::kind("A"), None);
    let own = || ask("missing.ns1.svc.cluster.local.");
    let outside = || ask(&name("example.org."));
    let malformed = || vec![0xff; 40];
    let kinds: [(&str, &(dyn Fn() -> Vec<u8> + Sync)); 3] = [
        ("names of the cluster", &own),
        ("any names outside", &outside),
        ("what is no question", &malformed),
    ];
    for (when, question) in kinds {
        let before = excess(&stage);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let flood = scope.spawn(|| netns.run(|| pour(at(VIPS[0], 53), question, &over)));
            eventually("packets are dropped", || match excess(&stage) > before {
                true => Ok(()),
                false => Err("none"),
            });
            all_hear(&stage, when, &["+notcp", "+tcp"]);
            over.store(true, Ordering::Relaxed);
            let sent = flood.join().expect("the flood panicked").expect("enter the flooding pod");
            assert!(sent > 10_000, "no flood: {sent} packets");
        });
    }
    // Who has stopped is a client like others.
    let dig = Dig::at(VIPS[0]).with("+tries=1");
    let replies =
        dig.ask(&stage, Client::Pod("shell-1"), &[("web.ns1.svc.cluster.local", "A"); 10]);
    assert_eq!(replies.expect("answers").len(), 10);
}

/// As many connections as there may be, some of them with half a question that goes on byte by byte, and
/// others that come and go, from `shell-1`.
fn connections() {
    let stage = stage();
    all_hear(&stage, "before", &["+tcp"]);
    let before = memory(&stage);
    let netns = stage.netns(Client::Pod("shell-1"));
    let over = AtomicBool::new(false);
    let to = at(VIPS[0], 53);
    let held = netns.run(|| hold(to)).expect("enter the flooding pod");
    thread::scope(|scope| {
        let slow = scope.spawn(|| drip(&held, &over));
        let flood = scope.spawn(|| netns.run(|| come_and_go(to, &over)));
        all_hear(&stage, "connections", &["+tcp", "+notcp"]);
        let now = memory(&stage);
        over.store(true, Ordering::Relaxed);
        let came = flood.join().expect("the flood panicked").expect("enter the flooding pod");
        slow.join().expect("the slow ones panicked");
        assert!(came > 100, "no flood: {came} connections");
        let held = held.len();
        assert!(now < before + ROOM, "{before} KiB before, {now} KiB with {held} connections");
    });
}

/// Questions as fast as they go; how many.
fn pour(to: SocketAddr, question: &dyn Fn() -> Vec<u8>, over: &AtomicBool) -> u64 {
    let socket = open(to);
    socket.set_nonblocking(true).expect("not to wait");
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..100 {
            sent += u64::from(socket.send(&question()).is_ok());
        }
        while socket.recv(&mut [0; 512]).is_ok() {}
    }
    sent
}

/// As many connections as there may be, every other with half a question.
fn hold(to: SocketAddr) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for number in 0..CONNECTIONS {
        let Ok(mut stream) = TcpStream::connect_timeout(&to, Duration::from_millis(200)) else {
            break;
        };
        if number % 2 == 0 {
            // Closed already: that is one way to be bounded.
            drop(stream.write_all(&[0, 200, 0xab]));
        }
        held.push(stream);
    }
    held
}

/// A byte of each question now and then.
fn drip(held: &[TcpStream], over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        for mut stream in held {
            drop(stream.write_all(&[1]));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Connections that end as soon as they are there; how many.
fn come_and_go(to: SocketAddr, over: &AtomicBool) -> u64 {
    let mut came = 0;
    while !over.load(Ordering::Relaxed) {
        let came_in = TcpStream::connect_timeout(&to, Duration::from_millis(100)).is_ok();
        came += u64::from(came_in);
    }
    came
}

/// Memory of node-1's agent, in KiB.
fn memory(stage: &Stage) -> u64 {
    let all = processes::in_role(&stage.lab, "agent");
    let agent = all.iter().find(|process| process.has_word("node-1")).expect("node-1's agent");
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid));
    let status = status.expect("read its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).expect("a size")
}
