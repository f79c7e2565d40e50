//! How many pods of a PodDisruptionBudget may be evicted now. The API server's evictions obey it.
//!
//! Source: Kubernetes, `pkg/controller/disruption`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::SignedDuration;

use super::numbers::{Round, count, scaled};
use super::runtime::{Action, Change, Cluster, Controller, Keys, Note, Plan, Turn, Write};
use super::runtime::{controller_of, owner_key};
use super::{pods, selector};

/// How long an eviction that was allowed may take to show as a deletion.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);

/// The controller of PodDisruptionBudgets.
pub(super) struct Budgets;

impl Controller for Budgets {
    fn name(&self) -> &'static str {
        "controllermanager"
    }

    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        let of_namespace = |namespace: Option<&str>, keys: &mut Keys| {
            let budgets = cluster.budgets.in_namespace(namespace.unwrap_or_default());
            keys.extend(budgets.map(|budget| super::runtime::key(&**budget)));
        };
        if let Change::PodDisruptionBudget(changed) = change {
            keys.add(changed.key.clone());
        } else if let Change::Pod(changed) = change {
            for pod in changed.states() {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                let about =
                    cluster.budgets.in_namespace(namespace).filter(|budget| selects(budget, pod));
                keys.extend(about.map(|budget| super::runtime::key(&**budget)));
            }
        } else if let Change::ReplicaSet(changed) = change {
            of_namespace(changed.last().and_then(|set| set.metadata.namespace.as_deref()), keys);
        } else if let Change::Deployment(changed) = change {
            of_namespace(changed.last().and_then(|set| set.metadata.namespace.as_deref()), keys);
        } else if let Change::StatefulSet(changed) = change {
            of_namespace(changed.last().and_then(|set| set.metadata.namespace.as_deref()), keys);
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let Some(budget) = cluster.budgets.get(key) else { return Plan::nothing() };
        if budget.metadata.deletion_timestamp.is_some() {
            return Plan::nothing();
        }
        let namespace = budget.metadata.namespace.as_deref().unwrap_or_default();
        let none = BTreeMap::new();
        let spec = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let labels = spec.and_then(|select| select.match_labels.as_ref()).unwrap_or(&none);
        let all = cluster.pods.labeled(namespace, labels);
        let pods: Vec<_> = all.filter(|pod| selects(budget, pod)).cloned().collect();
        let mut plan = Plan::nothing();
        let status = status(cluster, budget, &pods, turn, &mut plan);
        if budget.status.as_ref() == Some(&status) {
            plan.events.clear();
            return plan;
        }
        let told =
            PodDisruptionBudget { status: Some(status), ..PodDisruptionBudget::clone(budget) };
        plan.writes.push(Write::new(Action::ReplaceStatus, told));
        plan
    }
}

/// Whether the budget is about `pod`; one without a selector is about none, an empty selector about all.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let select = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    select.is_some_and(|select| selector::matches(select, pod.metadata.labels.as_ref()))
}

fn status(
    cluster: &Cluster,
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    turn: &Turn<'_>,
    plan: &mut Plan,
) -> PodDisruptionBudgetStatus {
    let old = budget.status.clone().unwrap_or_default();
    let mut status = PodDisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        disrupted_pods: evicted(&old, pods, turn, plan),
        ..old
    };
    let evicted = |pod: &Pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        status.disrupted_pods.as_ref().is_some_and(|evicted| evicted.contains_key(name))
    };
    let healthy =
        pods.iter().filter(|pod| !pods::is_leaving(pod) && pods::is_ready(pod) && !evicted(pod));
    let healthy = count(healthy.count());
    let (reason, message) = match expected(cluster, budget, pods) {
        Ok((expected, desired)) => {
            status.expected_pods = expected;
            status.desired_healthy = desired;
            status.current_healthy = healthy;
            let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
            status.disruptions_allowed = allowed;
            (if allowed > 0 { "SufficientPods" } else { "InsufficientPods" }, String::new())
        }
        Err(message) => {
            let told = format!("Failed to calculate the number of expected pods: {message}");
            plan.events.push(Note::warning(budget, "CalculateExpectedPodCountFailed", told));
            status.disruptions_allowed = 0;
            ("SyncFailed", message)
        }
    };
    tell(&mut status, reason, message, turn);
    status
}

