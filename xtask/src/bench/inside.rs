//! Scenarios that measure inside a node of a lab: this very program runs again in there.

use std::process::Command;

use crate::run::{Result, cargo, command, output, root, say, step};

/// Set for the run inside the node, to the part of the scenario that is measured.
const INSIDE: &str = "SEAWAY_BENCH_INSIDE";

/// The part of the scenario that is to be measured, if this is the run inside the node.
pub(super) fn part() -> Option<String> {
    std::env::var(INSIDE).ok()
}

/// Builds the binary that is measured and gives its path.
pub(super) fn seaway() -> Result<String> {
    step("build", &mut cargo(&["build", "--release", "--package", "seaway"]))?;
    let path = root().join("target/release/seaway");
    path.into_os_string().into_string().map_err(|_| "the tree's path is not UTF-8".to_owned())
}

/// Brings up a lab of one node with further arguments `up`, applies the manifest `crowd` without waiting
/// for what is in it, runs a part of `scenario` inside the node, and takes the lab down.
pub(super) fn run(scenario: &str, part: &str, up: &[&str], crowd: Option<&str>) -> Result {
    let seaway = seaway()?;
    let lab = format!("bench-{scenario}");
    let of_lab = |args: &[&str]| -> Command {
        let mut command = command(&seaway, args);
        command.args(["--name", &lab]);
        command
    };
    step("lab up", of_lab(&["lab", "up", "--nodes", "1"]).args(up))?;
    if let Some(crowd) = crowd {
        let applied = output(of_lab(&["lab", "apply"]).args(["-f", crowd]))?;
        if !applied.status.success() {
            step("lab down", &mut of_lab(&["lab", "down"]))?;
            return Err(format!("lab apply: {}", String::from_utf8_lossy(&applied.stderr)));
        }
    }
    let me = std::env::current_exe().map_err(|e| format!("find this executable: {e}"))?;
    let mut inside = of_lab(&["lab", "node"]);
    inside.args(["node-1", "--", "env"]).arg(format!("{INSIDE}={part}")).arg(me);
    say("");
    let measured = inside.args(["bench", scenario]).status();
    let down = step("lab down", &mut of_lab(&["lab", "down"]));
    match measured {
        Ok(status) if status.success() => down,
        Ok(status) => Err(format!("inside the node: {status}")),
        Err(error) => Err(format!("enter the node: {error}")),
    }
}
