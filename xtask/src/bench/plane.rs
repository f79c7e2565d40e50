//! `cargo xtask bench plane`: what the lab's control plane takes to place pods as there are more and more.

use super::head;
use crate::run::{Result, cargo, step};

/// Runs the example that measures it.
pub(super) fn run() -> Result {
    head("plane")?;
    let package = ["--package", "seaway-lab", "--example", "plane"];
    step("measure", cargo(&["run", "--release", "--quiet"]).args(package))
}
