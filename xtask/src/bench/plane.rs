//! `cargo xtask bench plane`: what the lab's control plane takes to place pods as there are more and more.

use super::{example, head};
use crate::run::Result;

/// Runs the example that measures it.
pub(super) fn run() -> Result {
    example("plane", || head("plane"))
}
