//! Which pod of a StatefulSet is made or removed next.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Pod;

use super::{REVISION, State, identity};
use crate::plane::numbers::{Round, count, scaled};
use crate::plane::pods;
use crate::plane::runtime::Write;

/// What comes next. With `OrderedReady` that is one pod at a time, and only if all before it are well;
/// with `Parallel` everything at once, but for updates.
pub(super) fn step(state: &State<'_>) -> Vec<Write> {
    let is_ordered = state.spec.pod_management_policy.as_deref() != Some("Parallel");
    let mut writes = Vec::new();
    for (place, pod) in state.replicas.iter().enumerate() {
        let step = replica(state, place, pod.as_ref());
        let is_well = step.is_none() && pod.as_ref().is_some_and(|pod| state.is_healthy(pod));
        writes.extend(step);
        if is_ordered && !is_well {
            return writes;
        }
    }
    let sick = state.pods().filter(|pod| !state.is_healthy(pod));
    let first_sick = sick.min_by_key(|pod| identity::ordinal(state.set, pod));
    for pod in &state.condemned {
        if is_ordered {
            let may_go =
                state.is_healthy(pod) || first_sick.is_some_and(|first| Arc::ptr_eq(first, pod));
            let waits = pods::is_leaving(pod) || !may_go;
            return if waits { writes } else { vec![identity::delete(state.set, pod)] };
        }
        if !pods::is_leaving(pod) {
            writes.push(identity::delete(state.set, pod));
        }
    }
    writes.extend(update(state));
    writes
}

/// Makes the pod that is not there, removes the one that ended, completes the one that was taken in.
fn replica(state: &State<'_>, place: usize, pod: Option<&Arc<Pod>>) -> Option<Write> {
    let ordinal = identity::start(state.spec) + i64::try_from(place).ok()?;
    let Some(pod) = pod else {
        let pod = identity::pod(state.set, revision(state, place)?, ordinal)?;
        return Some(identity::create(state.set, pod));
    };
    if pods::is_leaving(pod) {
        return None;
    }
    match pods::is_over(pod) {
        true => Some(identity::delete(state.set, pod)),
        false => identity::completed(pod, ordinal),
    }
}

/// A pod below the partition, or without one below those the update has not reached, is made anew as it
/// was before the update.
fn revision<'a>(state: &'a State<'_>, place: usize) -> Option<&'a Arc<ControllerRevision>> {
    let is_current = |pod: &&Arc<Pod>| {
        !pods::is_leaving(pod) && pods::label(pod, REVISION) == Some(&state.current)
    };
    let unmoved = match partition(state) {
        _ if is_on_delete(state) => 0,
        Some(partition) => partition,
        None => count(state.pods().filter(is_current).count()),
    };
    match i32::try_from(place).is_ok_and(|place| place < unmoved) {
        true => state.history.named(&state.current),
        false => Some(&state.history.newest),
    }
}

/// Replaces pods of an older revision, from the highest number down to the partition.
fn update(state: &State<'_>) -> Vec<Write> {
    if is_on_delete(state) {
        return Vec::new();
    }
    let first = usize::try_from(partition(state).unwrap_or(0)).unwrap_or(0);
    let is_well = |pod: &Option<Arc<Pod>>| pod.as_ref().is_some_and(|pod| state.is_healthy(pod));
    let moved = state.replicas.iter().enumerate().skip(first).rev();
    let is_old = |pod: &Pod| !state.is_newest(pod) && !pods::is_leaving(pod);
    let Some(most) = most_unavailable(state) else {
        // One at a time; the highest that is not as it is to be decides.
        for (_, pod) in moved {
            match pod {
                Some(pod) if is_old(pod) => return vec![identity::delete(state.set, pod)],
                pod if is_well(pod) => {}
                Some(_) | None => return Vec::new(),
            }
        }
        return Vec::new();
    };
    let sick = state.replicas.iter().filter(|pod| !is_well(pod)).count();
    let old = moved.filter_map(|(_, pod)| pod.as_ref()).filter(|pod| is_old(pod));
    old.take(most.saturating_sub(sick)).map(|pod| identity::delete(state.set, pod)).collect()
}

fn is_on_delete(state: &State<'_>) -> bool {
    let strategy = state.spec.update_strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
}

fn partition(state: &State<'_>) -> Option<i32> {
    state.spec.update_strategy.as_ref()?.rolling_update.as_ref()?.partition
}

fn most_unavailable(state: &State<'_>) -> Option<usize> {
    let rolling = state.spec.update_strategy.as_ref()?.rolling_update.as_ref()?;
    let whole = state.spec.replicas.unwrap_or(1);
    let most = scaled(rolling.max_unavailable.as_ref()?, whole, Round::Down);
    usize::try_from(most.max(1)).ok()
}
