//! What a DaemonSet says of its nodes.

use k8s_openapi::api::apps::v1::DaemonSetStatus;

use super::State;
use super::place::Fit;
use crate::plane::numbers::nonzero;
use crate::plane::pods;

/// The status that follows from nodes and pods as they are.
pub(super) fn of(state: &State<'_>) -> DaemonSetStatus {
    let mut status = DaemonSetStatus {
        observed_generation: state.set.metadata.generation,
        current_number_scheduled: 0,
        desired_number_scheduled: 0,
        number_misscheduled: 0,
        number_ready: 0,
        collision_count: nonzero(state.history.collisions),
        conditions: state.set.status.as_ref().and_then(|status| status.conditions.clone()),
        ..DaemonSetStatus::default()
    };
    let (mut available, mut updated) = (0, 0);
    for (name, (_, fit)) in &state.nodes {
        let pod = state.pods.get(*name).and_then(|here| here.first());
        if *fit != Fit::Runs {
            status.number_misscheduled += i32::from(pod.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = pod else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pods::is_ready(pod));
        available += i32::from(state.is_available(pod));
        updated += i32::from(state.is_newest(pod));
    }
    status.number_available = nonzero(available);
    status.number_unavailable = nonzero(status.desired_number_scheduled - available);
    status.updated_number_scheduled = nonzero(updated);
    status
}
