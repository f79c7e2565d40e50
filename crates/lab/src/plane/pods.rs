//! What controllers ask of pods, and how they make them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::runtime::{Action, Kind, Note, Write};

/// A pod of lower cost is removed before one of higher cost.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The pod's phase, or nothing if nobody has said.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether the pod has ended for good.
pub(crate) fn is_over(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod is to end.
pub(crate) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod runs or is going to.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_over(pod) && !is_leaving(pod)
}

/// The node the pod is bound to.
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// The pod's uid.
pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The pod's label of that name.
pub(crate) fn label<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(name).map(String::as_str)
}

/// The pod's condition of that type.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the pod's `Ready` condition is True.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// When the pod is available: `min_ready` seconds after it became ready, if it is ready.
pub(crate) fn available_at(pod: &Pod, min_ready: i32) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    if min_ready <= 0 {
        return Some(Timestamp::MIN);
    }
    let since = ready.last_transition_time.as_ref()?.0;
    Some(since + SignedDuration::from_secs(min_ready.into()))
}

/// Whether the pod is available at `now`.
pub(crate) fn is_available(pod: &Pod, min_ready: i32, now: Timestamp) -> bool {
    available_at(pod, min_ready).is_some_and(|time| time <= now)
}

/// The next time at which one of `pods` becomes available just by waiting.
pub(crate) fn next_available<'a>(
    pods: impl IntoIterator<Item = &'a Arc<Pod>>,
    min_ready: i32,
    now: Timestamp,
) -> Option<Timestamp> {
    let times = pods.into_iter().filter_map(|pod| available_at(pod, min_ready));
    times.filter(|time| *time > now).min()
}

/// A reference that makes `owner` the controller of an object.
pub(crate) fn controlled_by<K: Kind>(owner: &K) -> OwnerReference {
    OwnerReference {
        controller: Some(true),
        block_owner_deletion: Some(true),
        ..owner.owner_ref(&()).unwrap_or_default()
    }
}

