//! `cargo xtask bench kernel`: the mechanisms of `crates/kernel` and the rules of Services on this
//! kernel, in namespaces of their own, without agent or plugin.

use super::head;
use crate::run::{Result, cargo, step};

/// Runs the examples that measure them.
pub(super) fn run() -> Result {
    head("kernel")?;
    for (package, example) in [("seaway-kernel", "measure"), ("seaway-agent", "services")] {
        let which = ["--package", package, "--example", example];
        step(example, cargo(&["run", "--release", "--quiet"]).args(which))?;
    }
    Ok(())
}
