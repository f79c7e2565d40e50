//! Tells the cluster what this node's network is like, as conditions of its Node object.

use std::time::Duration;

use kube::{Access, Listed, NETWORK_UNAVAILABLE, NodeCondition};
use model::{Node, NodeName};
use tokio::sync::watch::Receiver;

use crate::handle::Status;

/// First pause after the API server did not take it; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(500);

/// Longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// How often it is looked whether the Node says so still: somebody may have written it, or made the Node anew.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// Keeps a condition of `node` what follows from `level`, until the future is dropped. What is told stays when
/// the agent stops: the kernel goes on without it. A Node that is made again, as `nodes` show, is told again.
pub(crate) async fn tell<T>(
    access: Access,
    node: NodeName,
    mut nodes: Receiver<Listed<NodeName, Node>>,
    mut level: Receiver<T>,
    condition: fn(&T) -> Option<NodeCondition>,
) {
    let mut told = None;
    let mut pause = SHORTEST;
    loop {
        let listed = nodes.borrow_and_update().listed.clone();
        let is_there = listed.is_some_and(|nodes| nodes.contains_key(&node));
        let wanted = condition(&level.borrow_and_update()).filter(|_| is_there);
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
        let changed = tokio::select! {
            changed = level.changed() => changed,
            changed = nodes.changed() => changed,
            () = tokio::time::sleep(AGAIN) => {
                told = None;
                Ok(())
            }
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn write(
    access: &Access,
    node: &NodeName,
    wanted: Option<&NodeCondition>,
) -> Result<(), String> {
    let Some(wanted) = wanted else { return Ok(()) };
    // A connection of its own: this is rare, and addresses may have changed since.
    let client = kube::connect(access).await.map_err(|error| kube::chain(&error))?;
    kube::tell_condition(&client, node, wanted).await.map_err(|error| kube::chain(&error))
}

/// Whether the node has a network; nothing while ADD has to wait but nobody can tell that pods lack anything.
pub(crate) fn network(status: &Status) -> Option<NodeCondition> {
    match status {
        Status::Ready { .. } => Some(NodeCondition {
            kind: NETWORK_UNAVAILABLE,
            is_true: false,
            reason: "SeawayIsUp",
            message: "Seaway is running on this node".to_owned(),
        }),
        Status::Impaired(why) => Some(NodeCondition {
            kind: NETWORK_UNAVAILABLE,
            is_true: true,
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
            let told = network(&status);
            let told = told.map(|told| (told.is_true, told.reason));
            assert_eq!(told, expect, "{status:?}");
        }
    }
}
