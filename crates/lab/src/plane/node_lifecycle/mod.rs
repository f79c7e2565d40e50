//! Notices nodes that fell silent, and taints nodes by what is known of them.
//!
//! A node renews its Lease every [`RENEWAL`]. After [`GRACE`] without, what it said of itself counts no
//! longer: its conditions become Unknown. Taints follow from conditions and from cordoning; what they do to
//! pods is up to the scheduler and to `taint_eviction`. Pods of silent nodes: `pods`.
//!
//! Source: Kubernetes, node-lifecycle controller, with shorter times and without slowing down when many
//! nodes of a zone are silent.

pub(super) mod pods;
mod taints;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeCondition, ObjectReference};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube_rs::api::{Patch, PatchParams};
use kube_rs::{Api, Resource};
use serde_json::{Value, json};

use super::runtime::{Action, Change, Cluster, Controller, Keys, Note, Plan, Turn, Write};
use crate::events;

/// Namespace of the nodes' leases.
pub const LEASES: &str = "kube-node-lease";

/// How often a node renews its lease (the kubelet: 10 s).
pub const RENEWAL: Duration = Duration::from_secs(2);

/// How long a node may be silent (Kubernetes: 50 s).
pub const GRACE: SignedDuration = SignedDuration::from_secs(10);

/// What nodes say of themselves. `NetworkUnavailable` is said by others about them.
const SAID: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The controller of nodes.
#[derive(Default)]
pub(super) struct NodeLifecycle {
    /// Nodes whose coming was told, for the sake of telling that they go.
    known: HashMap<Arc<str>, ObjectReference>,
}

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    // Leases are renewed all the time, so only what does not happen is of interest: a time is set.
    fn concerns(&mut self, _cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::Node(changed) = change {
            keys.add(changed.key.clone());
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let Some(node) = cluster.nodes.get(key) else {
            if let Some(about) = self.known.remove(key) {
                let message = format!("Node {key} event: Removing Node {key} from Controller");
                let kind = events::Kind::Normal;
                plan.events.push(Note { about, kind, reason: "RemovingNode", message });
            }
            return plan;
        };
        if self.known.insert(key.into(), node.object_ref(&())).is_none() {
            let message = format!("Node {key} event: Registered Node {key} in Controller");
            plan.events.push(Note::normal(&**node, "RegisteredNode", message));
        }
        let end = heard(cluster, node).map(|heard| heard + GRACE);
        if let Some(end) = end.filter(|_| ready(node) != "Unknown") {
            if turn.now > end {
                plan.writes.push(fell_silent(node, turn.now));
                return plan;
            }
            plan.again_at(end + SignedDuration::from_millis(1));
        }
        plan.writes.extend(taints::write(node, turn.now));
        plan
    }
}

/// When the node was last heard of. One that has never renewed anything counts from when it was made.
fn heard(cluster: &Cluster, node: &Node) -> Option<Timestamp> {
    let name = node.metadata.name.as_deref()?;
    let lease = cluster.leases.named(LEASES, name);
    let renewed = lease.and_then(|lease| Some(lease.spec.as_ref()?.renew_time.as_ref()?.0));
    renewed.or_else(|| Some(node.metadata.creation_timestamp.as_ref()?.0))
}

fn fell_silent(node: &Node, now: Timestamp) -> Write {
    tracing::warn!("node {} fell silent", node.metadata.name.as_deref().unwrap_or_default());
    let patch = json!({ "status": { "conditions": unknown(node, now) } });
    let write = Write::new(Action::PatchStatus(patch), node.clone());
    if ready(node) != "True" {
        return write;
    }
    let message = format!(
        "Node {} status is now: NodeNotReady",
        node.metadata.name.as_deref().unwrap_or_default()
    );
    write.done(Note::normal(node, "NodeNotReady", message))
}

/// The conditions that nobody knows any more, as they are to be.
fn unknown(node: &Node, now: Timestamp) -> Vec<Value> {
    let stamp = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let made = node.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let judged = SAID.iter().filter_map(|kind| match condition(node, kind) {
        None => Some(json!({
            "type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
            "message": "Kubelet never posted node status.",
            "lastHeartbeatTime": stamp(made), "lastTransitionTime": stamp(now),
        })),
        Some(old) if old.status != "Unknown" => Some(json!({
            "type": kind, "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
            "lastTransitionTime": stamp(now),
        })),
        Some(_) => None,
    });
    judged.collect()
}

/// Says that nobody knows how `node` is.
///
/// # Errors
/// The API server's.
pub async fn doubt(api: &Api<Node>, node: &Node) -> Result<(), kube_rs::Error> {
    let patch = json!({ "status": { "conditions": unknown(node, Timestamp::now()) } });
    let name = node.metadata.name.as_deref().unwrap_or_default();
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop)
}

/// Now, as Kubernetes writes times.
pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether the node's `Ready` condition is True.
pub fn is_ready(node: &Node) -> bool {
    ready(node) == "True"
}

/// What the node's `Ready` condition says; nothing if nobody has said.
fn ready(node: &Node) -> &str {
    condition(node, "Ready").map_or("", |ready| &ready.status)
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests;
