//! What a Deployment says of its rollout.

use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::rollout::{Rollout, available};
use crate::plane::numbers::nonzero;

/// What is said of progress.
pub(super) enum Progress {
    /// Nothing new: the rollout rests.
    Ignored,
    /// Whether pods came or went since the last time, and how long ago that was.
    Judged,
    /// The new ReplicaSet of this name is being made.
    Made(String),
    /// It could not be made.
    NotMade(String),
}

/// The status that follows from the ReplicaSets as they are.
pub(super) fn of(rollout: &Rollout<'_>, progress: Progress) -> DeploymentStatus {
    let mut status = numbers(rollout);
    pause_or_resume(rollout, &mut status);
    let (is_enough, reason, message) = match available_enough(rollout, &status) {
        true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        false => {
            let message = "Deployment does not have minimum availability.";
            ("False", "MinimumReplicasUnavailable", message)
        }
    };
    set(rollout, &mut status, "Available", (is_enough, reason), message.to_owned());
    if limit(rollout).is_some() {
        found(rollout, &mut status);
        match progress {
            Progress::Ignored => {}
            Progress::Judged => judge(rollout, &mut status),
            Progress::Made(name) => {
                let message = format!("Created new replica set \"{name}\"");
                set(rollout, &mut status, "Progressing", ("True", "NewReplicaSetCreated"), message);
            }
            Progress::NotMade(why) => {
                set(rollout, &mut status, "Progressing", ("False", "ReplicaSetCreateError"), why);
            }
        }
    } else {
        remove(&mut status, "Progressing");
    }
    fail(rollout, &mut status);
    status.conditions = status.conditions.filter(|conditions| !conditions.is_empty());
    status
}

fn numbers(rollout: &Rollout<'_>) -> DeploymentStatus {
    let sum = |of: &dyn Fn(&ReplicaSet) -> Option<i32>| -> i32 {
        rollout.all().filter_map(|set| of(set)).sum()
    };
    let has = |set: &ReplicaSet| set.status.as_ref().map(|status| status.replicas);
    let total = sum(&has);
    let available: i32 = rollout.all().map(available).sum();
    DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: nonzero(total),
        updated_replicas: rollout.new.as_ref().and_then(|set| has(set)).and_then(nonzero),
        ready_replicas: nonzero(sum(&|set| set.status.as_ref()?.ready_replicas)),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((total - available).max(0)),
        ..rollout.deployment.status.clone().unwrap_or_default()
    }
}

fn available_enough(rollout: &Rollout<'_>, status: &DeploymentStatus) -> bool {
    status.available_replicas.unwrap_or(0) >= rollout.want - rollout.unavailable()
}

/// Whether all of the wanted pods are of the newest template and available, and no others are there.
pub(super) fn is_complete(rollout: &Rollout<'_>) -> bool {
    is_complete_by(rollout, &numbers(rollout))
}

fn is_complete_by(rollout: &Rollout<'_>, status: &DeploymentStatus) -> bool {
    let want = rollout.want;
    status.updated_replicas.unwrap_or(0) == want
        && status.replicas.unwrap_or(0) == want
        && status.available_replicas.unwrap_or(0) == want
}

/// When the rollout is looked at again because it may have made no progress for too long.
pub(super) fn deadline(rollout: &Rollout<'_>, status: &DeploymentStatus) -> Option<Timestamp> {
    let progressing = condition(status, "Progressing")?;
    let rests = ["ProgressDeadlineExceeded", "NewReplicaSetAvailable", "DeploymentPaused"];
    let reason = progressing.reason.as_deref().unwrap_or_default();
    if rests.contains(&reason) || is_complete_by(rollout, status) {
        return None;
    }
    // One second more: times are written without their parts of a second.
    let limit = limit(rollout)? + SignedDuration::from_secs(1);
    Some(progressing.last_update_time.as_ref()?.0 + limit)
}

fn limit(rollout: &Rollout<'_>) -> Option<SignedDuration> {
    let seconds = rollout.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
    Some(SignedDuration::from_secs(seconds.into()))
}

