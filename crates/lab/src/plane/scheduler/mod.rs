//! Chooses a node for each pod: filters, then scores, as kube-scheduler does. There is no preemption: a pod
//! of higher priority is only served earlier.
//!
//! What each node has left, and how many pods of a description are on it, is kept up to date change by change,
//! so that a pod costs a look at every node and not at every pod. A
//! pod that no node will have is tried again when something changed that may help, after a pause that
//! grows.

mod affinity;
mod board;
mod census;
mod filter;
mod quantity;
mod score;
mod spread;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::node_lifecycle::is_ready;
use super::pods;
use super::runtime::{Action, Change, Changed, Cluster, Controller, Keys, Note, Plan, Turn, Write};
use board::Board;
use filter::Wish;

/// Pause after the first attempt; it doubles with every further one.
const FIRST: SignedDuration = SignedDuration::from_millis(100);
/// The longest pause.
const LONGEST: SignedDuration = SignedDuration::from_secs(10);

/// The scheduler.
#[derive(Default)]
pub(super) struct Scheduler {
    board: Board,
    /// Pods that no node would have: how often they were tried, and when last.
    refused: HashMap<Arc<str>, (u32, Timestamp)>,
}

impl Controller for Scheduler {
    fn name(&self) -> &'static str {
        "default-scheduler"
    }

    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::Node(changed) = change {
            match &changed.new {
                Some(node) => self.board.set_node(&changed.key, node.clone()),
                None => self.board.remove_node(&changed.key),
            }
            if may_help(changed) {
                self.retry(cluster, keys, |_| true);
            }
        } else if let Change::Pod(changed) = change {
            self.pod_changed(cluster, changed, keys);
        } else if let Change::Namespace(_) = change {
            self.retry(cluster, keys, cares_for_pods);
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let Some(pod) = cluster.pods.get(key).filter(|pod| is_waiting(pod)) else {
            self.refused.remove(key);
            return Plan::nothing();
        };
        let Some(spec) = &pod.spec else { return Plan::nothing() };
        // A place that was taken for it before did not become its own.
        self.board.lift(key);
        if spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
            let why = "Scheduling is blocked due to non-empty scheduling gates";
            return unscheduled(pod, "SchedulingGated", why, turn.now);
        }
        match choose(cluster, &mut self.board, pod, spec) {
            Ok(node) => {
                self.refused.remove(key);
                self.board.put(&key.into(), &node, pod);
                let message = format!("Successfully assigned {key} to {node}");
                let write = Write::new(Action::Bind(node), Pod::clone(pod));
                let write = write.done(Note::normal(&**pod, "Scheduled", message));
                Plan { writes: vec![write], ..Plan::default() }
            }
            Err(message) => {
                let tries = self.refused.get(key).map_or(1, |(tries, _)| tries + 1);
                self.refused.insert(key.into(), (tries, turn.now));
                let mut plan = unscheduled(pod, "Unschedulable", &message, turn.now);
                if !plan.writes.is_empty() {
                    plan.events.push(Note::warning(&**pod, "FailedScheduling", message));
                }
                plan
            }
        }
    }
}

impl Scheduler {
    fn pod_changed(&mut self, cluster: &Cluster, changed: &Changed<Pod>, keys: &mut Keys) {
        let place = changed.new.as_ref().filter(|pod| board::counts(pod));
        if let Some((node, pod)) = place.and_then(|pod| Some((pods::node_of(pod)?, pod))) {
            let is_known = self.board.place(&changed.key) == Some(node)
                && self.board.pod(&changed.key).is_some_and(|old| is_same(old, pod));
            if !is_known {
                self.board.put(&changed.key, node, pod);
            }
            if changed.old.as_ref().is_none_or(|old| pods::node_of(old).is_none()) {
                self.refused.remove(&changed.key);
                self.retry(cluster, keys, cares_for_pods);
            }
            return;
        }
        let waiting = changed.new.as_ref().filter(|pod| is_waiting(pod));
        let Some(pod) = waiting else {
            self.refused.remove(&changed.key);
            if self.board.lift(&changed.key) {
                self.retry(cluster, keys, |_| true);
            }
            return;
        };
        // What the scheduler says of a pod is no reason to look at it again.
        if !changed.old.as_ref().is_some_and(|old| is_same(old, pod)) {
            keys.add_ranked(changed.key.clone(), rank(pod));
        }
    }