/// A pod as `template` says, controlled by `owner`, its name given by the API server.
pub(crate) fn from_template<K: Kind>(template: &PodTemplateSpec, owner: &K) -> Pod {
    let from = template.metadata.clone().unwrap_or_default();
    let name = owner.meta().name.as_deref().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            namespace: owner.meta().namespace.clone(),
            generate_name: Some(format!("{name}-")),
            labels: from.labels,
            annotations: from.annotations,
            finalizers: from.finalizers,
            owner_references: Some(vec![controlled_by(owner)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Makes `pod`, and tells `owner`'s story.
pub(crate) fn create<K: Kind>(owner: &K, pod: Pod) -> Write {
    Write::new(Action::Create, pod)
        .done(Note::normal(owner, "SuccessfulCreate", "Created pod: {name}".to_owned()))
        .failed(Note::warning(owner, "FailedCreate", "Error creating: {error}".to_owned()))
}

/// Removes `pod`, and tells `owner`'s story.
pub(crate) fn delete<K: Kind>(owner: &K, pod: &Pod) -> Write {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Write::new(Action::Delete { grace: None }, pod.clone())
        .done(Note::normal(owner, "SuccessfulDelete", format!("Deleted pod: {name}")))
        .failed(Note::warning(owner, "FailedDelete", "Error deleting: {error}".to_owned()))
}

/// Puts those pods first that are missed least. `crowd` says for a node how many related pods are there.
///
/// Not bound to a node; pending; not ready; of low cost; on a node with many related ones; ready for a
/// short time; restarted often; young. Times count by their order of magnitude, and among equals the
/// uid decides, so that it is not always the youngest node that loses its pods.
///
/// Source: Kubernetes, `ActivePodsWithRanks`; KEP-2255 (cost), KEP-2185 (times).
pub(crate) fn least_missed_first(
    pods: &mut [Arc<Pod>],
    crowd: &BTreeMap<String, usize>,
    now: Timestamp,
) {
    let on_node = |pod: &Pod| node_of(pod).and_then(|node| crowd.get(node)).copied().unwrap_or(0);
    pods.sort_by(|a, b| {
        let ready = |pod: &Pod| {
            condition(pod, "Ready")
                .and_then(|ready| ready.last_transition_time.as_ref())
                .map(|t| t.0)
        };
        let made = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (node_of(a).is_some().cmp(&node_of(b).is_some()))
            .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
            .then_with(|| is_ready(a).cmp(&is_ready(b)))
            .then_with(|| cost(a).cmp(&cost(b)))
            .then_with(|| on_node(b).cmp(&on_node(a)))
            .then_with(|| match is_ready(a) && is_ready(b) {
                true => youngest_first(ready(a), ready(b), now, uid(a).cmp(uid(b))),
                false => Ordering::Equal,
            })
            .then_with(|| restarts(b).cmp(&restarts(a)))
            .then_with(|| youngest_first(made(a), made(b), now, uid(a).cmp(uid(b))))
    });
}

fn youngest_first(
    a: Option<Timestamp>,
    b: Option<Timestamp>,
    now: Timestamp,
    else_by: Ordering,
) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (Some(a), Some(b)) = (a, b) else { return a.is_some().cmp(&b.is_some()) };
    let magnitude = |time: Timestamp| {
        let age = now.duration_since(time).as_nanos();
        u128::try_from(age).ok().and_then(u128::checked_ilog2)
    };
    magnitude(a).cmp(&magnitude(b)).then(else_by)
}

fn phase_rank(pod: &Pod) -> u8 {
    match phase(pod) {
        "" | "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.as_ref().and_then(|all| all.get(DELETION_COST));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    containers.into_iter().flatten().map(|container| container.restart_count).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, line: &str) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": { "name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {} },
            "spec": { "containers": [], "nodeName": "n" },
            "status": { "phase": "Running", "conditions": [
                { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
            ] },
        });
        for word in line.split_whitespace() {
            let (field, value) = word.split_once('=').unwrap();
            match field {
                "node" => pod["spec"]["nodeName"] = json!(value),
                "phase" => pod["status"]["phase"] = json!(value),
                "ready" => pod["status"]["conditions"][0]["status"] = json!(value),
                "since" => pod["status"]["conditions"][0]["lastTransitionTime"] = json!(value),
                "cost" => pod["metadata"]["annotations"][DELETION_COST] = json!(value),
                "made" => pod["metadata"]["creationTimestamp"] = json!(value),
                "restarts" => {
                    let count: Value = value.parse::<i32>().unwrap().into();
                    pod["status"]["containerStatuses"] = json!([{ "name": "c", "image": "i",
                        "imageID": "", "ready": true, "restartCount": count }]);
                }
                _ => panic!("{field}"),
            }
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn the_pod_that_is_missed_least_goes_first() {
        let cases = [
            ("unbound before bound", "node=", "phase=Pending"),
            ("pending before running", "phase=Pending", ""),
            ("unready before ready", "ready=False", ""),
            ("cheap before dear", "cost=-5", "cost=3"),
            ("unready before cheap", "ready=False cost=9", "cost=-9"),
            ("from the crowd", "node=crowded", ""),
            ("ready for a short time", "since=2026-01-01T00:59:00Z", ""),
            ("often restarted", "restarts=3", "restarts=1"),
            ("young", "made=2026-01-01T00:59:00Z", ""),
            (
                "of equal magnitude the lower uid",
                "since=2026-01-01T00:00:00Z",
                "since=2026-01-01T00:00:01Z",
            ),
        ];
        let crowd = [("crowded".to_owned(), 3), ("n".to_owned(), 1)].into();
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        for (claim, first, second) in cases {
            for swap in [false, true] {
                let mut pods = vec![pod("a", first), pod("b", second)];
                if swap {
                    pods.reverse();
                }
                least_missed_first(&mut pods, &crowd, now);
                assert_eq!(uid(&pods[0]), "a", "{claim}");
            }
        }
    }

    #[test]
    fn a_pod_is_available_when_it_was_ready_long_enough() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let ready = pod("a", "since=2026-01-01T00:59:50Z");
        assert!(is_available(&ready, 0, now));
        assert!(is_available(&ready, 10, now));
        assert!(!is_available(&ready, 11, now));
        assert_eq!(next_available([&ready], 30, now), Some(now + SignedDuration::from_secs(20)));
        assert_eq!(next_available([&pod("b", "ready=False")], 30, now), None);
    }
}
