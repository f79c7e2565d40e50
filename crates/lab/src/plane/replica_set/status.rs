//! What a ReplicaSet says of its pods.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::plane::numbers::{self, nonzero};
use crate::plane::pods;
use crate::plane::runtime::{Failure, Tried, Turn};

/// The status of `set` with these active pods, as the last plan left things.
pub(super) fn of(set: &ReplicaSet, active: &[Arc<Pod>], turn: &Turn<'_>) -> ReplicaSetStatus {
    let old = set.status.clone().unwrap_or_default();
    let spec = set.spec.as_ref();
    let template = spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
    let min_ready = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let count =
        |is: &dyn Fn(&Pod) -> bool| numbers::count(active.iter().filter(|pod| is(pod)).count());
    let has_labels = |pod: &Pod| {
        template.into_iter().flatten().all(|(name, value)| pods::label(pod, name) == Some(value))
    };
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: nonzero(count(&has_labels)),
        ready_replicas: nonzero(count(&pods::is_ready)),
        available_replicas: nonzero(count(&|pod| pods::is_available(pod, min_ready, turn.now))),
        observed_generation: set.metadata.generation,
        conditions: conditions(&old, turn),
        ..old
    }
}

/// `ReplicaFailure` is there as long as pods can't be made or removed.
fn conditions(old: &ReplicaSetStatus, turn: &Turn<'_>) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let reason = match turn.failure {
        Some(Failure { tried: Tried::Create, message }) => Some(("FailedCreate", message)),
        Some(Failure { tried: Tried::Delete, message }) => Some(("FailedDelete", message)),
        Some(Failure { tried: Tried::Change, .. }) => return old.conditions.clone(),
        None => None,
    };
    match reason {
        None => conditions.retain(|condition| condition.type_ != "ReplicaFailure"),
        Some((reason, message)) => {
            let is_said = |condition: &ReplicaSetCondition| {
                condition.type_ == "ReplicaFailure" && condition.reason.as_deref() == Some(reason)
            };
            if !conditions.iter().any(is_said) {
                conditions.retain(|condition| condition.type_ != "ReplicaFailure");
                conditions.push(ReplicaSetCondition {
                    type_: "ReplicaFailure".to_owned(),
                    status: "True".to_owned(),
                    reason: Some(reason.to_owned()),
                    message: Some(message.clone()),
                    last_transition_time: Some(Time(turn.now)),
                });
            }
        }
    }
    (!conditions.is_empty()).then_some(conditions)
}
