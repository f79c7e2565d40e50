//! `cargo xtask bench kernel`: the mechanisms of `crates/kernel` on this kernel, in namespaces of
//! their own, without agent or plugin.

use super::head;
use crate::run::{Result, cargo, step};

/// Runs the example that measures them.
pub(super) fn run() -> Result {
    head("kernel")?;
    let package = ["--package", "seaway-kernel", "--example", "measure"];
    step("measure", cargo(&["run", "--release", "--quiet"]).args(package))
}
