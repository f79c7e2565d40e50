//! Policies with real packets: worlds compiled for a node in a namespace, their rules in the kernel, and
//! what then gets through. Needs root.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod agreement;
mod connections;
mod hosts;
mod wires;

use model::NodeName;

fn node() -> NodeName {
    "node-1".into()
}