fn tell(status: &mut PodDisruptionBudgetStatus, reason: &str, message: String, turn: &Turn<'_>) {
    let value = if reason == "SufficientPods" { "True" } else { "False" };
    let conditions = status.conditions.get_or_insert_default();
    let old = conditions.iter().find(|condition| condition.type_ == "DisruptionAllowed");
    let since = old.filter(|old| old.status == value).map(|old| old.last_transition_time.clone());
    let condition = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: status.observed_generation,
        last_transition_time: since.unwrap_or(Time(turn.now)),
    };
    conditions.retain(|condition| condition.type_ != "DisruptionAllowed");
    conditions.push(condition);
}

/// Evictions that were allowed and have not shown yet.
fn evicted(
    old: &PodDisruptionBudgetStatus,
    pods: &[Arc<Pod>],
    turn: &Turn<'_>,
    plan: &mut Plan,
) -> Option<BTreeMap<String, Time>> {
    let stays = |name: &str| {
        pods.iter().any(|pod| pod.metadata.name.as_deref() == Some(name) && !pods::is_leaving(pod))
    };
    let mut left = BTreeMap::new();
    for (name, time) in old.disrupted_pods.iter().flatten() {
        if stays(name) && time.0 + PATIENCE > turn.now {
            plan.again_at(time.0 + PATIENCE);
            left.insert(name.clone(), time.clone());
        }
    }
    (!left.is_empty()).then_some(left)
}

/// How many pods there should be, and how many of them have to be healthy.
fn expected(
    cluster: &Cluster,
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
) -> Result<(i32, i32), String> {
    let spec = budget.spec.as_ref();
    if let Some(most) = spec.and_then(|spec| spec.max_unavailable.as_ref()) {
        let whole = scale(cluster, pods)?;
        return Ok((whole, (whole - scaled(most, whole, Round::Up)).max(0)));
    }
    match spec.and_then(|spec| spec.min_available.as_ref()) {
        Some(IntOrString::Int(least)) => Ok((count(pods.len()), *least)),
        Some(part @ IntOrString::String(_)) => {
            let whole = scale(cluster, pods)?;
            Ok((whole, scaled(part, whole, Round::Up)))
        }
        None => Ok((count(pods.len()), 0)),
    }
}

/// How many pods the owners of `pods` want together.
fn scale(cluster: &Cluster, pods: &[Arc<Pod>]) -> Result<i32, String> {
    let mut owners: BTreeMap<String, i32> = BTreeMap::new();
    for pod in pods {
        let Some(owner) = controller_of(&**pod) else {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            return Err(format!("found no controllers for pod \"{name}\""));
        };
        if owners.contains_key(&owner.uid) {
            continue;
        }
        let scale = of_owner(cluster, pod);
        let unknown = || {
            format!("{}.{} does not implement the scale subresource", owner.kind, owner.api_version)
        };
        owners.insert(owner.uid.clone(), 0);
        let (uid, scale) = scale.ok_or_else(unknown)?;
        owners.insert(uid, scale);
    }
    Ok(owners.values().sum())
}

