//! `cargo xtask bench`: scenarios that measure us, against a named peer in the same run where there
//! is one. Each prints a table that says where, when and by which command it was made.

mod api;
mod cni;
mod dns;
mod inside;
mod kernel;
mod lab;
mod memory;
mod plane;
mod plugin;
mod policy;
mod samples;
mod services;

use std::fs;
use std::process::Command;

use crate::run::{Result, cargo, output, root, say, step};

/// One scenario: its name, what it measures, and what prints its tables.
type Scenario = (&'static str, &'static str, fn() -> Result);

const SCENARIOS: [Scenario; 9] = [
    ("api", "the API server: writes while many watch, long lists", api::run),
    ("cni", "ADD and DEL against bridge + host-local; ADD with many pods", cni::run),
    ("dns", "answers of the DNS server against Knot and NSD", dns::run),
    ("lab", "lab up and down, small and large", lab::run),
    ("memory", "resident memory of an agent and of a pod's pause", memory::run),
    ("plane", "placing ten thousand pods on a hundred nodes", plane::run),
    ("kernel", "the places, one by one, in namespaces of their own", kernel::run),
    ("policy", "policies: programming, changes, connections, kube-router's rules", policy::run),
    ("services", "Services: programming, connections, kube-proxy's ruleset", services::run),
];

/// Runs the scenario named, or lists them.
pub(crate) fn run(args: &[String]) -> Result {
    let [name] = args else { return Err(format!("bench NAME; there are:\n{}", list())) };
    let scenario = SCENARIOS.iter().find(|(known, _, _)| known == name);
    let (.., run) =
        scenario.ok_or_else(|| format!("no scenario {name:?}; there are:\n{}", list()))?;
    run()
}

fn list() -> String {
    let lines = SCENARIOS.iter().map(|(name, what, _)| format!("  {name:8} {what}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Builds the example called `name`, prints `before`, and runs it.
fn example(name: &str, before: impl Fn() -> Result) -> Result {
    // With the features of the whole tree, so that what is built for the binary is used again.
    let build = ["build", "--release", "--quiet", "--workspace", "--example", name];
    step("build", &mut cargo(&build))?;
    before()?;
    step("measure", &mut Command::new(root().join("target/release/examples").join(name)))
}

/// Says under which circumstances the table that follows was made.
fn head(scenario: &str) -> Result {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let said = |program: &str, args: &[&str]| -> Result<String> {
        let out = output(Command::new(program).args(args))?;
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let commit = said("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always"])?;
    say(&format!(
        "`cargo xtask bench {scenario}` · {} · commit {commit} · {}, {cores} cores · Linux {} · {}\n",
        said("date", &["--utc", "+%Y-%m-%d %H:%M UTC"])?,
        model.unwrap_or("unknown processor").trim(),
        said("uname", &["-r"])?,
        system.unwrap_or("unknown system").trim_matches('"'),
    ));
    Ok(())
}
