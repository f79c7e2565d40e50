//! `cargo xtask bench services`: what Services cost, from the World to the kernel and for a connection,
//! beside the ruleset that kube-proxy makes; and one agent in a large cluster of a real API server.

use super::{example, head};
use crate::run::Result;

/// Runs the examples that measure them.
pub(super) fn run() -> Result {
    example("services", || head("services"))?;
    example("cluster", || Ok(()))
}
