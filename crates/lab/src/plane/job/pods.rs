//! The pods that a Job makes, and those it has too many of.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::State;
use super::count::{Tally, has_failed};
use super::past::{self, Past};
use crate::plane::pods::{
    create, delete, from_template, is_leaving, is_over, least_missed_first, phase,
};
use crate::plane::runtime::{Action, Plan, Write};

/// Finalizer of pods that are not counted yet.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Annotation and label of a pod's index.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Most pods that one turn makes or removes.
const BURST: usize = 500;
/// Pause after the first failure; it doubles with every further one.
const PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// The longest pause.
const LONGEST: SignedDuration = SignedDuration::from_mins(10);

/// Whether the pod is still to be counted.
pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TRACKING)
}

/// Lets a pod go.
pub(super) fn untrack(pod: &Arc<Pod>) -> Write {
    let finalizers = pod.metadata.finalizers.iter().flatten();
    let others: Vec<_> = finalizers.filter(|finalizer| *finalizer != TRACKING).collect();
    let patch = json!({ "metadata": { "uid": pod.metadata.uid, "finalizers": others } });
    Write::new(Action::Patch(patch), Pod::clone(pod))
}

/// The pod's index.
pub(super) fn index(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()
}

/// Makes and removes pods, so that as many run as are wanted now.
pub(super) fn balance(state: &State<'_>, tally: &Tally, plan: &mut Plan) -> Vec<Write> {
    let active = state.active.len();
    let want = if state.is_suspended() { 0 } else { wanted(state, tally) };
    if active > want {
        return surplus(state, active - want);
    }
    let replaces_ended_only = state.spec.pod_replacement_policy.as_deref() == Some("Failed")
        || state.spec.pod_failure_policy.is_some();
    let leaving = if replaces_ended_only { state.leaving } else { 0 };
    let missing = (want - active).saturating_sub(leaving).min(BURST);
    if missing == 0 {
        return Vec::new();
    }
    let is_each_alone = state.spec.backoff_limit_per_index.is_some();
    if let Some(time) = pause(state).filter(|time| *time > state.now && !is_each_alone) {
        plan.again_at(time);
        return Vec::new();
    }
    if !state.is_indexed() {
        return (0..missing).map(|_| create(state.job, pod(state, None))).collect();
    }
    let indexes = pending(state, tally, missing, plan).into_iter();
    let pods = indexes.map(|index| {
        let mut pod = pod(state, Some(index));
        if is_each_alone {
            let told = past::told(tally.pasts.get(&index));
            pod.metadata.annotations.get_or_insert_default().extend(told);
        }
        create(state.job, pod)
    });
    pods.collect()
}

fn wanted(state: &State<'_>, tally: &Tally) -> usize {
    let parallelism = state.spec.parallelism.unwrap_or(1);
    let want = match state.spec.completions {
        None if tally.succeeded > 0 => return state.active.len(),
        None => parallelism,
        Some(completions) => (completions - tally.succeeded).min(parallelism),
    };
    usize::try_from(want).unwrap_or(0)
}

/// Pods that are removed on purpose don't count: the finalizer goes with them.
fn surplus(state: &State<'_>, many: usize) -> Vec<Write> {
    let mut pods = state.active.clone();
    least_missed_first(&mut pods, &std::collections::BTreeMap::new(), state.now);
    let end = state.spec.completions.unwrap_or(i32::MAX);
    pods.sort_by_key(|pod| index(pod).is_none_or(|index| index < end));
    let chosen = pods.iter().take(many.min(BURST));
    chosen.flat_map(|pod| [untrack(pod), delete(state.job, pod)]).collect()
}

/// The lowest indexes that have not succeeded, nor failed for good, have no pod and need not wait. When the
/// first of those that wait is to be looked at is put into the plan.
fn pending(state: &State<'_>, tally: &Tally, many: usize, plan: &mut Plan) -> Vec<i32> {
    let keeps = |pod: &&Arc<Pod>| !is_over(pod) && !has_failed(state, pod);
    let taken: BTreeSet<i32> =
        state.pods.iter().filter(keeps).filter_map(|pod| index(pod)).collect();
    let is_free = |index: &i32| {
        !taken.contains(index)
            && !tally.succeeded_indexes.0.contains(index)
            && !tally.failed_indexes.0.contains(index)
    };
    let mut may_begin = |index: &i32| {
        let again = tally.pasts.get(index).map(Past::again).filter(|again| *again > state.now);
        again.into_iter().for_each(|again| plan.again_at(again));
        again.is_none()
    };
    let all = (0..state.spec.completions.unwrap_or(0)).filter(is_free);
    all.filter(|index| may_begin(index)).take(many).collect()
}

fn pod(state: &State<'_>, index: Option<i32>) -> Pod {
    let mut pod = from_template(&state.spec.template, state.job);
    pod.metadata.finalizers.get_or_insert_default().push(TRACKING.to_owned());
    let Some(index) = index else { return pod };
    let name = state.job.metadata.name.as_deref().unwrap_or_default();
    pod.metadata.generate_name = Some(format!("{name}-{index}-"));
    let entry = || (INDEX.to_owned(), index.to_string());
    pod.metadata.labels.get_or_insert_default().extend([entry()]);
    pod.metadata.annotations.get_or_insert_default().extend([entry()]);
    let spec = pod.spec.get_or_insert_default();
    spec.hostname.get_or_insert(format!("{name}-{index}"));
    let inits = spec.init_containers.iter_mut().flatten();
    for container in inits.chain(&mut spec.containers) {
        let variables = container.env.get_or_insert_default();
        if !variables.iter().any(|variable| variable.name == "JOB_COMPLETION_INDEX") {
            variables.push(index_variable());
        }
    }
    pod
}

fn index_variable() -> EnvVar {
    let field_path = format!("metadata.annotations['{INDEX}']");
    EnvVar {
        name: "JOB_COMPLETION_INDEX".to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path }),
            ..EnvVarSource::default()
        }),
    }
}

/// Until when no pod is made, because of those that failed since one succeeded last.
fn pause(state: &State<'_>) -> Option<Timestamp> {
    let success = state.pods.iter().filter(|pod| phase(pod) == "Succeeded");
    let last_success = success.map(|pod| ended(pod, state.now)).max();
    let failed = state.pods.iter().filter(|pod| phase(pod) == "Failed");
    let times: Vec<_> = failed
        .map(|pod| ended(pod, state.now))
        .filter(|time| last_success.is_none_or(|success| *time > success))
        .collect();
    let many = u32::try_from(times.len()).unwrap_or(u32::MAX).checked_sub(1)?;
    Some(*times.iter().max()? + grown(many))
}

/// The pause after one failure and `more`.
pub(super) fn grown(more: u32) -> SignedDuration {
    (PAUSE * 2i32.pow(more.min(10))).min(LONGEST)
}

/// When the pod's last container ended, as far as anybody says.
pub(super) fn ended(pod: &Pod, now: Timestamp) -> Timestamp {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    let finished = containers.into_iter().flatten().filter_map(|container| {
        Some(container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0)
    });
    let ready = || {
        let ready = crate::plane::pods::condition(pod, "Ready")?;
        Some(ready.last_transition_time.as_ref()?.0)
    };
    let made = || pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let leaving =
        pod.metadata.deletion_timestamp.as_ref().filter(|_| is_leaving(pod)).map(|time| time.0);
    finished.max().or_else(ready).or(leaving).or_else(made).unwrap_or(now)
}
