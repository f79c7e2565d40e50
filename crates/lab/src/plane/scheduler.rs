//! Chooses a node for each pod, in the small: filters as kube-scheduler's, spread as its default.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint, Toleration};
use kube_rs::api::{Patch, PatchParams, PostParams};
use kube_rs::{Api, Client};
use serde_json::json;

use super::is_overtaken;
use super::level::{Level, Objects};
use crate::events::{Events, Kind};

/// What is decided about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It runs on this node.
    Bind(String),
    /// No node will have it: the message of its `PodScheduled` condition.
    Unschedulable(String),
}

/// Schedules pods until a level ends.
pub(super) async fn run(
    client: Client,
    events: Events,
    mut nodes: Level<Node>,
    mut pods: Level<Pod>,
) {
    // Bindings whose effect the level may not show yet: pod uid to node.
    let mut bound: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let levels = (nodes.borrow_and_update().clone(), pods.borrow_and_update().clone());
        if let (Some(nodes), Some(pods)) = levels {
            let waiting = |pod: &Arc<Pod>| node_name(pod).is_none();
            bound.retain(|uid, _| pods.values().any(|pod| waiting(pod) && uid_of(pod) == uid));
            for (pod, decision) in schedule(&nodes, &pods, &bound) {
                match carry_out(&client, &pod, &decision, &mut bound).await {
                    Ok(()) => tell(&events, &pod, &decision),
                    Err(error) if is_overtaken(&error) => {}
                    Err(error) => {
                        tracing::warn!("schedule pod {}: {error}", super::level::key(&*pod));
                    }
                }
            }
        }
        let alive = tokio::select! {
            changed = nodes.changed() => changed.is_ok(),
            changed = pods.changed() => changed.is_ok(),
        };
        if !alive {
            return;
        }
    }
}

/// Source: kube-scheduler, the events `Scheduled` and `FailedScheduling`.
fn tell(events: &Events, pod: &Pod, decision: &Decision) {
    let (kind, reason, message) = match decision {
        Decision::Bind(node) => {
            let message = format!("Successfully assigned {} to {node}", super::level::key(pod));
            (Kind::Normal, "Scheduled", message)
        }
        Decision::Unschedulable(message) => (Kind::Warning, "FailedScheduling", message.clone()),
    };
    events.tell(pod, None, kind, reason, message);
}

async fn carry_out(
    client: &Client,
    pod: &Pod,
    decision: &Decision,
    bound: &mut BTreeMap<String, String>,
) -> Result<(), kube_rs::Error> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    match decision {
        Decision::Bind(node) => {
            let binding = json!({
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": { "name": name, "namespace": namespace, "uid": pod.metadata.uid },
                "target": { "apiVersion": "v1", "kind": "Node", "name": node },
            });
            let done: serde_json::Value =
                api.create_subresource("binding", name, &PostParams::default(), &binding).await?;
            tracing::debug!("bound {namespace}/{name} to {node}: {}", done["status"]);
            bound.insert(uid_of(pod).to_owned(), node.clone());
        }
        Decision::Unschedulable(message) => {
            let patch = json!({ "status": { "conditions": unscheduled(pod, message) } });
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
    }
    Ok(())
}

/// The pod's conditions with `PodScheduled` false: a merge patch replaces the whole list.
fn unscheduled(pod: &Pod, message: &str) -> Vec<serde_json::Value> {
    let status = pod.status.as_ref();
    let others = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let mut conditions: Vec<_> = others
        .filter(|condition| condition.type_ != "PodScheduled")
        .filter_map(|condition| serde_json::to_value(condition).ok())
        .collect();
    conditions.push(json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": super::node_health::now(),
    }));
    conditions
}

