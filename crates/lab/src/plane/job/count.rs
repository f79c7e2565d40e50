//! Counts pods that ended, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;

use super::indexes::Indexes;
use super::past::{self, Past, pasts};
use super::policy::{Meaning, meaning};
use super::verdict::condition;
use super::{State, pods};
use crate::plane::numbers::{count as number, nonzero};
use crate::plane::pods::{is_leaving, phase, uid};

/// Most uids that stand in a status at a time.
const MOST: usize = 500;

/// Pods that ended, by what came of them.
pub(super) struct Tally {
    /// All that succeeded so far: pods, or indexes of an Indexed Job.
    pub succeeded: i32,
    /// All pods that failed so far and count.
    pub failed: i32,
    pub succeeded_indexes: Indexes,
    pub failed_indexes: Indexes,
    /// What indexes that failed have been through.
    pub pasts: BTreeMap<i32, Past>,
    /// Pods that can go: the status that is stored knows of them.
    pub counted: Vec<Arc<Pod>>,
    /// The status with what is counted now.
    pub status: JobStatus,
    /// Whether nothing waits to be counted.
    pub is_settled: bool,
}

impl Tally {
    pub(super) fn new(state: &State<'_>) -> Self {
        let completions = state.spec.completions.unwrap_or(0);
        let read = |text: &Option<String>| {
            Indexes::parse(text.as_deref().unwrap_or_default(), completions)
        };
        let mut tally = Self {
            succeeded: 0,
            failed: 0,
            succeeded_indexes: read(&state.old.completed_indexes),
            failed_indexes: read(&state.old.failed_indexes),
            pasts: pasts(state),
            counted: Vec::new(),
            status: state.old.clone(),
            is_settled: true,
        };
        let stored = tally.succeeded_indexes.clone();
        let mut waiting = tally.settle(state);
        for pod in state.pods.iter().filter(|pod| pods::is_tracked(pod)) {
            tally.count(state, pod, &stored, &mut waiting);
        }
        tally.fail_indexes(state);
        let more = |list: &[String]| number(list.len());
        tally.succeeded = tally.status.succeeded.unwrap_or(0) + more(&waiting.succeeded);
        tally.failed = tally.status.failed.unwrap_or(0) + more(&waiting.failed);
        if state.is_indexed() {
            tally.succeeded = number(tally.succeeded_indexes.0.len());
            tally.status.succeeded = nonzero(tally.succeeded);
            tally.status.completed_indexes =
                Some(tally.succeeded_indexes.to_string()).filter(|text| !text.is_empty());
            tally.status.failed_indexes =
                state.spec.backoff_limit_per_index.map(|_| tally.failed_indexes.to_string());
        }
        tally.is_settled &= waiting.succeeded.is_empty() && waiting.failed.is_empty();
        let list = |list: Vec<String>| (!list.is_empty()).then_some(list);
        tally.status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            succeeded: list(waiting.succeeded),
            failed: list(waiting.failed),
        });
        tally
    }

    /// Counts for good what waited in the status and has lost its finalizer; returns what waits on.
    fn settle(&mut self, state: &State<'_>) -> Waiting {
        let tracked: BTreeSet<&str> =
            state.pods.iter().filter(|pod| pods::is_tracked(pod)).map(|pod| uid(pod)).collect();
        let stored = state.old.uncounted_terminated_pods.clone().unwrap_or_default();
        let split = |list: Option<Vec<String>>| -> (Vec<String>, Vec<String>) {
            list.unwrap_or_default().into_iter().partition(|uid| tracked.contains(uid.as_str()))
        };
        let (succeeded, done) = split(stored.succeeded);
        self.status.succeeded = nonzero(self.status.succeeded.unwrap_or(0) + number(done.len()));
        let (failed, done) = split(stored.failed);
        self.status.failed = nonzero(self.status.failed.unwrap_or(0) + number(done.len()));
        Waiting { succeeded, failed }
    }

    /// Notes a pod that ended, or lets it go if it is noted already.
    fn count(
        &mut self,
        state: &State<'_>,
        pod: &Arc<Pod>,
        stored: &Indexes,
        waiting: &mut Waiting,
    ) {
        let own = uid(pod).to_owned();
        let index = pods::index(pod);
        if waiting.succeeded.contains(&own) || waiting.failed.contains(&own) {
            self.counted.push(pod.clone());
        } else if phase(pod) == "Succeeded" {
            let Some(index) = index.filter(|_| state.is_indexed()) else {
                if state.is_indexed() {
                    self.counted.push(pod.clone());
                } else {
                    self.note(&mut waiting.succeeded, own);
                }
                return;
            };
            let is_meant = index < state.spec.completions.unwrap_or(0);
            match is_meant && !stored.0.contains(&index) {
                true => {
                    self.succeeded_indexes.0.insert(index);
                    self.is_settled = false;
                }
                false => self.counted.push(pod.clone()),
            }
        } else if has_failed(state, pod) {
            match meaning(state.spec, pod) {
                Meaning::Ignored => self.counted.push(pod.clone()),
                Meaning::Counts | Meaning::FailsIndex | Meaning::FailsJob(_) => {
                    self.note(&mut waiting.failed, own);
                }
            }
        }
    }

    fn note(&mut self, list: &mut Vec<String>, uid: String) {
        match list.len() < MOST {
            true => list.push(uid),
            false => self.is_settled = false,
        }
    }

    /// An index fails when its pods failed more often than they may, or when the policy says so.
    fn fail_indexes(&mut self, state: &State<'_>) {
        let Some(limit) = state.spec.backoff_limit_per_index else { return };
        let over = self.pasts.iter().filter(|(_, past)| past.is_over(limit));
        self.failed_indexes.0.extend(over.map(|(index, _)| *index));
    }
}

impl Tally {
    /// Keeps the last failed pod of each index that is to be tried again, so that the next one can be told.
    pub(super) fn keep_for_successors(&mut self, state: &State<'_>) {
        let (succeeded, failed) = (&self.succeeded_indexes.0, &self.failed_indexes.0);
        let is_through = |index: i32| succeeded.contains(&index) || failed.contains(&index);
        let kept = past::kept(state, &self.pasts, is_through);
        self.counted.retain(|pod| !kept.contains(uid(pod)));
    }
}

/// Uids that the status holds.
struct Waiting {
    succeeded: Vec<String>,
    failed: Vec<String>,
}

/// Whether a pod has failed, or will not be let to its end.
pub(super) fn has_failed(state: &State<'_>, pod: &Pod) -> bool {
    let waits = state.spec.pod_replacement_policy.as_deref() == Some("Failed")
        || state.spec.pod_failure_policy.is_some();
    let is_lost = is_leaving(pod) && phase(pod) != "Succeeded";
    let job_fails = || condition(&state.old, "FailureTarget").is_some();
    phase(pod) == "Failed" || is_lost && (!waits || job_fails())
}
