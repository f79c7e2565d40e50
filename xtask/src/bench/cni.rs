//! `cargo xtask bench cni`: what ADD and DEL cost, Seaway's plugin and agent against Debian's
//! `bridge` with `host-local`.
//!
//! Both work on the same node of a lab, in turns within one run, on the same empty network
//! namespaces. Seaway's ADD also leaves a durable lease, spoofing guards and static neighbors
//! behind; host-local's lease is a file, too.

use std::path::Path;
use std::sync::Barrier;
use std::time::Instant;

use super::plugin::{Contestant, namespaces};
use super::samples::Samples;
use super::{head, inside};
use crate::run::{Result, say};

/// Containers at a time: what a kubelet may start at once on a node.
const CONTAINERS: usize = 100;
/// Containers on a node that is full.
const MANY: usize = 200;
/// How many of the first and of the last are compared.
const EDGE: usize = 20;
/// Turns each contestant gets.
const ROUNDS: usize = 5;
/// What Seaway may take at most of what the peer takes.
const GOAL: f64 = 0.5;

/// Brings up a lab of one node, measures in it, takes it down.
pub(super) fn run() -> Result {
    if inside::part().is_some() {
        return measure();
    }
    if !Path::new("/usr/lib/cni/bridge").exists() {
        return Err("needs Debian's plugins: apt-get install containernetworking-plugins".into());
    }
    inside::run("cni", "all", &["--ip-family", "ipv4"], None)
}

/// Everything measured of one contestant.
#[derive(Default)]
struct Measured {
    add: Samples,
    del: Samples,
    first: Samples,
    last: Samples,
    crowd_add: Samples,
    crowd: Samples,
}

fn measure() -> Result {
    head("cni")?;
    let namespaces = namespaces(MANY)?;
    let contestants = [Contestant::seaway()?, Contestant::bridge()];
    let mut measured = [Measured::default(), Measured::default()];
    for turn in [row, full, crowd] {
        for _ in 0..ROUNDS {
            for (contestant, measured) in contestants.iter().zip(&mut measured) {
                turn(contestant, &namespaces, measured)?;
            }
        }
    }
    report(&contestants, &measured);
    Ok(())
}

/// One container after the other.
fn row(contestant: &Contestant, namespaces: &[String], measured: &mut Measured) -> Result {
    for name in &namespaces[..CONTAINERS] {
        measured.add.0.push(contestant.operate("ADD", name)?);
    }
    for name in &namespaces[..CONTAINERS] {
        measured.del.0.push(contestant.operate("DEL", name)?);
    }
    Ok(())
}

/// One after the other until the node is full: does the last cost what the first did?
fn full(contestant: &Contestant, namespaces: &[String], measured: &mut Measured) -> Result {
    for (number, name) in namespaces.iter().enumerate() {
        let took = contestant.operate("ADD", name)?;
        if number < EDGE {
            measured.first.0.push(took);
        } else if number >= namespaces.len() - EDGE {
            measured.last.0.push(took);
        }
    }
    namespaces.iter().try_for_each(|name| contestant.operate("DEL", name).map(drop))
}

/// All containers at once.
fn crowd(contestant: &Contestant, namespaces: &[String], measured: &mut Measured) -> Result {
    let namespaces = &namespaces[..CONTAINERS];
    let start = Barrier::new(namespaces.len() + 1);
    let (whole, each) = std::thread::scope(|scope| {
        let adds: Vec<_> = namespaces
            .iter()
            .map(|name| {
                scope.spawn(|| {
                    start.wait();
                    contestant.operate("ADD", name)
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        let each: Vec<_> = adds.into_iter().map(|add| add.join()).collect();
        (began.elapsed(), each)
    });
    for add in each {
        measured.crowd_add.0.push(add.map_err(|_| "an ADD panicked")??);
    }
    measured.crowd.0.push(whole);
    namespaces.iter().try_for_each(|name| contestant.operate("DEL", name).map(drop))
}

type Column = fn(&Measured) -> f64;

fn report(contestants: &[Contestant; 2], measured: &[Measured; 2]) {
    let rows: [(&str, Column); 11] = [
        ("ADD p50", |m| m.add.at(0.5)),
        ("ADD p99", |m| m.add.at(0.99)),
        ("DEL p50", |m| m.del.at(0.5)),
        ("DEL p99", |m| m.del.at(0.99)),
        ("ADDs 1 to 20 of 200, p50", |m| m.first.at(0.5)),
        ("ADDs 1 to 20 of 200, p99", |m| m.first.at(0.99)),
        ("ADDs 181 to 200 of 200, p50", |m| m.last.at(0.5)),
        ("ADDs 181 to 200 of 200, p99", |m| m.last.at(0.99)),
        ("100 ADDs at once, until the last, p50", |m| m.crowd.at(0.5)),
        ("100 ADDs at once, each, p50", |m| m.crowd_add.at(0.5)),
        ("100 ADDs at once, each, p99", |m| m.crowd_add.at(0.99)),
    ];
    say(&format!("| ms | {} | {} | ratio |", contestants[0].name, contestants[1].name));
    say("|---|---|---|---|");
    for (title, column) in rows {
        let (ours, theirs) = (column(&measured[0]), column(&measured[1]));
        let ratio = ours / theirs;
        let verdict = if ratio <= GOAL { "" } else { " (goal ≤ 0.50)" };
        say(&format!("| {title} | {ours:.1} | {theirs:.1} | {ratio:.2}{verdict} |"));
    }
}