/// What to do now about every pod that waits for a node. `bound` counts as running where it says.
///
/// A pod goes to the node with the fewest pods among those that are ready, not cordoned, have the
/// labels of its `nodeSelector`, no taint it does not tolerate, its host ports free and room. Pods
/// are served in the order of their names, so the same cluster is always laid out the same way.
///
/// Source: kube-scheduler's plugins NodeUnschedulable, NodeAffinity (nodeSelector only),
/// TaintToleration, NodePorts, NodeResourcesFit (the number of pods).
pub fn schedule(
    nodes: &Objects<Node>,
    pods: &Objects<Pod>,
    bound: &BTreeMap<String, String>,
) -> Vec<(Arc<Pod>, Decision)> {
    let mut running: BTreeMap<String, Vec<Arc<Pod>>> =
        nodes.keys().map(|name| (name.clone(), Vec::new())).collect();
    for pod in pods.values().filter(|pod| !is_over(pod)) {
        let node = node_name(pod).or_else(|| bound.get(uid_of(pod)).map(String::as_str));
        if let Some(here) = node.and_then(|node| running.get_mut(node)) {
            here.push(pod.clone());
        }
    }
    let mut decisions = Vec::new();
    for pod in pods.values().filter(|pod| is_waiting(pod) && !bound.contains_key(uid_of(pod))) {
        let mut refusals: BTreeMap<&str, usize> = BTreeMap::new();
        let mut best: Option<(usize, &String)> = None;
        for (name, node) in nodes.iter() {
            let here = running.get(name).map_or(&[][..], Vec::as_slice);
            match refusal(pod, node, here) {
                Some(why) => *refusals.entry(why).or_default() += 1,
                None if best.is_none_or(|(least, _)| here.len() < least) => {
                    best = Some((here.len(), name));
                }
                None => {}
            }
        }
        let decision = match best {
            Some((_, name)) => {
                running.entry(name.clone()).or_default().push(pod.clone());
                Decision::Bind(name.clone())
            }
            None => Decision::Unschedulable(message(nodes.len(), &refusals)),
        };
        if !is_told(pod, &decision) {
            decisions.push((pod.clone(), decision));
        }
    }
    decisions
}

/// Why `node`, where the pods `here` are, will not have `pod`; `None` if it will.
fn refusal(pod: &Pod, node: &Node, here: &[Arc<Pod>]) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    if !super::node_health::is_ready(node) {
        return Some("were not ready");
    }
    let node_spec = node.spec.as_ref();
    if node_spec.and_then(|spec| spec.unschedulable) == Some(true) {
        return Some("were unschedulable");
    }
    let labels = node.metadata.labels.as_ref();
    let has = |(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value);
    if !spec.node_selector.iter().flatten().all(has) {
        return Some("didn't match Pod's node affinity/selector");
    }
    let mut taints = node_spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    if taints.any(|taint| taint.effect != "PreferNoSchedule" && !is_tolerated(taint, spec)) {
        return Some("had untolerated taints");
    }
    let room = node.status.as_ref().and_then(|status| status.allocatable.as_ref()?.get("pods"));
    if room.and_then(|room| room.0.parse().ok()).is_some_and(|room: usize| here.len() >= room) {
        return Some("had too many pods");
    }
    let taken: Vec<_> = here.iter().flat_map(|other| host_ports(other)).collect();
    if host_ports(pod).iter().any(|port| taken.contains(port)) {
        return Some("didn't have free ports for the requested pod ports");
    }
    None
}

/// Whether `spec` tolerates `taint`.
///
/// Source: Toleration API: an empty key with Exists matches all, an empty effect every effect.
fn is_tolerated(taint: &Taint, spec: &PodSpec) -> bool {
    let matches = |toleration: &Toleration| {
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let key = toleration.key.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        let value = toleration.value.as_deref().unwrap_or_default();
        (effect.is_empty() || effect == taint.effect)
            && (if key.is_empty() { exists } else { key == taint.key })
            && (exists || value == taint.value.as_deref().unwrap_or_default())
    };
    spec.tolerations.iter().flatten().any(matches)
}

/// Ports of the node that `pod` takes, as protocol and number.
fn host_ports(pod: &Pod) -> Vec<(String, i32)> {
    let Some(spec) = pod.spec.as_ref() else { return Vec::new() };
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let shared = spec.host_network == Some(true);
    ports
        .filter_map(|port| {
            let number = port.host_port.or(shared.then_some(port.container_port))?;
            Some((port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), number))
        })
        .collect()
}

fn message(nodes: usize, refusals: &BTreeMap<&str, usize>) -> String {
    let reasons: Vec<_> =
        refusals.iter().map(|(why, count)| format!("{count} node(s) {why}")).collect();
    match reasons.is_empty() {
        true => "no nodes available to schedule pods".to_owned(),
        false => format!("0/{nodes} nodes are available: {}.", reasons.join(", ")),
    }
}

/// Whether the pod says already what would be said.
fn is_told(pod: &Pod, decision: &Decision) -> bool {
    let Decision::Unschedulable(message) = decision else { return false };
    let status = pod.status.as_ref();
    let mut conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    conditions.any(|condition| {
        condition.type_ == "PodScheduled" && condition.message.as_ref() == Some(message)
    })
}