/// A rollout that was paused for longer than its deadline is not late when it goes on.
fn pause_or_resume(rollout: &Rollout<'_>, status: &mut DeploymentStatus) {
    let reason = condition(status, "Progressing").and_then(|condition| condition.reason.clone());
    let reason = reason.as_deref().unwrap_or_default();
    if limit(rollout).is_none() || reason == "ProgressDeadlineExceeded" {
        return;
    }
    let (reason, message) = match (rollout.is_paused(), reason == "DeploymentPaused") {
        (true, false) => ("DeploymentPaused", "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        (true, true) | (false, false) => return,
    };
    set(rollout, status, "Progressing", ("Unknown", reason), message.to_owned());
}

/// The first thing that is said of a ReplicaSet that was there before.
fn found(rollout: &Rollout<'_>, status: &mut DeploymentStatus) {
    if let Some(new) = &rollout.new
        && condition(status, "Progressing").is_none()
    {
        let name = new.metadata.name.as_deref().unwrap_or_default();
        let message = format!("Found new replica set \"{name}\"");
        set(rollout, status, "Progressing", ("True", "FoundNewReplicaSet"), message);
    }
}

fn judge(rollout: &Rollout<'_>, status: &mut DeploymentStatus) {
    let current = condition(status, "Progressing").cloned();
    let reason = current.as_ref().and_then(|current| current.reason.as_deref());
    if status.replicas == status.updated_replicas && reason == Some("NewReplicaSetAvailable") {
        return;
    }
    let name = |meta: &Option<String>| meta.clone().unwrap_or_default();
    let who = match &rollout.new {
        Some(new) => format!("ReplicaSet \"{}\"", name(&new.metadata.name)),
        None => format!("Deployment \"{}\"", name(&rollout.deployment.metadata.name)),
    };
    if is_complete_by(rollout, status) {
        let message = format!("{who} has successfully progressed.");
        set(rollout, status, "Progressing", ("True", "NewReplicaSetAvailable"), message);
    } else if has_moved(rollout, status) {
        // Progress is told anew each time, since the deadline counts from the last of it.
        remove(status, "Progressing");
        let message = format!("{who} is progressing.");
        set(rollout, status, "Progressing", ("True", "ReplicaSetUpdated"), message);
        if let Some(current) = current.filter(|current| current.status == "True")
            && let Some(told) = status.conditions.iter_mut().flatten().last()
        {
            told.last_transition_time = current.last_transition_time;
        }
    } else if is_late(rollout, current.as_ref()) {
        let message = format!("{who} has timed out progressing.");
        set(rollout, status, "Progressing", ("False", "ProgressDeadlineExceeded"), message);
    }
}

fn has_moved(rollout: &Rollout<'_>, new: &DeploymentStatus) -> bool {
    let old = rollout.deployment.status.clone().unwrap_or_default();
    let number = |number: Option<i32>| number.unwrap_or(0);
    let outdated =
        |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(new.updated_replicas) > number(old.updated_replicas)
        || outdated(new) < outdated(&old)
        || number(new.ready_replicas) > number(old.ready_replicas)
        || number(new.available_replicas) > number(old.available_replicas)
}

fn is_late(rollout: &Rollout<'_>, current: Option<&DeploymentCondition>) -> bool {
    let Some(current) = current else { return false };
    match current.reason.as_deref() {
        Some("NewReplicaSetAvailable") => false,
        Some("ProgressDeadlineExceeded") => true,
        _ => {
            let since = current.last_update_time.as_ref().map(|time| time.0);
            let limit = limit(rollout);
            since.zip(limit).is_some_and(|(since, limit)| since + limit < rollout.turn.now)
        }
    }
}

/// What keeps a ReplicaSet from making pods is told of the Deployment too, the new one's first.
fn fail(rollout: &Rollout<'_>, status: &mut DeploymentStatus) {
    let sets = rollout.new.iter().chain(&rollout.old);
    let mut conditions = sets.filter_map(|set| {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure")
    });
    let Some(failure) = conditions.next() else { return remove(status, "ReplicaFailure") };
    let reason = failure.reason.clone().unwrap_or_default();
    let message = failure.message.clone().unwrap_or_default();
    set(rollout, status, "ReplicaFailure", (&failure.status, &reason), message);
}

fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != kind);
    }
}

/// Says something of `kind`, unless it is said already.
fn set(
    rollout: &Rollout<'_>,
    status: &mut DeploymentStatus,
    kind: &str,
    (value, reason): (&str, &str),
    message: String,
) {
    let now = Time(rollout.turn.now);
    let old = condition(status, kind).cloned();
    let is_same = |old: &DeploymentCondition| old.status == value;
    let since = match &old {
        Some(old) if is_same(old) && old.reason.as_deref() == Some(reason) => return,
        Some(old) if is_same(old) => old.last_transition_time.clone(),
        Some(_) | None => Some(now.clone()),
    };
    remove(status, kind);
    status.conditions.get_or_insert_default().push(DeploymentCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(now),
        last_transition_time: since,
    });
}
