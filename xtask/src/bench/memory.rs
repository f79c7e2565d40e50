//! `cargo xtask bench memory`: resident memory of a node's agent and of a pod's pause process, as
//! the kernel counts it (`VmRSS` of `/proc/PID/status`). File-backed pages are those of the binary,
//! which all agents, plugins and lab processes of a machine share.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use super::lab::Manifest;
use super::plugin::{Contestant, namespaces};
use super::{head, inside};
use crate::run::{Result, say};

/// Pods on a node that is full.
const MANY: usize = 200;

/// Longer than anything the agent does after its last change.
const SETTLED: Duration = Duration::from_secs(3);

/// What else there is in a large cluster: nodes that nobody runs, with a hundred pods and a Service each.
const CROWD: u32 = 100;

/// Brings up a lab of one node and one pod, measures in it, takes it down; and again with a crowd around.
pub(super) fn run() -> Result {
    match inside::part().as_deref() {
        Some("crowd") => measure_in_a_crowd(),
        Some(_) => measure(),
        None => {
            let manifest = Manifest::write(1)?;
            let up = ["-f", manifest.path()?];
            inside::run("memory", "alone", &up, None)?;
            let crowd = Manifest::of("crowd", &crowd().map_err(|e| e.to_string())?)?;
            inside::run("memory", "crowd", &up, Some(crowd.path()?))
        }
    }
}

/// A manifest of the crowd. Nobody renews its leases, so they last.
fn crowd() -> std::result::Result<String, std::fmt::Error> {
    let mut text = String::new();
    for node in 1..=CROWD {
        writeln!(
            text,
            "---\napiVersion: v1\nkind: Node\nmetadata: {{ name: crowd-{node} }}\n\
             ---\napiVersion: coordination.k8s.io/v1\nkind: Lease\n\
             metadata: {{ name: crowd-{node}, namespace: kube-node-lease }}\n\
             spec: {{ holderIdentity: crowd-{node}, renewTime: '2100-01-01T00:00:00.000000Z' }}\n\
             ---\napiVersion: v1\nkind: Service\nmetadata: {{ name: crowd-{node} }}\n\
             spec: {{ ports: [{{ name: http, port: 80 }}] }}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata: {{ name: crowd-{node}, labels: {{ kubernetes.io/service-name: crowd-{node} }} }}\n\
             ports: [{{ name: http, port: 8080 }}]\nendpoints:"
        )?;
        for pod in 1..=100 {
            writeln!(
                text,
                "- {{ addresses: [10.{}.1.{pod}], nodeName: crowd-{node}, conditions: {{ ready: true }}, \
                 targetRef: {{ kind: Pod, namespace: default, name: crowd-{node}-{pod} }} }}",
                100 + node
            )?;
        }
        for pod in 1..=100 {
            writeln!(
                text,
                "---\napiVersion: v1\nkind: Pod\n\
                 metadata: {{ name: crowd-{node}-{pod}, labels: {{ app: crowd-{node} }} }}\n\
                 spec: {{ nodeName: crowd-{node}, containers: [{{ name: echo, image: seaway/echo }}] }}"
            )?;
        }
    }
    Ok(text)
}

/// With [`MANY`] pods of its own among a hundred times as many.
fn measure_in_a_crowd() -> Result {
    let (plugin, names) = (Contestant::seaway()?, namespaces(MANY)?);
    names.iter().try_for_each(|name| plugin.operate("ADD", name).map(drop))?;
    std::thread::sleep(SETTLED);
    print("agent, 201 of 10,201 pods", &["seaway", "agent"], 40 << 10)
}

fn measure() -> Result {
    head("memory")?;
    say("| KiB | resident | of it anonymous | of it from files | goal |");
    say("|---|---|---|---|---|");
    std::thread::sleep(SETTLED);
    print("pause", &["/pause"], 200)?;
    print("agent, idle, 1 pod", &["seaway", "agent"], 20 << 10)?;
    let (plugin, names) = (Contestant::seaway()?, namespaces(MANY)?);
    names.iter().try_for_each(|name| plugin.operate("ADD", name).map(drop))?;
    std::thread::sleep(SETTLED);
    print("agent, 201 pods", &["seaway", "agent"], 30 << 10)?;
    names.iter().try_for_each(|name| plugin.operate("DEL", name).map(drop))?;
    std::thread::sleep(SETTLED);
    print("agent, 1 pod again", &["seaway", "agent"], 30 << 10)
}

fn print(title: &str, command: &[&str], goal: u64) -> Result {
    let status = status_of(command)?;
    let kib = |field: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let resident = kib("VmRSS");
    let verdict = if resident <= goal { "" } else { ", missed" };
    let (own, files) = (kib("RssAnon"), kib("RssFile"));
    say(&format!("| {title} | {resident} | {own} | {files} | {goal}{verdict} |"));
    Ok(())
}

/// `/proc/PID/status` of the process whose command line begins with `command`.
fn status_of(command: &[&str]) -> Result<String> {
    let processes = fs::read_dir("/proc").map_err(|e| format!("read /proc: {e}"))?;
    for process in processes.flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        if command.iter().all(|word| words.next() == Some(word.as_bytes())) {
            let status = process.path().join("status");
            return fs::read_to_string(status).map_err(|e| format!("{command:?}: {e}"));
        }
    }
    Err(format!("no process {command:?} on this node"))
}