fn is_waiting(pod: &Pod) -> bool {
    let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    node_name(pod).is_none()
        && !is_over(pod)
        && pod.metadata.deletion_timestamp.is_none()
        && matches!(scheduler, None | Some("" | "default-scheduler"))
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

fn uid_of(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn objects<K: serde::de::DeserializeOwned>(list: &[Value]) -> Objects<K> {
        let entry = |json: &Value| {
            let name = json["metadata"]["name"].as_str().unwrap().to_owned();
            (name, Arc::new(serde_json::from_value(json.clone()).unwrap()))
        };
        Arc::new(list.iter().map(entry).collect())
    }

    fn node(name: &str, spec: Value, ready: &str) -> Value {
        json!({
            "metadata": { "name": name, "labels": { "disk": name } },
            "spec": spec,
            "status": {
                "allocatable": { "pods": "2" },
                "conditions": [{ "type": "Ready", "status": ready }],
            },
        })
    }

    fn pod(name: &str, spec: Value) -> Value {
        let mut spec = spec;
        if spec["containers"].is_null() {
            spec["containers"] = json!([]);
        }
        json!({ "metadata": { "name": name, "uid": name }, "spec": spec })
    }

    fn decided(nodes: &[Value], pods: &[Value]) -> Vec<String> {
        let bound = [("assumed".to_owned(), "b".to_owned())].into();
        let tell = |(pod, decision): (Arc<Pod>, Decision)| match decision {
            Decision::Bind(node) => format!("{} -> {node}", uid_of(&pod)),
            Decision::Unschedulable(why) => format!("{}: {why}", uid_of(&pod)),
        };
        schedule(&objects(nodes), &objects(pods), &bound).into_iter().map(tell).collect()
    }

    #[test]
    fn pods_spread_to_where_the_fewest_are() {
        let nodes = [node("a", json!({}), "True"), node("b", json!({}), "True")];
        let pods = [
            pod("assumed", json!({})),
            pod("there", json!({ "nodeName": "a" })),
            pod("x1", json!({})),
            pod("x2", json!({})),
            pod("x3", json!({})),
        ];
        let full = "x3: 0/2 nodes are available: 2 node(s) had too many pods.";
        assert_eq!(decided(&nodes, &pods), ["x1 -> a", "x2 -> b", full]);
    }

    #[test]
    fn each_reason_keeps_a_pod_from_a_node_and_is_told() {
        let taint = json!({ "taints": [{ "key": "k", "value": "v", "effect": "NoSchedule" }] });
        let port = json!({ "containers": [{ "name": "c", "ports": [{ "containerPort": 80, "hostPort": 80 }] }] });
        let cases = [
            (json!({}), "False", json!({}), "1 node(s) were not ready"),
            (json!({ "unschedulable": true }), "True", json!({}), "1 node(s) were unschedulable"),
            (json!({}), "True", json!({ "nodeSelector": { "disk": "z" } }), "selector"),
            (json!({}), "True", json!({ "nodeSelector": { "disk": "a" } }), "-> a"),
            (taint.clone(), "True", json!({}), "1 node(s) had untolerated taints"),
            (
                taint.clone(),
                "True",
                json!({ "tolerations": [{ "key": "k", "value": "v" }] }),
                "-> a",
            ),
            (taint, "True", json!({ "tolerations": [{ "operator": "Exists" }] }), "-> a"),
            (json!({}), "True", port.clone(), "free ports"),
        ];
        for (node_spec, ready, pod_spec, expect) in cases {
            let mut holder = port.clone();
            holder["nodeName"] = json!("a");
            let pods = [pod("holder", holder), pod("x", pod_spec)];
            let told = decided(&[node("a", node_spec, ready)], &pods);
            assert!(told[0].contains(expect), "{told:?} should say {expect}");
        }
        assert_eq!(
            decided(&[], &[pod("x", json!({}))]),
            ["x: no nodes available to schedule pods"]
        );
    }

    #[test]
    fn what_is_not_ours_to_schedule_is_left_alone_and_nothing_is_told_twice() {
        let mut told = pod("told", json!({}));
        told["status"] = json!({ "conditions": [{
            "type": "PodScheduled", "status": "False",
            "message": "no nodes available to schedule pods",
        }] });
        let mut leaving = pod("leaving", json!({}));
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let other = pod("other", json!({ "schedulerName": "mine" }));
        assert!(decided(&[], &[told, leaving, other]).is_empty());
    }
}
