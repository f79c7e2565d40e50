//! Removes pods that no node will ever end: those of nodes that are no more or out of service, those that
//! were never anywhere, and the oldest of too many that have ended.
//!
//! Source: Kubernetes, podgc controller, with a shorter quarantine.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::node_lifecycle::is_ready;
use super::pods;
use super::runtime::{Action, Change, Cluster, Controller, Keys, Plan, Turn, Write, key};

/// How long a node may be unknown before its pods go: it may have been told of after them (Kubernetes:
/// 40 s).
const QUARANTINE: SignedDuration = SignedDuration::from_secs(2);

/// Pods that have ended and may stay, in the whole cluster.
///
/// Source: kube-controller-manager, `--terminated-pod-gc-threshold`.
const ENDED: usize = 12_500;

/// Key of the taint by which somebody vouches that a node is off.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// In the order in which they go: evicted ones, then by age and key.
type Place = (bool, Option<Timestamp>, Arc<str>);

/// The collector.
#[derive(Default)]
pub(super) struct PodGc {
    /// Since when nodes are missed that pods are on.
    missed: HashMap<String, Timestamp>,
    /// Pods that have ended.
    ended: BTreeSet<Place>,
}

impl Controller for PodGc {
    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::Pod(changed) = change {
            for old in changed.old.iter().filter(|pod| pods::is_over(pod)) {
                self.ended.remove(&place(&changed.key, old));
            }
            if let Some(pod) = &changed.new {
                if pods::is_over(pod) {
                    self.ended.insert(place(&changed.key, pod));
                }
                keys.add(changed.key.clone());
            }
            for node in changed.states().filter_map(|pod| pods::node_of(pod)) {
                if cluster.pods.on_node(node).next().is_none() {
                    self.missed.remove(node);
                }
            }
            if self.ended.len() > ENDED {
                keys.extend(self.ended.first().map(|(.., key)| key.to_string()));
            }
        } else if let Change::Node(changed) = change {
            if changed.new.is_some() {
                self.missed.remove(&*changed.key);
            }
            if changed.new.as_deref().is_none_or(is_out) {
                keys.extend(cluster.pods.on_node(&changed.key).map(|pod| key(&**pod)));
            }
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let Some(pod) = cluster.pods.get(key) else { return plan };
        let is_oldest = || self.ended.first().is_some_and(|(.., first)| **first == *key);
        if self.ended.len() > ENDED && is_oldest() {
            plan.writes = removal(pod, &json!([]));
            return plan;
        }
        let Some(name) = pods::node_of(pod) else {
            if pods::is_leaving(pod) {
                plan.writes = removal(pod, &json!([]));
            }
            return plan;
        };
        if let Some(node) = cluster.nodes.get(name) {
            if pods::is_leaving(pod) && is_out(node) {
                plan.writes = removal(pod, &json!([]));
            }
            return plan;
        }
        let end = *self.missed.entry(name.to_owned()).or_insert(turn.now) + QUARANTINE;
        if turn.now < end {
            plan.again_at(end);
            return plan;
        }
        let stamp = turn.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let target = json!([{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists", "lastTransitionTime": stamp,
        }]);
        plan.writes = removal(pod, &target);
        plan
    }
}

fn place(key: &Arc<str>, pod: &Pod) -> Place {
    let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref());
    let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (reason != Some("Evicted"), made, key.clone())
}

/// Whether somebody vouches that the node is off.
fn is_out(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    !is_ready(node) && taints.clone().any(|taint| taint.key == OUT_OF_SERVICE)
}

/// Removes `pod` at once; one that has not ended has failed, with these conditions.
fn removal(pod: &Pod, conditions: &Value) -> Vec<Write> {
    let mut writes = Vec::new();
    if !pods::is_over(pod) {
        let patch = json!({ "status": { "phase": "Failed", "conditions": conditions } });
        writes.push(Write::new(Action::PatchStatus(patch), pod.clone()));
    }
    writes.push(Write::new(Action::Delete { grace: Some(0) }, pod.clone()));
    writes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::runtime::testing::World;

    fn settled(node: Option<&Value>, pod: &Value, seconds: i64) -> String {
        let mut world = World::new();
        if let Some(node) = node {
            world.put::<Node>(node);
        }
        world.put::<Pod>(pod);
        let mut gc = PodGc::default();
        let first = world.settle(&mut gc, "ns/p");
        world.now += SignedDuration::from_secs(seconds);
        [first, world.settle(&mut gc, "ns/p")].concat().join(", ")
    }

    #[test]
    fn a_pod_goes_when_nobody_else_will_end_it() {
        let node = |ready: &str, taint: &str| {
            json!({ "metadata": { "name": "n", "namespace": "" },
                "spec": { "taints": [{ "key": taint, "effect": "NoExecute" }] },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] } })
        };
        let pod = |node: &str, phase: &str, leaving: bool| {
            let mut pod = json!({ "metadata": { "name": "p" },
                "spec": { "nodeName": node, "containers": [] }, "status": { "phase": phase } });
            if leaving {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            pod
        };
        let (off, ill) = (node("Unknown", OUT_OF_SERVICE), node("Unknown", "other"));
        let well = node("True", OUT_OF_SERVICE);
        let fails = "status Pod p, delete Pod p";
        let cases = [
            (Some(&well), pod("n", "Running", false), 9, ""),
            (Some(&well), pod("n", "Running", true), 9, ""),
            (Some(&ill), pod("n", "Running", true), 9, ""),
            (Some(&off), pod("n", "Running", false), 9, ""),
            (Some(&off), pod("n", "Running", true), 0, fails),
            (None, pod("n", "Running", false), 1, ""),
            (None, pod("n", "Running", false), 2, fails),
            (None, pod("n", "Succeeded", false), 2, "delete Pod p"),
            (None, pod("", "Pending", false), 9, ""),
            (None, pod("", "Pending", true), 0, fails),
        ];
        for (node, pod, seconds, expect) in cases {
            assert_eq!(settled(node, &pod, seconds), expect, "{node:?} {pod}");
        }
    }

    #[test]
    fn of_too_many_that_have_ended_evicted_ones_go_first_then_the_oldest() {
        let mut gc = PodGc::default();
        let at = |seconds| Some(Timestamp::from_second(seconds).unwrap());
        gc.ended.extend((0..ENDED).map(|n| (true, at(50), Arc::from(format!("ns/x{n}")))));
        let mut world = World::new();
        for (name, made, reason) in [
            ("young", "1970-01-01T00:01:00Z", "Evicted"),
            ("old", "1970-01-01T00:00:01Z", ""),
            ("kept", "1970-01-01T00:02:00Z", ""),
        ] {
            let pod = json!({ "metadata": { "name": name, "creationTimestamp": made },
                "spec": { "containers": [] }, "status": { "phase": "Failed", "reason": reason } });
            world.put::<Pod>(&pod);
            let key: Arc<str> = format!("ns/{name}").into();
            gc.ended.insert(place(&key, world.cluster.pods.get(&key).unwrap()));
        }
        let mut gone = Vec::new();
        while gc.ended.len() > ENDED {
            let (.., key) = gc.ended.first().unwrap().clone();
            if world.decide(&mut gc, &key).writes.is_empty() {
                break;
            }
            gone.push(key.to_string());
            gc.ended.pop_first();
        }
        assert_eq!(gone, ["ns/young", "ns/old"]);
    }
}
