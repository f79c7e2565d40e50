//! What each index of a Job has been through, when indexes may fail by themselves: how often it failed is
//! handed on from pod to pod, so that it is known however many of them are gone.
//!
//! Source: KEP-3850 (backoff limit per index); Kubernetes, `indexed_job_utils.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::State;
use super::count::has_failed;
use super::pods::{ended, grown, index};
use super::policy::{Meaning, meaning};
use crate::plane::pods::uid;

/// Annotation of a pod: how often its index failed before.
const FAILED: &str = "batch.kubernetes.io/job-index-failure-count";
/// Annotation of a pod: how often it failed before in a way that does not count.
const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// The past of an index that failed.
#[derive(Debug, Clone)]
pub(super) struct Past {
    /// How often, as far as it counts.
    failed: i32,
    /// How often it did not count.
    ignored: i32,
    /// Whether the policy says that this was the last time.
    is_final: bool,
    /// The pod that failed last.
    last: Arc<Pod>,
    ended: Timestamp,
}

/// The past of every index that failed; none of a Job whose indexes share one limit.
pub(super) fn pasts(state: &State<'_>) -> BTreeMap<i32, Past> {
    let mut pasts: BTreeMap<i32, Past> = BTreeMap::new();
    if state.spec.backoff_limit_per_index.is_none() {
        return pasts;
    }
    for pod in state.pods.iter().filter(|pod| has_failed(state, pod)) {
        let Some(index) = index(pod) else { continue };
        let past = Past::with(state, pod);
        match pasts.get_mut(&index) {
            None => drop(pasts.insert(index, past)),
            Some(known) => {
                let is_final = known.is_final || past.is_final;
                if (past.times(), past.ended) >= (known.times(), known.ended) {
                    *known = past;
                }
                known.is_final = is_final;
            }
        }
    }
    pasts
}

impl Past {
    /// What `pod` was told, and its own end.
    fn with(state: &State<'_>, pod: &Arc<Pod>) -> Self {
        let noted = |name: &str| {
            let text = pod.metadata.annotations.as_ref().and_then(|all| all.get(name));
            // Nobody but this controller writes it; what is no count is none.
            text.and_then(|text| text.parse::<i32>().ok()).filter(|count| *count >= 0).unwrap_or(0)
        };
        let (mut failed, mut ignored, mut is_final) = (noted(FAILED), noted(IGNORED), false);
        match meaning(state.spec, pod) {
            Meaning::Ignored => ignored = ignored.saturating_add(1),
            Meaning::Counts | Meaning::FailsJob(_) => failed = failed.saturating_add(1),
            Meaning::FailsIndex => (failed, is_final) = (failed.saturating_add(1), true),
        }
        Self { failed, ignored, is_final, last: pod.clone(), ended: ended(pod, state.now) }
    }

    fn times(&self) -> i32 {
        self.failed.saturating_add(self.ignored)
    }

    /// Whether the index has failed for good, if it may fail `limit` times.
    pub(super) fn is_over(&self, limit: i32) -> bool {
        self.failed > limit || self.is_final
    }

    /// When the index may be tried again.
    pub(super) fn again(&self) -> Timestamp {
        self.ended + grown(u32::try_from(self.times() - 1).unwrap_or(0))
    }
}

/// What the next pod of an index is told.
pub(super) fn told(past: Option<&Past>) -> impl Iterator<Item = (String, String)> {
    let failed = past.map_or(0, |past| past.failed);
    let ignored = past.map(|past| past.ignored).filter(|ignored| *ignored > 0);
    let ignored = ignored.map(|ignored| (IGNORED.to_owned(), ignored.to_string()));
    [(FAILED.to_owned(), failed.to_string())].into_iter().chain(ignored)
}

/// Uids of pods that stay, although they are counted, until there is one that knows of them.
pub(super) fn kept<'a>(
    state: &State<'_>,
    pasts: &'a BTreeMap<i32, Past>,
    is_through: impl Fn(i32) -> bool,
) -> BTreeSet<&'a str> {
    let active: BTreeSet<i32> = state.active.iter().filter_map(|pod| index(pod)).collect();
    let waits = |index: i32| !active.contains(&index) && !is_through(index);
    pasts.iter().filter(|(index, _)| waits(**index)).map(|(_, past)| uid(&past.last)).collect()
}
