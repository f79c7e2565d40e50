//! An agent takes the place of one that runs.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;

use crate::bench::Bench;
use crate::stops::kill_before;

/// Far more calls than a takeover takes.
const MANY: usize = 5000;

/// Calls between two at which a successor is killed.
const STEP: usize = 5;

#[test]
fn agents_succeed_each_other_under_adds_and_none_is_refused() {
    let bench = Bench::new();
    let pods: Vec<_> = (0..3).map(|_| bench.pod()).collect();
    let mut agent = bench.start();
    let stays = bench.pod();
    let kept = agent.add("kept", &stays).unwrap();
    let before = bench.state();
    let (is_over, added) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let (bench, is_over, added, agent) = (&bench, &is_over, &added, &mut agent);
        for (number, pod) in pods.iter().enumerate() {
            scope.spawn(move || {
                let id = format!("c{number}");
                while !is_over.load(Ordering::Relaxed) {
                    bench.add(&id, pod).unwrap_or_else(|error| panic!("ADD {id}: {error}"));
                    bench.del(&id).unwrap_or_else(|error| panic!("DEL {id}: {error}"));
                    added.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..10 {
            let so_far = added.load(Ordering::Relaxed);
            bench.succeed(agent);
            bench.eventually("pods come and go", || added.load(Ordering::Relaxed) > so_far + 3);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(bench.state(), before);
    let leases = agent.dump("ipam");
    let addr = kept["ips"][0]["address"].as_str().unwrap().trim_end_matches("/32");
    assert!(leases.contains(&format!("{addr} leased to kept/eth0")), "{leases}");
}

/// Whoever is left serves: the old one when the successor had not taken over, and also when it had.
#[test]
fn a_successor_killed_before_any_call_leaves_an_agent_that_serves() {
    let bench = Bench::new();
    let pod = bench.pod();
    let agent = bench.start();
    let before = bench.state();
    for at in (0..MANY).step_by(STEP) {
        let next = bench.spawn();
        let is_over = AtomicBool::new(false);
        let killed = std::thread::scope(|scope| {
            let (ready, counts) = channel();
            let killed = scope.spawn(|| kill_before(next.pid(), at, ready, &is_over));
            counts.recv().unwrap();
            bench.eventually("it has taken over, or is dead", || {
                killed.is_finished() || next.is_in_charge()
            });
            is_over.store(true, Ordering::Relaxed);
            killed.join().unwrap_or_else(|_| panic!("before call {at}: {}", bench.logs()))
        });
        next.kill();
        bench.eventually("the first agent is ready", || {
            agent.is_in_charge() && agent.get("/readyz").is_ok()
        });
        agent.add("c1", &pod).unwrap_or_else(|error| panic!("killed before call {at}: {error}"));
        agent.del("c1").unwrap();
        assert_eq!(bench.state(), before, "killed before call {at}");
        if !killed {
            assert!(at > 50, "a takeover takes more than {at} calls");
            return;
        }
    }
    panic!("a takeover does not end within {MANY} calls");
}

#[test]
fn an_agent_that_is_told_to_end_waits_for_one_that_has_announced_itself() {
    let bench = Bench::new();
    let agent = bench.start();
    bench.api.go_away();
    let next = bench.spawn();
    bench.eventually("it has announced itself", || {
        bench.said_by(1).contains("has started and will take over")
    });
    std::thread::scope(|scope| {
        let ends = scope.spawn(|| agent.end());
        for _ in 0..20 {
            assert!(next.get("/healthz").is_ok(), "{}", bench.logs());
            assert!(!next.is_in_charge() && !ends.is_finished(), "{}", bench.logs());
        }
        bench.api.come_back();
        ends.join().unwrap();
    });
    assert!(next.is_in_charge());
}
