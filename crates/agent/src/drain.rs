//! Tells whoever waits for it that endpoints which go get no new flow from this node any more.

use std::time::Duration;

use kube::Access;
use model::NodeName;
use tokio::sync::watch::Receiver;

use crate::lease::{Lease, Word};

/// First pause after the API server did not take it: somebody waits.
const SHORTEST: Duration = Duration::from_millis(100);

/// Longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Keeps the node's Lease what `drained` says, until the future is dropped. What becomes known while one
/// write is under way is told by the next, so there is never more than one.
pub(crate) async fn tell(access: Access, node: NodeName, mut drained: Receiver<Option<u64>>) {
    let mut lease = Lease::new(access, node, SHORTEST..=LONGEST);
    loop {
        let revision = *drained.borrow_and_update();
        if let Some(revision) = revision
            && !lease.tell(Word::Drained(revision)).await
        {
            continue;
        }
        if drained.changed().await.is_err() {
            return;
        }
    }
}
