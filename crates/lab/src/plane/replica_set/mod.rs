//! Keeps as many pods of a template as a ReplicaSet asks for.
//!
//! Source: Kubernetes, `pkg/controller/replicaset`.

mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::claim::{claim, takers};
use super::pods;
use super::runtime::{Action, Change, Cluster, Controller, Keys, Plan, Turn, Write, controller_of};

/// Most pods that one turn makes or removes.
const BURST: usize = 500;

/// The controller of ReplicaSets.
pub(super) struct ReplicaSets;

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::ReplicaSet(changed) = change {
            keys.add(changed.key.clone());
        } else if let Change::Pod(changed) = change {
            keys.add_owner(changed, "ReplicaSet");
            if let Some(pod) = &changed.new {
                keys.extend(takers(&cluster.replica_sets, &**pod, |set| {
                    set.spec.as_ref().map(|spec| &spec.selector)
                }));
            }
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let Some(set) = cluster.replica_sets.get(key) else { return Plan::nothing() };
        let Some(spec) = &set.spec else { return Plan::nothing() };
        let claim = claim(&cluster.pods, &**set, &spec.selector, pods::is_active);
        if !claim.writes.is_empty() {
            return Plan { writes: claim.writes, ..Plan::default() };
        }
        let mut active = claim.own;
        active.retain(|pod| pods::is_active(pod));
        let mut plan = Plan::nothing();
        let status = status::of(set, &active, turn);
        if set.status.as_ref() != Some(&status) {
            let set = ReplicaSet { status: Some(status), ..ReplicaSet::clone(set) };
            plan.writes.push(Write::new(Action::ReplaceStatus, set));
        }
        if let Some(time) =
            pods::next_available(&active, spec.min_ready_seconds.unwrap_or(0), turn.now)
        {
            plan.again_at(time);
        }
        if set.metadata.deletion_timestamp.is_none() {
            plan.writes.extend(balance(cluster, set, active, turn.now));
        }
        plan
    }
}

/// Makes the pods that are missing, or removes those that are too many.
fn balance(
    cluster: &Cluster,
    set: &ReplicaSet,
    mut active: Vec<Arc<Pod>>,
    now: Timestamp,
) -> Vec<Write> {
    let spec = set.spec.as_ref();
    let want = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let want = usize::try_from(want).unwrap_or(0);
    if active.len() < want {
        let Some(template) = spec.and_then(|spec| spec.template.as_ref()) else {
            return Vec::new();
        };
        let pod = pods::from_template(template, set);
        let missing = (want - active.len()).min(BURST);
        return (0..missing).map(|_| pods::create(set, pod.clone())).collect();
    }
    let many = (active.len() - want).min(BURST);
    if many > 0 && want > 0 {
        pods::least_missed_first(&mut active, &crowd(cluster, set), now);
    }
    active.iter().take(many).map(|pod| pods::delete(set, pod)).collect()
}

/// How many active pods each node has of all ReplicaSets with the same owner.
fn crowd(cluster: &Cluster, set: &ReplicaSet) -> BTreeMap<String, usize> {
    let owner = controller_of(set).map(|owner| owner.uid.as_str());
    let siblings = owner.into_iter().flat_map(|uid| cluster.replica_sets.owned_by(uid));
    let uids = siblings.filter_map(|set| set.metadata.uid.as_deref());
    let alone = set.metadata.uid.as_deref().filter(|_| owner.is_none());
    let mut crowd = BTreeMap::new();
    for uid in uids.chain(alone) {
        for pod in cluster.pods.owned_by(uid).filter(|pod| pods::is_active(pod)) {
            if let Some(node) = pods::node_of(pod) {
                *crowd.entry(node.to_owned()).or_default() += 1;
            }
        }
    }
    crowd
}

#[cfg(test)]
mod tests;
