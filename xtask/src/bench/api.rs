//! `cargo xtask bench api`: the API server under load: writes while many watch, and long lists. There
//! is no peer to compare with on one machine, so the goals are absolute.

use std::process::Command;

use super::head;
use crate::run::{Result, cargo, root, step};

/// Builds and runs the example that measures.
pub(super) fn run() -> Result {
    // With the features of the whole tree, so that what is built for the binary is used again.
    let build = ["build", "--release", "--quiet", "--workspace", "--example", "load"];
    step("build", &mut cargo(&build))?;
    head("api")?;
    step("measure", &mut Command::new(root().join("target/release/examples/load")))
}
