//! What was on the network when the node lost its power: taken off once the network is there again,
//! as a container runtime does with the sandboxes it finds dead.

use std::sync::Arc;
use std::time::Duration;

use super::Node;
use super::cni::Join;

/// How soon what could not be taken off is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Takes `joins` off the network, which nothing uses any more.
pub(super) async fn take_off(node: Arc<Node>, mut joins: Vec<Join>) {
    while !joins.is_empty() {
        if node.cni.status().await.is_ok() {
            let mut left = Vec::new();
            for join in joins {
                if let Err(error) = node.cni.del(&join).await {
                    let id = &join.container_id;
                    tracing::warn!("take sandbox {id} off: {}", model::chain(&error));
                    left.push(join);
                }
            }
            joins = left;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
