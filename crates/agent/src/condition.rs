//! Tells the cluster whether this node has a network, as a condition of its Node object.

use std::time::Duration;

use kube::{Access, NetworkCondition};
use model::{NodeName, chain};
use tokio::sync::watch::Receiver;

use crate::handle::Status;

/// First pause after the API server did not take it; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(500);

/// Longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// Keeps the condition of `node` what `status` says, until the future is dropped. What is told stays when the
/// agent stops: the kernel goes on without it.
pub(crate) async fn tell(access: Access, node: NodeName, mut status: Receiver<Status>) {
    let mut told = None;
    let mut pause = SHORTEST;
    loop {
        let wanted = condition(&status.borrow_and_update());
        if wanted.is_some() && wanted != told {
            match write(&access, &node, wanted.as_ref()).await {
                Ok(()) => (told, pause) = (wanted, SHORTEST),
                Err(why) => {
                    tracing::warn!("{why}; trying again");
                    // What is newer by then is told instead.
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                    continue;
                }
            }
        } else if wanted.is_none() {
            // Nothing is known, and by the time something is the Node may be another one.
            told = None;
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

async fn write(
    access: &Access,
    node: &NodeName,
    wanted: Option<&NetworkCondition>,
) -> Result<(), String> {
    let Some(wanted) = wanted else { return Ok(()) };
    // A connection of its own: this is rare, and addresses may have changed since.
    let client = kube::connect(access).await.map_err(|error| chain(&error))?;
    kube::tell_network(&client, node, wanted).await.map_err(|error| chain(&error))
}

/// What is to be told; nothing while ADD has to wait but nobody can tell that pods lack anything.
fn condition(status: &Status) -> Option<NetworkCondition> {
    match status {
        Status::Ready { .. } => Some(NetworkCondition {
            is_unavailable: false,
            reason: "SeawayIsUp",
            message: "Seaway is running on this node".to_owned(),
        }),
        Status::Impaired(why) => Some(NetworkCondition {
            is_unavailable: true,
            reason: "SeawayIsImpaired",
            message: why.clone(),
        }),
        Status::NotReady(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_network_is_one_where_pods_lack_something() {
        let cases = [
            (Status::Ready { pod_cidrs: Vec::new() }, Some((false, "SeawayIsUp"))),
            (Status::Impaired("x".to_owned()), Some((true, "SeawayIsImpaired"))),
            (Status::NotReady("starting".to_owned()), None),
        ];
        for (status, expect) in cases {
            let told = condition(&status);
            let told = told.map(|told| (told.is_unavailable, told.reason));
            assert_eq!(told, expect, "{status:?}");
        }
    }
}
