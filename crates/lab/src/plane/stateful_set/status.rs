//! What a StatefulSet says of its pods.

use k8s_openapi::api::apps::v1::StatefulSetStatus;
use k8s_openapi::api::core::v1::Pod;

use super::{REVISION, State};
use crate::plane::numbers::{count, nonzero};
use crate::plane::{history, pods};

/// The status that follows from the pods as they are. When all of them are of the newest revision and
/// ready, the update is over.
pub(super) fn of(state: &State<'_>) -> StatefulSetStatus {
    let number = |is: &dyn Fn(&Pod) -> bool| count(state.pods().filter(|pod| is(pod)).count());
    let is_of = |pod: &Pod, revision: &str| {
        !pods::is_leaving(pod) && pods::label(pod, REVISION) == Some(revision)
    };
    let is_ready = |pod: &Pod| pods::phase(pod) == "Running" && pods::is_ready(pod);
    let min_ready = state.spec.min_ready_seconds.unwrap_or(0);
    let newest = history::name(&state.history.newest);
    let (total, ready) = (number(&|_| true), number(&is_ready));
    let updated = number(&|pod| is_of(pod, newest));
    let mut current = (number(&|pod| is_of(pod, &state.current)), state.current.as_str());
    let want = state.spec.replicas.unwrap_or(1);
    let strategy =
        state.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    if strategy != Some("OnDelete") && updated == want && ready == want && total == want {
        current = (updated, newest);
    }
    StatefulSetStatus {
        observed_generation: state.set.metadata.generation,
        replicas: total,
        ready_replicas: nonzero(ready),
        available_replicas: Some(number(&|pod| {
            is_ready(pod) && pods::is_available(pod, min_ready, state.now)
        })),
        current_replicas: nonzero(current.0),
        updated_replicas: nonzero(updated),
        current_revision: Some(current.1.to_owned()),
        update_revision: Some(newest.to_owned()),
        collision_count: Some(state.history.collisions),
        ..state.set.status.clone().unwrap_or_default()
    }
}
