//! Runs pods of a Job until enough of them have succeeded, or too many have failed.
//!
//! Each pod is counted exactly once, whoever deletes it and whenever the control plane restarts: a finalizer
//! keeps it until its uid is written into the status, and the uid stays there until the finalizer is gone.
//!
//! Source: Kubernetes, `pkg/controller/job` and `pkg/controller/ttlafterfinished`.

mod count;
mod indexes;
mod past;
mod pods;
mod policy;
mod verdict;

use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::claim::claim;
use super::numbers::{count as number, nonzero};
use super::pods::{is_active, is_leaving, is_over, is_ready};
use super::runtime::{Action, Change, Cluster, Controller, Keys, Note, Plan, Turn, Write};
use super::runtime::{controller_of, owner_key};
use count::Tally;
use verdict::Verdict;

/// Before the key of a pod whose Job may be gone or over.
const ORPHAN: &str = "pod of a job ";

/// The controller of Jobs.
pub(super) struct Jobs;

impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::Job(changed) = change {
            keys.add(changed.key.clone());
            if let (Some(old), None) = (&changed.old, &changed.new) {
                let pods = cluster.pods.owned_by(old.metadata.uid.as_deref().unwrap_or_default());
                pods.for_each(|pod| keys.add(format!("{ORPHAN}{}", super::runtime::key(&**pod))));
            }
        } else if let Change::Pod(changed) = change {
            keys.add_owner(changed, "Job");
            let tracked = changed.new.as_ref().filter(|pod| pods::is_tracked(pod));
            let owner = tracked.and_then(|pod| owner_key(&**pod, "Job"));
            if owner
                .is_some_and(|owner| cluster.jobs.get(&owner).is_none_or(|job| is_finished(job)))
            {
                keys.add(format!("{ORPHAN}{}", changed.key));
            }
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        if let Some(pod) = key.strip_prefix(ORPHAN) {
            return let_go(cluster, pod);
        }
        let Some(job) = cluster.jobs.get(key) else { return Plan::nothing() };
        let Some(spec) = &job.spec else { return Plan::nothing() };
        let managed = spec.managed_by.as_deref();
        if managed.is_some_and(|by| by != "kubernetes.io/job-controller") {
            return Plan::nothing();
        }
        if is_finished(job) {
            return expire(job, spec, turn.now);
        }
        let Some(selector) = &spec.selector else { return Plan::nothing() };
        let claim = claim(&cluster.pods, &**job, selector, |_| true);
        if !claim.writes.is_empty() {
            return Plan { writes: claim.writes, ..Plan::default() };
        }
        State::new(job, spec, claim.own, turn.now).plan()
    }
}

/// A Job with its pods.
struct State<'a> {
    job: &'a Job,
    spec: &'a JobSpec,
    old: JobStatus,
    pods: Vec<Arc<Pod>>,
    active: Vec<Arc<Pod>>,
    /// Pods that are to end and have not yet.
    leaving: usize,
    now: Timestamp,
}

impl<'a> State<'a> {
    fn new(job: &'a Job, spec: &'a JobSpec, pods: Vec<Arc<Pod>>, now: Timestamp) -> Self {
        let active = pods.iter().filter(|pod| is_active(pod)).cloned().collect();
        let leaving = pods.iter().filter(|pod| is_leaving(pod) && !is_over(pod)).count();
        Self { job, spec, old: job.status.clone().unwrap_or_default(), pods, active, leaving, now }
    }

