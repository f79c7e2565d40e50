//! Ends pods that do not tolerate a `NoExecute` taint of their node, or have tolerated it long enough.
//!
//! Source: Kubernetes, `pkg/controller/tainteviction`.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::placement::{NOT_READY, UNREACHABLE, tolerates};
use super::pods;
use super::runtime::{Action, Change, Cluster, Controller, Keys, Note, Plan, Turn, Write};

/// How long a pod that says nothing stays on a node in trouble.
///
/// Source: Kubernetes, admission plugin DefaultTolerationSeconds.
const DEFAULT: SignedDuration = SignedDuration::from_secs(300);

/// The controller of evictions by taint.
#[derive(Default)]
pub(super) struct TaintEviction {
    /// When taints were first seen that do not say it themselves, by node, key and value.
    seen: HashMap<(String, String, String), Timestamp>,
}

impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::Pod(changed) = change {
            if changed.new.as_ref().is_some_and(|pod| pods::node_of(pod).is_some()) {
                keys.add(changed.key.clone());
            }
        } else if let Change::Node(changed) = change {
            let of = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
            let old = changed.old.as_ref().and_then(|node| of(node));
            let new = changed.new.as_ref().and_then(|node| of(node));
            if old == new {
                return;
            }
            let is_there = |(node, key, _): &(String, String, String)| {
                **node != *changed.key || new.iter().flatten().any(|taint| taint.key == *key)
            };
            self.seen.retain(|seen, _| is_there(seen));
            for taint in new.iter().flatten().filter(|taint| taint.effect == "NoExecute") {
                self.seen.entry(place(&changed.key, taint)).or_insert(keys.now);
            }
            let here = cluster.pods.on_node(&changed.key);
            keys.extend(here.map(|pod| super::runtime::key(&**pod)));
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let Some(pod) = cluster.pods.get(key).filter(|pod| !pods::is_leaving(pod)) else {
            return Plan::nothing();
        };
        let node = pods::node_of(pod).and_then(|name| cluster.nodes.get(name));
        let Some(time) = node.and_then(|node| self.end(pod, node, turn.now)) else {
            return Plan::nothing();
        };
        let mut plan = Plan::nothing();
        if time > turn.now {
            plan.again_at(time);
            return plan;
        }
        let message = format!("Marking for deletion Pod {key}");
        plan.events.push(Note::normal(&**pod, "TaintManagerEviction", message));
        plan.writes.push(Write::new(Action::Delete { grace: None }, Pod::clone(pod)));
        plan
    }
}

impl TaintEviction {
    /// When the pod has to go; `None` while it may stay.
    fn end(&self, pod: &Pod, node: &Node, now: Timestamp) -> Option<Timestamp> {
        let taints = node.spec.as_ref()?.taints.as_ref()?;
        let taints = taints.iter().filter(|taint| taint.effect == "NoExecute");
        taints.filter_map(|taint| self.end_by(pod, node, taint, now)).min()
    }

    fn end_by(&self, pod: &Pod, node: &Node, taint: &Taint, now: Timestamp) -> Option<Timestamp> {
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref());
        let about =
            tolerations.into_iter().flatten().filter(|toleration| tolerates(toleration, taint));
        // A toleration without an end does not shorten another.
        let seconds: Vec<_> = about.map(|toleration| toleration.toleration_seconds).collect();
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let seen = self.seen.get(&place(name, taint)).copied();
        let since = taint.time_added.as_ref().map(|time| time.0).or(seen).unwrap_or(now);
        if seconds.is_empty() {
            let is_trouble = [NOT_READY, UNREACHABLE].contains(&taint.key.as_str());
            return Some(if is_trouble { since + DEFAULT } else { now });
        }
        let least = seconds.into_iter().flatten().min()?;
        Some(since + SignedDuration::from_secs(least.max(0)))
    }
}

fn place(node: &str, taint: &Taint) -> (String, String, String) {
    (node.to_owned(), taint.key.clone(), taint.value.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plane::runtime::testing::World;

    /// After how many seconds the pod goes.
    fn stays(taints: &Value, tolerations: &Value) -> String {
        let mut world = World::new();
        world.put::<Node>(
            &json!({ "metadata": { "name": "a", "namespace": "" }, "spec": { "taints": taints } }),
        );
        world.put::<Pod>(&json!({ "metadata": { "name": "p" },
            "spec": { "nodeName": "a", "containers": [], "tolerations": tolerations } }));
        let plan = world.decide(&mut TaintEviction::default(), "ns/p");
        match (plan.writes.len(), plan.again) {
            (0, None) => "stays".to_owned(),
            (0, Some(time)) => time.duration_since(world.now).as_secs().to_string(),
            _ => "goes".to_owned(),
        }
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        let taint = |key: &str, effect: &str| json!({ "key": key, "effect": effect, "timeAdded": "2025-12-31T23:59:50Z" });
        let execute = json!([taint("k", "NoExecute")]);
        let trouble = json!([taint(UNREACHABLE, "NoExecute")]);
        let tolerates = |key: &str, seconds: Value| json!([{ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds }]);
        let cases = [
            (json!([]), json!([]), "stays"),
            (json!([taint("k", "NoSchedule")]), json!([]), "stays"),
            (execute.clone(), json!([]), "goes"),
            (execute.clone(), tolerates("k", Value::Null), "stays"),
            (execute.clone(), tolerates("k", json!(30)), "20"),
            (execute.clone(), tolerates("k", json!(5)), "goes"),
            (execute, tolerates("other", json!(30)), "goes"),
            (trouble.clone(), json!([]), "290"),
            (trouble, tolerates(UNREACHABLE, json!(0)), "goes"),
        ];
        for (taints, tolerations, expect) in cases {
            assert_eq!(stays(&taints, &tolerations), expect, "{taints} {tolerations}");
        }
    }
}
