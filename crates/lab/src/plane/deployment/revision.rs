//! Revisions: each template has its ReplicaSet, numbered in the order they were rolled out.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::rollout::{Rollout, has_template, size, sort_by_age};
use super::status::{self, Progress};
use crate::plane::numbers::hash_name;
use crate::plane::pods::controlled_by;
use crate::plane::runtime::{Action, Cluster, Note, Plan, Tried, Write};

/// Label that tells the pods of one template from those of another.
pub(super) const HASH: &str = "pod-template-hash";
/// Number of the revision, of Deployment and ReplicaSet.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Numbers that the ReplicaSet had before.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How many replicas the Deployment wanted when the ReplicaSet was last scaled.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// How many there could be at most then.
pub(super) const MOST: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of the Deployment that its ReplicaSets don't take over.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
];
/// Longest history that is kept, in characters.
const LONGEST_HISTORY: usize = 2000;
/// Longest name of an object.
const LONGEST_NAME: usize = 253;

/// The ReplicaSet's annotation of that name.
pub(super) fn annotation<'a>(set: &'a ReplicaSet, name: &str) -> Option<&'a str> {
    set.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn revision(set: &ReplicaSet) -> i64 {
    annotation(set, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Brings the annotations of the new ReplicaSet up to date; it has the highest revision.
pub(super) fn mark_new(rollout: &Rollout<'_>) -> Option<Write> {
    let new = rollout.new.as_ref()?;
    let mut marked = ReplicaSet::clone(new);
    let annotations = marked.metadata.annotations.get_or_insert_default();
    copy_annotations(rollout.deployment, annotations);
    number(rollout, annotations);
    let spec = marked.spec.get_or_insert_default();
    if spec.min_ready_seconds.unwrap_or(0) != rollout.spec.min_ready_seconds.unwrap_or(0) {
        spec.min_ready_seconds = rollout.spec.min_ready_seconds;
    }
    (marked != **new).then(|| Write::new(Action::Replace, marked))
}

fn copy_annotations(deployment: &Deployment, into: &mut BTreeMap<String, String>) {
    for (name, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN.contains(&name.as_str()) {
            into.insert(name.clone(), value.clone());
        }
    }
}

/// Gives the next number, if what is there is not the highest; the one it had goes to the history.
fn number(rollout: &Rollout<'_>, annotations: &mut BTreeMap<String, String>) {
    let next = rollout.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
    let old = annotations.get(REVISION).cloned();
    let Ok(number) = old.as_deref().unwrap_or("0").parse::<i64>() else { return };
    if number >= next {
        return;
    }
    annotations.insert(REVISION.to_owned(), next.to_string());
    let Some(old) = old else { return };
    let before = annotations.get(HISTORY).filter(|text| !text.is_empty());
    let mut history = before.map_or_else(|| old.clone(), |before| format!("{before},{old}"));
    while history.len() > LONGEST_HISTORY {
        let Some((_, rest)) = history.split_once(',') else { return };
        history = rest.to_owned();
    }
    annotations.insert(HISTORY.to_owned(), history);
}

/// Gives the Deployment the number of its new ReplicaSet.
pub(super) fn mark_deployment(rollout: &Rollout<'_>) -> Option<Write> {
    let number = annotation(rollout.new.as_ref()?, REVISION)?;
    let annotations = rollout.deployment.metadata.annotations.as_ref();
    if annotations.and_then(|all| all.get(REVISION)).is_some_and(|own| own == number) {
        return None;
    }
    let patch = json!({ "metadata": { "annotations": { REVISION: number } } });
    Some(Write::new(Action::Patch(patch), rollout.deployment.clone()))
}

/// Makes the ReplicaSet of the newest template.
pub(super) fn make(cluster: &Cluster, rollout: &Rollout<'_>) -> Plan {
    let deployment = rollout.deployment;
    let set = new_set(rollout);
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let name = set.metadata.name.clone().unwrap_or_default();
    let taken = cluster.replica_sets.named(namespace, &name);
    if taken.is_some_and(|other| !is_same(rollout, other)) {
        let mut status = status::of(rollout, Progress::Ignored);
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        let told = Deployment { status: Some(status), ..deployment.clone() };
        return Plan { writes: vec![Write::new(Action::ReplaceStatus, told)], ..Plan::default() };
    }
    let failed = format!("Failed to create new replica set \"{name}\": {{error}}");
    let failed = Note::warning(deployment, "ReplicaSetCreateError", failed);
    let size = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    let mut write = Write::new(Action::Create, set).failed(failed);
    if size > 0 {
        let message = format!("Scaled up replica set {name} from 0 to {size}");
        write = write.done(Note::normal(deployment, "ScalingReplicaSet", message));
    }
    match rollout.turn.failure.filter(|failure| failure.tried == Tried::Create) {
        Some(failure) => {
            let message =
                format!("Failed to create new replica set \"{name}\": {}", failure.message);
            let mut plan = rollout.with_status(Vec::new(), Progress::NotMade(message));
            plan.writes.push(write);
            plan
        }
        None => rollout.with_status(vec![write], Progress::Made(name)),
    }
}

/// Whether the ReplicaSet in the place of the new one is the new one, not shown as such yet.
fn is_same(rollout: &Rollout<'_>, other: &ReplicaSet) -> bool {
    super::is_owned(rollout.deployment, other) && has_template(other, &rollout.spec.template)
}

fn new_set(rollout: &Rollout<'_>) -> ReplicaSet {
    let deployment = rollout.deployment;
    let mut template = rollout.spec.template.clone();
    let content = serde_json::to_vec(&template).unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash_name(&content, collisions.unwrap_or(0));
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = rollout.spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH.to_owned(), hash.clone());
    let mut name = deployment.metadata.name.clone().unwrap_or_default();
    name.truncate(LONGEST_NAME - 1 - hash.len());
    let mut annotations = BTreeMap::new();
    copy_annotations(deployment, &mut annotations);
    number(rollout, &mut annotations);
    annotations.insert(DESIRED.to_owned(), rollout.want.to_string());
    annotations.insert(MOST.to_owned(), (rollout.want + rollout.surge()).to_string());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![controlled_by(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(rollout.room_for_new(0)),
            min_ready_seconds: rollout.spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// Removes the oldest ReplicaSets without pods, beyond those that are kept for going back.
pub(super) fn clean_up(rollout: &Rollout<'_>) -> Vec<Write> {
    let Some(keep) = rollout.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else {
        return Vec::new();
    };
    let alive = |set: &&Arc<ReplicaSet>| set.metadata.deletion_timestamp.is_none();
    let mut old: Vec<_> = rollout.old.iter().filter(alive).cloned().collect();
    let many = old.len().saturating_sub(usize::try_from(keep).unwrap_or(0));
    sort_by_age(&mut old);
    old.sort_by_key(|set| revision(set));
    let is_empty = |set: &&Arc<ReplicaSet>| {
        let status = set.status.as_ref();
        size(set) == 0
            && status.is_none_or(|status| status.replicas == 0)
            && set.metadata.generation <= status.and_then(|status| status.observed_generation)
    };
    let delete =
        |set: &Arc<ReplicaSet>| Write::new(Action::Delete { grace: None }, ReplicaSet::clone(set));
    old.iter().take(many).filter(is_empty).map(delete).collect()
}