    fn plan(&self) -> Plan {
        let mut plan = Plan::nothing();
        let mut tally = Tally::new(self);
        let mut status = self.status(&tally);
        let mut note = self.suspend_or_resume(&mut status);
        let verdict = verdict::judge(self, &tally, &status, &mut plan);
        let mut changes = Vec::new();
        match &verdict {
            Some(verdict) => {
                changes.extend(self.active.iter().map(|pod| super::pods::delete(self.job, pod)));
                verdict.tell(&mut status, self.now);
                let is_quiet = self.active.is_empty() && self.leaving == 0 && tally.is_settled;
                if is_quiet {
                    note = Some(self.finish(verdict, &mut status));
                }
            }
            None if self.job.metadata.deletion_timestamp.is_none() => {
                tally.keep_for_successors(self);
                changes = pods::balance(self, &tally, &mut plan);
            }
            None => {}
        }
        if status != self.old {
            let told = Job { status: Some(status), ..self.job.clone() };
            let write = Write::new(Action::ReplaceStatus, told);
            plan.writes.push(Write { done: note, ..write });
        }
        plan.writes.extend(tally.counted.iter().map(pods::untrack));
        plan.writes.extend(changes);
        plan
    }

    /// The numbers of the status.
    fn status(&self, tally: &Tally) -> JobStatus {
        let ready = self.active.iter().filter(|pod| is_ready(pod)).count();
        JobStatus {
            active: nonzero(number(self.active.len())),
            ready: Some(number(ready)),
            terminating: Some(number(self.leaving)),
            ..tally.status.clone()
        }
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    fn suspend_or_resume(&self, status: &mut JobStatus) -> Option<Note> {
        let was =
            verdict::condition(status, "Suspended").map(|condition| condition.status == "True");
        let (value, reason, event, message) = match (was, self.is_suspended()) {
            (Some(false) | None, true) => ("True", "JobSuspended", "Suspended", "Job suspended"),
            (Some(true), false) => ("False", "JobResumed", "Resumed", "Job resumed"),
            (Some(true), true) | (Some(false) | None, false) => {
                if status.start_time.is_none() && !self.is_suspended() {
                    status.start_time = Some(Time(self.now));
                }
                return None;
            }
        };
        verdict::set(status, "Suspended", (value, reason, message), self.now);
        status.start_time = (!self.is_suspended()).then_some(Time(self.now));
        Some(Note::normal(self.job, event, message.to_owned()))
    }

    /// Writes the last word, and tells it.
    fn finish(&self, verdict: &Verdict, status: &mut JobStatus) -> Note {
        let kind = if verdict.is_success { "Complete" } else { "Failed" };
        verdict::set(status, kind, ("True", &verdict.reason, &verdict.message), self.now);
        if !verdict.is_success {
            let message = verdict.message.clone();
            return Note::warning(self.job, verdict::event_reason(&verdict.reason), message);
        }
        status.completion_time = Some(Time(self.now));
        Note::normal(self.job, "Completed", "Job completed".to_owned())
    }
}

fn is_finished(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    })
}

/// Removes a Job that has been over for as long as it is to be kept.
fn expire(job: &Job, spec: &JobSpec, now: Timestamp) -> Plan {
    let Some(seconds) = spec.ttl_seconds_after_finished else { return Plan::nothing() };
    if job.metadata.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut last = conditions.into_iter().flatten().filter(|condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    });
    let over = last.find_map(|condition| condition.last_transition_time.as_ref());
    let time = over.map_or(now, |time| time.0 + SignedDuration::from_secs(seconds.into()));
    let mut plan = Plan::nothing();
    match time > now {
        true => plan.again_at(time),
        false => plan.writes.push(Write::new(Action::Delete { grace: None }, job.clone())),
    }
    plan
}

/// Lets a pod go whose Job is gone or over: nobody will count it.
fn let_go(cluster: &Cluster, key: &str) -> Plan {
    let Some(pod) = cluster.pods.get(key).filter(|pod| pods::is_tracked(pod)) else {
        return Plan::nothing();
    };
    let owner = controller_of(&**pod).map(|owner| &owner.uid);
    let job = owner_key(&**pod, "Job").and_then(|key| cluster.jobs.get(&key));
    let lives = job.is_some_and(|job| job.metadata.uid.as_ref() == owner && !is_finished(job));
    let writes = if lives { Vec::new() } else { vec![pods::untrack(pod)] };
    Plan { writes, ..Plan::default() }
}

#[cfg(test)]
mod tests;
