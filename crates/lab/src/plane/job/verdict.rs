//! Whether a Job is over, and why.

use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::State;
use super::count::Tally;
use super::policy::{self, Meaning, meaning};
use crate::plane::pods::phase;
use crate::plane::runtime::Plan;

/// How a Job will end. It has ended when the last of its pods has.
pub(super) struct Verdict {
    pub is_success: bool,
    pub reason: String,
    pub message: String,
}

impl Verdict {
    fn new(is_success: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { is_success, reason: reason.to_owned(), message: message.into() }
    }

    /// Writes it into the status while pods are ending.
    pub(super) fn tell(&self, status: &mut JobStatus, now: Timestamp) {
        let kind = if self.is_success { "SuccessCriteriaMet" } else { "FailureTarget" };
        set(status, kind, ("True", &self.reason, &self.message), now);
    }
}

/// What was decided before stands; else what follows from the pods now. A deadline that is to come is put
/// into the plan.
pub(super) fn judge(
    state: &State<'_>,
    tally: &Tally,
    status: &JobStatus,
    plan: &mut Plan,
) -> Option<Verdict> {
    let told = |kind: &str| condition(status, kind).filter(|condition| condition.status == "True");
    for (kind, is_success) in [("SuccessCriteriaMet", true), ("FailureTarget", false)] {
        if let Some(told) = told(kind) {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            return Some(Verdict::new(is_success, &text(&told.reason), text(&told.message)));
        }
    }
    failure(state, tally, status, plan).or_else(|| success(state, tally))
}

fn failure(
    state: &State<'_>,
    tally: &Tally,
    status: &JobStatus,
    plan: &mut Plan,
) -> Option<Verdict> {
    let failed = state.pods.iter().filter(|pod| phase(pod) == "Failed");
    let policy = failed.map(|pod| meaning(state.spec, pod)).find_map(|meaning| match meaning {
        Meaning::FailsJob(why) => Some(why),
        Meaning::Counts | Meaning::Ignored | Meaning::FailsIndex => None,
    });
    if let Some(why) = policy {
        return Some(Verdict::new(false, "PodFailurePolicy", why));
    }
    let limit = state.spec.backoff_limit.unwrap_or(6);
    if tally.failed > limit || restarts(state).is_some_and(|many| many >= limit.max(1)) {
        let why = "Job has reached the specified backoff limit";
        return Some(Verdict::new(false, "BackoffLimitExceeded", why));
    }
    if let Some(seconds) = state.spec.active_deadline_seconds.filter(|_| !state.is_suspended()) {
        let started = status.start_time.as_ref().map_or(state.now, |time| time.0);
        let deadline = started + SignedDuration::from_secs(seconds);
        if deadline <= state.now {
            let why = "Job was active longer than specified deadline";
            return Some(Verdict::new(false, "DeadlineExceeded", why));
        }
        plan.again_at(deadline);
    }
    let (failed, succeeded) = (tally.failed_indexes.0.len(), tally.succeeded_indexes.0.len());
    let whole = usize::try_from(state.spec.completions.unwrap_or(0)).unwrap_or(0);
    let most = state.spec.max_failed_indexes.and_then(|most| usize::try_from(most).ok());
    if most.is_some_and(|most| failed > most) {
        let why = "Job has exceeded the specified maximal number of failed indexes";
        return Some(Verdict::new(false, "MaxFailedIndexesExceeded", why));
    }
    (failed > 0 && failed + succeeded >= whole)
        .then(|| Verdict::new(false, "FailedIndexes", "Job has failed indexes"))
}

/// How often containers that are restarted in place failed, if that is what this Job does.
fn restarts(state: &State<'_>) -> Option<i32> {
    let spec = state.spec.template.spec.as_ref()?;
    if spec.restart_policy.as_deref() != Some("OnFailure") {
        return None;
    }
    let runs = state.pods.iter().filter(|pod| matches!(phase(pod), "Running" | "Pending"));
    let count = runs.filter_map(|pod| pod.status.as_ref()).flat_map(|status| {
        status.container_statuses.iter().chain(&status.init_container_statuses).flatten()
    });
    Some(count.map(|container| container.restart_count).sum())
}

fn success(state: &State<'_>, tally: &Tally) -> Option<Verdict> {
    if state.is_indexed()
        && let Some(policy) = &state.spec.success_policy
        && let Some(why) =
            policy::is_enough(policy, &tally.succeeded_indexes, state.spec.completions.unwrap_or(0))
    {
        return Some(Verdict::new(true, "SuccessPolicy", why));
    }
    let is_enough = match state.spec.completions {
        None => tally.succeeded > 0,
        Some(completions) => tally.succeeded >= completions,
    };
    let why = "Reached expected number of succeeded pods";
    (is_enough && state.active.is_empty()).then(|| Verdict::new(true, "CompletionsReached", why))
}

/// The reason of the event that a Job has failed.
pub(super) fn event_reason(reason: &str) -> &'static str {
    let known = [
        "PodFailurePolicy",
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "MaxFailedIndexesExceeded",
        "FailedIndexes",
    ];
    known.into_iter().find(|known| *known == reason).unwrap_or("Failed")
}

/// The condition of that type.
pub(super) fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// Says something of `kind`, unless it is said already.
pub(super) fn set(
    status: &mut JobStatus,
    kind: &str,
    (value, reason, message): (&str, &str, &str),
    now: Timestamp,
) {
    let old = condition(status, kind);
    if old.is_some_and(|old| old.status == value && old.reason.as_deref() == Some(reason)) {
        return;
    }
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != kind);
    conditions.push(JobCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
}