/// The owner that decides how many pods there are, by uid, and how many it wants.
fn of_owner(cluster: &Cluster, pod: &Arc<Pod>) -> Option<(String, i32)> {
    if let Some(key) = owner_key(&**pod, "StatefulSet") {
        let set = cluster.stateful_sets.get(&key)?;
        return Some((set.metadata.uid.clone()?, set.spec.as_ref()?.replicas.unwrap_or(1)));
    }
    let set = cluster.replica_sets.get(&owner_key(&**pod, "ReplicaSet")?)?;
    if let Some(key) = owner_key(&**set, "Deployment") {
        let deployment = cluster.deployments.get(&key)?;
        let scale = deployment.spec.as_ref()?.replicas.unwrap_or(1);
        return Some((deployment.metadata.uid.clone()?, scale));
    }
    Some((set.metadata.uid.clone()?, set.spec.as_ref()?.replicas.unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::StatefulSet;
    use serde_json::{Value, json};

    use super::*;
    use crate::plane::runtime::testing::World;

    /// Four wanted pods, of which `ready` are.
    fn allowed(spec: &Value, ready: usize, disrupted: &Value) -> (i32, i32, String) {
        let mut world = World::new();
        world.put::<StatefulSet>(&json!({ "metadata": { "name": "db" },
            "spec": { "replicas": 4, "selector": {}, "template": {} } }));
        for place in 0..4 {
            let owner = json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "db", "controller": true }]);
            let ready = if place < ready { "True" } else { "False" };
            world.put::<Pod>(&json!({
                "metadata": { "name": format!("db-{place}"), "labels": { "app": "db" }, "ownerReferences": owner },
                "spec": { "containers": [] },
                "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] },
            }));
        }
        let mut spec = spec.clone();
        spec["selector"] = json!({ "matchLabels": { "app": "db" } });
        world.put::<PodDisruptionBudget>(
            &json!({ "metadata": { "name": "b", "generation": 1 }, "spec": spec,
            "status": { "disruptedPods": disrupted, "currentHealthy": 0, "desiredHealthy": 0,
                "disruptionsAllowed": 0, "expectedPods": 0 } }),
        );
        world.settle(&mut Budgets, "ns/b");
        let status = world.cluster.budgets.named("ns", "b").unwrap().status.clone().unwrap();
        let reason = status.conditions.unwrap()[0].reason.clone();
        (status.disruptions_allowed, status.desired_healthy, reason)
    }

    #[test]
    fn as_many_may_go_as_are_healthy_beyond_those_needed() {
        let cases = [
            (json!({ "minAvailable": 3 }), 4, json!({}), (1, 3, "SufficientPods")),
            (json!({ "minAvailable": 3 }), 3, json!({}), (0, 3, "InsufficientPods")),
            (json!({ "minAvailable": "50%" }), 4, json!({}), (2, 2, "SufficientPods")),
            (json!({ "maxUnavailable": 1 }), 4, json!({}), (1, 3, "SufficientPods")),
            (json!({ "maxUnavailable": "30%" }), 4, json!({}), (2, 2, "SufficientPods")),
            (json!({ "maxUnavailable": 1 }), 2, json!({}), (0, 3, "InsufficientPods")),
            (
                json!({ "maxUnavailable": 1 }),
                4,
                json!({ "db-0": "2026-01-01T00:00:00Z" }),
                (0, 3, "InsufficientPods"),
            ),
            (
                json!({ "maxUnavailable": 1 }),
                4,
                json!({ "db-0": "2025-12-31T23:58:00Z" }),
                (1, 3, "SufficientPods"),
            ),
        ];
        for (spec, ready, disrupted, (allowed_pods, desired, reason)) in cases {
            let told = allowed(&spec, ready, &disrupted);
            assert_eq!(
                told,
                (allowed_pods, desired, reason.to_owned()),
                "{spec} {ready} {disrupted}"
            );
        }
    }

    #[test]
    fn a_part_of_nobodys_pods_cannot_be_told() {
        let mut world = World::new();
        world.put::<Pod>(&json!({ "metadata": { "name": "p" }, "spec": { "containers": [] } }));
        world.put::<PodDisruptionBudget>(&json!({ "metadata": { "name": "b" },
            "spec": { "selector": {}, "maxUnavailable": 1 } }));
        let plan = world.decide(&mut Budgets, "ns/b");
        assert_eq!(plan.events[0].reason, "CalculateExpectedPodCountFailed");
        world.settle(&mut Budgets, "ns/b");
        let status = world.cluster.budgets.named("ns", "b").unwrap().status.clone().unwrap();
        assert_eq!(
            (status.disruptions_allowed, status.conditions.unwrap()[0].reason.as_str()),
            (0, "SyncFailed")
        );
    }
}
