//! The taints that follow from a node's state.
//!
//! Source: Kubernetes, node-lifecycle controller, `nodeConditionToTaintKeyStatusMap`; well-known taints.

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::{condition, ready};
use crate::plane::placement::{NOT_READY, UNREACHABLE, UNSCHEDULABLE, taint};
use crate::plane::runtime::{Action, Write};

/// Conditions that keep pods away while they are True, with the key of the taint.
const TROUBLES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// Gives the node the taints of its state and no others of that kind, if it has not got them.
pub(super) fn write(node: &Node, now: Timestamp) -> Option<Write> {
    let (own, others): (Vec<_>, Vec<_>) = all(node).cloned().partition(is_of_state);
    let wanted = wanted(node, &own, now);
    if is_same(&own, &wanted) {
        return None;
    }
    let taints: Vec<Taint> = others.into_iter().chain(wanted).collect();
    let version = &node.metadata.resource_version;
    let patch = json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } });
    Some(Write::new(Action::Patch(patch), node.clone()))
}

/// The taints of a node's state, those it has (`own`) with the time it got them.
fn wanted(node: &Node, own: &[Taint], now: Timestamp) -> Vec<Taint> {
    let mut wanted = match ready(node) {
        "True" => Vec::new(),
        "Unknown" => vec![taint(UNREACHABLE, "NoSchedule"), taint(UNREACHABLE, "NoExecute")],
        _ => vec![taint(NOT_READY, "NoSchedule"), taint(NOT_READY, "NoExecute")],
    };
    for (kind, key) in TROUBLES {
        if condition(node, kind).is_some_and(|condition| condition.status == "True") {
            wanted.push(taint(key, "NoSchedule"));
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push(taint(UNSCHEDULABLE, "NoSchedule"));
    }
    for taint in &mut wanted {
        let old = own.iter().find(|own| (&own.key, &own.effect) == (&taint.key, &taint.effect));
        let since = old.and_then(|old| old.time_added.clone());
        taint.time_added = Some(since.unwrap_or(Time(now)));
    }
    wanted
}

fn all(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten()
}

/// Whether the taint is one that nobody but this controller sets or removes.
fn is_of_state(taint: &Taint) -> bool {
    match taint.effect.as_str() {
        "NoExecute" => [NOT_READY, UNREACHABLE].contains(&taint.key.as_str()),
        "NoSchedule" => {
            [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str())
                || TROUBLES.iter().any(|(_, key)| *key == taint.key)
        }
        _ => false,
    }
}

fn is_same(a: &[Taint], b: &[Taint]) -> bool {
    let has = |all: &[Taint], taint: &Taint| {
        all.iter().any(|other| (&other.key, &other.effect) == (&taint.key, &taint.effect))
    };
    a.iter().all(|taint| has(b, taint)) && b.iter().all(|taint| has(a, taint))
}
