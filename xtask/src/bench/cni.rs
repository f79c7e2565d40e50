//! `cargo xtask bench cni`: what ADD and DEL cost, Seaway's plugin and agent against Debian's
//! `bridge` with `host-local`.
//!
//! Both work on the same node of a lab, in turns within one run, on the same 100 empty network
//! namespaces, driven as a runtime drives a plugin: a process with an environment and a
//! configuration on stdin, timed from its start to its end. Seaway's ADD also leaves a durable lease,
//! spoofing guards and static neighbors behind; host-local's lease is a file, too.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::run::{Result, cargo, command, output, root, say, step};

/// Set to run inside the node.
const INSIDE: &str = "SEAWAY_BENCH_INSIDE";
/// Containers at a time: what a kubelet may start at once on a node.
const CONTAINERS: usize = 100;
/// Turns each contestant gets.
const ROUNDS: usize = 5;
/// What Seaway may take at most of what the peer takes.
const GOAL: f64 = 0.5;

/// Brings up a lab of one node, measures in it, takes it down.
pub(crate) fn run() -> Result {
    if std::env::var_os(INSIDE).is_some() {
        return measure();
    }
    if !Path::new("/usr/lib/cni/bridge").exists() {
        return Err("needs Debian's plugins: apt-get install containernetworking-plugins".into());
    }
    step("build", &mut cargo(&["build", "--release", "--package", "seaway"]))?;
    let seaway = root().join("target/release/seaway");
    let seaway = seaway.to_str().ok_or("the tree's path is not UTF-8")?;
    let lab = ["--name", "bench-cni"];
    let up = ["lab", "up", "--nodes", "1", "--ip-family", "ipv4"];
    step("lab up", command(seaway, &up).args(lab))?;
    let me = std::env::current_exe().map_err(|e| format!("find this executable: {e}"))?;
    let mut inside = command(seaway, &["lab", "node"]);
    inside.args(lab).args(["node-1", "--", "env"]).arg(format!("{INSIDE}=1")).arg(me);
    let measured = step("measure", inside.args(["bench", "cni"]));
    let down = step("lab down", command(seaway, &["lab", "down"]).args(lab));
    measured.and(down)
}

/// A plugin and what it is given.
struct Contestant {
    name: &'static str,
    plugin: &'static str,
    conf: String,
}

/// Durations of one kind of operation.
#[derive(Default)]
struct Samples(Vec<Duration>);

impl Samples {
    fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        let last = sorted.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 ≤ share ≤ 1"
        )]
        #[expect(clippy::cast_precision_loss, reason = "a few hundred samples")]
        let index = (last as f64 * share).round() as usize;
        sorted.get(index).map_or(0.0, Duration::as_secs_f64) * 1000.0
    }
}

/// Everything measured of one contestant.
#[derive(Default)]
struct Measured {
    add: Samples,
    del: Samples,
    crowd_add: Samples,
    crowd: Samples,
}

fn measure() -> Result {
    let namespaces: Vec<String> = (0..CONTAINERS).map(|n| format!("bench{n}")).collect();
    for name in &namespaces {
        let made = output(Command::new("ip").args(["netns", "add", name]))?;
        if !made.status.success() {
            return Err(format!("ip netns add: {}", String::from_utf8_lossy(&made.stderr)));
        }
    }
    let contestants = [seaway()?, bridge()];
    let mut measured = [Measured::default(), Measured::default()];
    for _ in 0..ROUNDS {
        for (contestant, measured) in contestants.iter().zip(&mut measured) {
            for name in &namespaces {
                measured.add.0.push(operate(contestant, "ADD", name)?);
            }
            for name in &namespaces {
                measured.del.0.push(operate(contestant, "DEL", name)?);
            }
        }
    }
    for _ in 0..ROUNDS {
        for (contestant, measured) in contestants.iter().zip(&mut measured) {
            crowd(contestant, &namespaces, measured)?;
        }
    }
    report(&contestants, &measured);
    Ok(())
}

/// All containers at once.
fn crowd(contestant: &Contestant, namespaces: &[String], measured: &mut Measured) -> Result {
    let start = Barrier::new(namespaces.len() + 1);
    let (whole, each) = std::thread::scope(|scope| {
        let adds: Vec<_> = namespaces
            .iter()
            .map(|name| {
                scope.spawn(|| {
                    start.wait();
                    operate(contestant, "ADD", name)
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
    namespaces.iter().try_for_each(|name| operate(contestant, "DEL", name).map(drop))
}

/// One operation, from the start of the process to its end.
fn operate(contestant: &Contestant, operation: &str, namespace: &str) -> Result<Duration> {
    let mut command = Command::new(contestant.plugin);
    command
        .env_clear()
        .env("CNI_COMMAND", operation)
        .env("CNI_CONTAINERID", namespace)
        .env("CNI_NETNS", format!("/run/netns/{namespace}"))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/usr/lib/cni")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let failed = |why: String| format!("{} {operation} {namespace}: {why}", contestant.name);
    let start = Instant::now();
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let mut stdin = child.stdin.take().ok_or_else(|| failed("no stdin".into()))?;
    stdin.write_all(contestant.conf.as_bytes()).map_err(|e| failed(e.to_string()))?;
    drop(stdin);
    let done = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
    let took = start.elapsed();
    if done.status.success() {
        return Ok(took);
    }
    Err(failed(String::from_utf8_lossy(&done.stdout).into_owned()))
}

/// The plugin as the agent of this node has put it in place.
fn seaway() -> Result<Contestant> {
    let file = "/run/cni/net.d/10-seaway.conflist";
    let text = std::fs::read_to_string(file).map_err(|e| format!("read {file}: {e}"))?;
    let list: Value = serde_json::from_str(&text).map_err(|e| format!("read {file}: {e}"))?;
    let mut conf = list["plugins"][0].clone();
    conf["name"] = list["name"].clone();
    conf["cniVersion"] = json!("1.0.0");
    Ok(Contestant { name: "seaway", plugin: "/run/cni/bin/seaway-cni", conf: conf.to_string() })
}

/// The classic pair, as containerd's documentation configures it.
fn bridge() -> Contestant {
    let conf = json!({
        "cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cni0",
        "isGateway": true, "hairpinMode": true,
        "ipam": {
            "type": "host-local", "dataDir": "/run/bench-host-local",
            "ranges": [[{ "subnet": "10.99.0.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }]
        }
    });
    let plugin = "/usr/lib/cni/bridge";
    Contestant { name: "bridge + host-local", plugin, conf: conf.to_string() }
}

type Column = fn(&Measured) -> f64;

fn report(contestants: &[Contestant; 2], measured: &[Measured; 2]) {
    let rows: [(&str, Column); 7] = [
        ("ADD p50", |m| m.add.at(0.5)),
        ("ADD p99", |m| m.add.at(0.99)),
        ("DEL p50", |m| m.del.at(0.5)),
        ("DEL p99", |m| m.del.at(0.99)),
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
