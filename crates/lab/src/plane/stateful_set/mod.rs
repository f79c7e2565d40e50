//! Keeps the numbered pods of a StatefulSet: made in order, removed in reverse, each with its own name.
//!
//! There is no storage in a lab: what a `volumeClaimTemplate` asks for is an empty directory that lives as
//! long as the pod.
//!
//! Source: Kubernetes, `pkg/controller/statefulset`.

mod identity;
mod order;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::claim::{claim, takers};
use super::history::{self, History};
use super::runtime::{Action, Change, Cluster, Controller, Keys, Plan, Turn, Write};
use super::{pods, selector};

/// Label of a pod that names the revision it was made from.
const REVISION: &str = "controller-revision-hash";

/// The controller of StatefulSets.
pub(super) struct StatefulSets;

impl Controller for StatefulSets {
    fn name(&self) -> &'static str {
        "statefulset-controller"
    }

    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::StatefulSet(changed) = change {
            keys.add(changed.key.clone());
        } else if let Change::ControllerRevision(changed) = change {
            keys.add_owner(changed, "StatefulSet");
        } else if let Change::Pod(changed) = change {
            keys.add_owner(changed, "StatefulSet");
            if let Some(pod) = &changed.new {
                keys.extend(takers(&cluster.stateful_sets, &**pod, |set| {
                    set.spec.as_ref().map(|spec| &spec.selector)
                }));
            }
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let Some(set) = cluster.stateful_sets.get(key) else { return Plan::nothing() };
        let Some(spec) = set.spec.as_ref().filter(|spec| !selector::is_empty(&spec.selector))
        else {
            return Plan::nothing();
        };
        let is_member = |pod: &Pod| identity::ordinal(set, pod).is_some();
        let claim = claim(&cluster.pods, &**set, &spec.selector, is_member);
        if !claim.writes.is_empty() {
            return Plan { writes: claim.writes, ..Plan::default() };
        }
        let collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let label = ("controller.kubernetes.io/hash", collisions);
        let history = match history::history(cluster, &**set, &spec.selector, &spec.template, label)
        {
            Ok(history) => history,
            Err(writes) => return Plan { writes, ..Plan::default() },
        };
        State::new(set, spec, claim.own, history, turn.now).plan()
    }
}

/// A StatefulSet and its pods.
struct State<'a> {
    set: &'a StatefulSet,
    spec: &'a StatefulSetSpec,
    history: History,
    /// Name of the revision that pods had before the update.
    current: String,
    /// Pods that are to be, by place; the first has the start ordinal.
    replicas: Vec<Option<Arc<Pod>>>,
    /// Pods beyond them, the highest ordinal first.
    condemned: Vec<Arc<Pod>>,
    now: Timestamp,
}

impl<'a> State<'a> {
    fn new(
        set: &'a StatefulSet,
        spec: &'a StatefulSetSpec,
        own: Vec<Arc<Pod>>,
        history: History,
        now: Timestamp,
    ) -> Self {
        let noted = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
        let current = noted.and_then(|name| history.named(name)).unwrap_or(&history.newest);
        let current = history::name(current).to_owned();
        let size = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
        let mut replicas = vec![None; size];
        let mut condemned = Vec::new();
        let start = identity::start(spec);
        for pod in own {
            let Some(ordinal) = identity::ordinal(set, &pod) else { continue };
            let place = ordinal.checked_sub(start).and_then(|place| usize::try_from(place).ok());
            match place.and_then(|place| replicas.get_mut(place)) {
                Some(place) => *place = Some(pod),
                None => condemned.push((ordinal, pod)),
            }
        }
        condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
        let condemned = condemned.into_iter().map(|(_, pod)| pod).collect();
        Self { set, spec, history, current, replicas, condemned, now }
    }

    fn plan(&self) -> Plan {
        let mut plan = Plan::nothing();
        let status = status::of(self);
        if self.set.status.as_ref() != Some(&status) {
            let told = StatefulSet { status: Some(status), ..self.set.clone() };
            plan.writes.push(Write::new(Action::ReplaceStatus, told));
        }
        let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
        if let Some(time) = pods::next_available(self.pods(), min_ready, self.now) {
            plan.again_at(time);
        }
        if self.set.metadata.deletion_timestamp.is_none() {
            plan.writes.extend(order::step(self));
            plan.writes
                .extend(self.history.clean_up(&self.used(), self.spec.revision_history_limit));
        }
        plan
    }

    fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.replicas.iter().flatten().chain(&self.condemned)
    }

    fn used(&self) -> BTreeSet<&str> {
        let revisions = self.pods().filter_map(|pod| pods::label(pod, REVISION));
        revisions.chain([self.current.as_str(), history::name(&self.history.newest)]).collect()
    }

    fn is_newest(&self, pod: &Pod) -> bool {
        pods::label(pod, REVISION) == Some(history::name(&self.history.newest))
    }

    /// Whether the pod runs, has been ready for long enough, and is to stay.
    fn is_healthy(&self, pod: &Pod) -> bool {
        let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
        !pods::is_leaving(pod)
            && pods::phase(pod) == "Running"
            && pods::is_available(pod, min_ready, self.now)
    }
}

#[cfg(test)]
mod tests;
