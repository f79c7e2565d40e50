//! `cargo xtask bench kernel`: the mechanisms of `crates/kernel` on this kernel, in namespaces of
//! their own, without agent or plugin.

use super::{example, head};
use crate::run::Result;

/// Runs the example that measures them.
pub(super) fn run() -> Result {
    example("measure", || head("kernel"))
}
