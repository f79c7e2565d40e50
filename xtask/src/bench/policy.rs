//! `cargo xtask bench policy`: what policies cost, from the World to the kernel and for a connection, beside
//! the rules that kube-router makes.

use super::{example, head};
use crate::run::Result;

/// Runs the example that measures them.
pub(super) fn run() -> Result {
    example("policy", || head("policy"))
}
