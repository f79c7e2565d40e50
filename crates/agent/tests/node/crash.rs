//! Crashes of the agent: at any moment of an ADD, whatever comes next heals it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use serde_json::Value;

use crate::bench::{Agent, Bench, Pod};
use crate::stops::kill_before;

/// Far more calls than an ADD takes.
const MANY: usize = 2000;

/// What a runtime does after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Del,
    Gc,
    AnotherAdd,
}

#[test]
fn killed_before_any_call_of_an_add_nothing_is_lost_leased_twice_or_left_behind() {
    let bench = Bench::new();
    let (pod, other) = (bench.pod(), bench.pod());
    let agent = bench.start();
    let before = bench.state();
    agent.kill();
    for at in 0..MANY {
        let all = [Next::Del, Next::Gc, Next::AnotherAdd];
        let killed = all.map(|next| crash_and_heal(&bench, &before, (&pod, &other), at, next));
        if killed == [false; 3] {
            assert!(at > 10, "an ADD takes more than {at} calls");
            return;
        }
    }
    panic!("an ADD does not end within {MANY} calls");
}

/// One crash before call `at`, if the ADD takes so many, and what `next` makes of it. Whether there
/// was one.
fn crash_and_heal(
    bench: &Bench,
    before: &str,
    (pod, other): (&Pod, &Pod),
    at: usize,
    next: Next,
) -> bool {
    let agent = bench.start();
    let (killed, answer) = add_until(&agent, pod, at);
    agent.kill();
    let agent = bench.start();
    let leases = agent.dump("ipam");
    if let Ok(result) = &answer {
        let addr = result["ips"][0]["address"].as_str().unwrap().trim_end_matches("/32");
        assert!(leases.contains(&format!("{addr} leased to c1/eth0")), "{at}: {leases}");
        agent.check("c1", pod, result).unwrap();
    }
    match next {
        Next::Del => agent.del("c1").unwrap(),
        Next::Gc => agent.gc(&[]).unwrap(),
        Next::AnotherAdd => {
            let result = agent.add("c2", other).unwrap();
            let addr = result["ips"][0]["address"].as_str().unwrap().trim_end_matches("/32");
            assert!(!leases.contains(&format!("{addr} leased")), "{at}: {addr}\n{leases}");
            agent.del("c1").unwrap();
            agent.del("c2").unwrap();
        }
    }
    assert_eq!(bench.state(), before, "killed before call {at}, then {next:?}");
    let leases = agent.dump("ipam");
    assert!(!leases.contains("leased to"), "{at}: {leases}");
    agent.kill();
    assert!(killed || answer.is_ok(), "{answer:?}");
    killed
}

/// Asks `agent` for an ADD and kills it before call `at` of all that have an effect. Whether it was
/// killed, and what came of the ADD.
fn add_until(agent: &Agent<'_>, pod: &Pod, at: usize) -> (bool, Result<Value, String>) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ready, counts) = channel();
        let killed = scope.spawn(|| kill_before(agent.pid(), at, ready, &is_over));
        counts.recv().unwrap();
        let answer = agent.add("c1", pod);
        is_over.store(true, Ordering::Relaxed);
        (killed.join().unwrap(), answer)
    })
}