    /// Tries pods again that no node would have, when their pauses are over.
    fn retry(&self, cluster: &Cluster, keys: &mut Keys, which: impl Fn(&PodSpec) -> bool) {
        for (key, (tries, last)) in &self.refused {
            let Some(pod) = cluster.pods.get(key) else { continue };
            if pod.spec.as_ref().is_some_and(&which) {
                let pause = FIRST * 2i32.pow(tries.saturating_sub(1).min(10));
                let since = keys.now.duration_since(*last);
                let left = (pause.min(LONGEST) - since).max(SignedDuration::ZERO);
                keys.add_after(key.clone(), rank(pod), left);
            }
        }
    }
}

/// The node for `pod`, or why there is none.
fn choose(
    cluster: &Cluster,
    board: &mut Board,
    pod: &Pod,
    spec: &PodSpec,
) -> Result<String, String> {
    let wish = Wish::new(cluster, board, pod, spec);
    let board = &*board;
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut nodes = Vec::new();
    for (name, seat) in &board.seats {
        let refusals = wish.refusals(name, seat);
        if refusals.is_empty() {
            nodes.push((name.as_str(), seat));
        }
        for why in refusals {
            *reasons.entry(why).or_default() += 1;
        }
    }
    let best = score::best(board, &wish, &nodes);
    best.map(str::to_owned).ok_or_else(|| filter::message(board.seats.len(), &reasons))
}

/// Says that the pod has no node, unless that is said already.
fn unscheduled(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> Plan {
    let old = pods::condition(pod, "PodScheduled");
    let is_told = old.is_some_and(|old| {
        old.status == "False"
            && old.reason.as_deref() == Some(reason)
            && old.message.as_deref() == Some(message)
    });
    if is_told {
        return Plan::nothing();
    }
    let since =
        old.filter(|old| old.status == "False").and_then(|old| old.last_transition_time.as_ref());
    let since = since.map_or(now, |time| time.0).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let patch = json!({ "status": { "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
        "lastTransitionTime": since,
    }] } });
    Plan { writes: vec![Write::new(Action::PatchStatus(patch), pod.clone())], ..Plan::default() }
}

fn is_waiting(pod: &Pod) -> bool {
    let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    pods::node_of(pod).is_none()
        && pods::is_active(pod)
        && matches!(scheduler, None | Some("" | "default-scheduler"))
}

/// Whether two states of a pod are the same to a scheduler.
fn is_same(old: &Pod, new: &Pod) -> bool {
    let (a, b) = (&old.metadata, &new.metadata);
    old.spec == new.spec
        && (&a.uid, &a.labels, &a.owner_references) == (&b.uid, &b.labels, &b.owner_references)
        && pods::is_leaving(old) == pods::is_leaving(new)
}

/// Whether a node's change may let a pod in.
fn may_help(changed: &Changed<k8s_openapi::api::core::v1::Node>) -> bool {
    let (Some(old), Some(new)) = (&changed.old, &changed.new) else { return true };
    let allocatable = |node: &k8s_openapi::api::core::v1::Node| {
        node.status.as_ref().and_then(|status| status.allocatable.clone())
    };
    old.metadata.labels != new.metadata.labels
        || old.spec != new.spec
        || is_ready(old) != is_ready(new)
        || allocatable(old) != allocatable(new)
}

/// Whether where other pods are matters to a pod.
fn cares_for_pods(spec: &PodSpec) -> bool {
    let affinity = spec.affinity.as_ref();
    affinity.is_some_and(|affinity| {
        affinity.pod_affinity.is_some() || affinity.pod_anti_affinity.is_some()
    }) || spec.topology_spread_constraints.as_ref().is_some_and(|all| !all.is_empty())
}

fn rank(pod: &Pod) -> i64 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0).into()
}

#[cfg(test)]
mod tests;
