//! `cargo xtask bench api`: the API server under load: writes while many watch, and long lists. There
//! is no peer to compare with on one machine, so the goals are absolute.

use super::{example, head};
use crate::run::Result;

/// Builds and runs the example that measures.
pub(super) fn run() -> Result {
    example("load", || head("api"))
}
