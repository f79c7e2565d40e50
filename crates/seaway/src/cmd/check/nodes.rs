//! Every node of a lab, each looked at by `seaway check --node` inside of it.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use lab::lab::{Lab, Target};
use lab::spec::LabName;
use serde_json::Value;

use super::node::{Finding, Verdict};
use super::places::{Place, Role};

/// What was found on each node among `places`, by its name.
pub(super) fn examine(
    name: &LabName,
    places: &[Place],
    timeout: Duration,
) -> anyhow::Result<Vec<(String, Vec<Finding>)>> {
    let lab = Lab::open(name)?;
    let nodes = places.iter().filter(|place| place.role == Role::Node);
    let nodes: Vec<String> = nodes.map(|place| place.node.clone()).collect();
    std::thread::scope(|scope| {
        let started: Vec<_> = nodes
            .into_iter()
            .map(|node| (node.clone(), scope.spawn(|| one(&lab, node, timeout))))
            .collect();
        let joined = started.into_iter().map(|(node, thread)| {
            let findings = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let findings = findings.unwrap_or_else(|error| {
                let text = format!("{error:#}");
                vec![Finding { what: "node".to_owned(), verdict: Verdict::Bad, text }]
            });
            (node, findings)
        });
        Ok(joined.collect())
    })
}

fn one(lab: &Lab, node: String, timeout: Duration) -> anyhow::Result<Vec<Finding>> {
    let inside = lab.enter(&Target::Node(node)).context("enter the node")?;
    let us = std::env::current_exe().context("find this program")?;
    let seconds = timeout.as_secs().to_string();
    let mut command = Command::new(us);
    command.args(["check", "--node", "--run-dir", "/run/seaway", "--output", "json"]);
    command
        .args(["--timeout", &seconds])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = inside.spawn(&mut command).context("start the check of the node")?;
    let output = child.wait_with_output().context("wait for the check of the node")?;
    let answer: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("read the check of the node; it said {}", String::from_utf8_lossy(&output.stderr))
    })?;
    let findings = answer["findings"].as_array().into_iter().flatten();
    Ok(findings.filter_map(Finding::read).collect())
}
