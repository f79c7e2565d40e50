//! Pods of nodes that fell silent are not ready: nobody can tell how they are.
//!
//! Source: Kubernetes, node-lifecycle controller, `MarkPodsNotReady`.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::ready;
use crate::plane::pods;
use crate::plane::runtime::{
    Action, Change, Cluster, Controller, Keys, Note, Plan, Turn, Write, key,
};

/// The controller of pods on silent nodes.
pub(in crate::plane) struct SilentPods;

impl Controller for SilentPods {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::Pod(changed) = change {
            if changed.new.as_ref().is_some_and(|pod| is_wrong(cluster, pod)) {
                keys.add(changed.key.clone());
            }
        } else if let Change::Node(changed) = change {
            let fell = |new| ready(new) == "Unknown";
            let before = changed.old.as_deref().is_some_and(fell);
            if changed.new.as_deref().is_some_and(fell) && !before {
                keys.extend(cluster.pods.on_node(&changed.key).map(|pod| key(&**pod)));
            }
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let Some(pod) = cluster.pods.get(key).filter(|pod| is_wrong(cluster, pod)) else {
            return Plan::nothing();
        };
        let patch = json!({ "status": { "conditions": [{
            "type": "Ready", "status": "False",
            "lastTransitionTime": turn.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }] } });
        let note = Note::warning(&**pod, "NodeNotReady", "Node is not ready".to_owned());
        let write = Write::new(Action::PatchStatus(patch), Pod::clone(pod)).done(note);
        Plan { writes: vec![write], ..Plan::default() }
    }
}

/// Whether the pod is said to be ready, on a node of which nobody can tell.
fn is_wrong(cluster: &Cluster, pod: &Pod) -> bool {
    let node = pods::node_of(pod).and_then(|name| cluster.nodes.get(name));
    node.is_some_and(|node| ready(node) == "Unknown") && pods::is_ready(pod)
}
