//! Tells whoever waits for it that endpoints which go get no new flow from this node any more.

use std::time::Duration;

use kube::{Access, Client};
use model::NodeName;
use tokio::sync::watch::Receiver;

/// First pause after the API server did not take it; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(100);

/// Longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Keeps the node's Lease what `drained` says, until the future is dropped. What becomes known while one
/// write is under way is told by the next, so there is never more than one.
pub(crate) async fn tell(access: Access, node: NodeName, mut drained: Receiver<Option<u64>>) {
    let mut client = None;
    let mut pause = SHORTEST;
    loop {
        let revision = *drained.borrow_and_update();
        if let Some(revision) = revision
            && let Err(why) = write(&access, &mut client, &node, revision).await
        {
            tracing::warn!("{why}; trying again");
            client = None;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
            continue;
        }
        pause = SHORTEST;
        if drained.changed().await.is_err() {
            return;
        }
    }
}

/// Writes over the connection of the last time, if there is one.
async fn write(
    access: &Access,
    client: &mut Option<Client>,
    node: &NodeName,
    revision: u64,
) -> Result<(), String> {
    if client.is_none() {
        *client = Some(kube::connect(access).await.map_err(|error| kube::chain(&error))?);
    }
    let Some(client) = client else { return Ok(()) };
    kube::node_lease::tell_drained(client, node, revision)
        .await
        .map_err(|error| kube::chain(&error))
}
