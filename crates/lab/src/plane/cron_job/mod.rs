//! Makes a Job whenever a CronJob's schedule says so, and removes the oldest that are over.
//!
//! Source: Kubernetes, `pkg/controller/cronjob`.

mod schedule;
mod zone;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube_rs::Resource;

use super::pods::controlled_by;
use super::runtime::{Action, Change, Cluster, Controller, Keys, Note, Plan, Turn, Write};
use schedule::Schedule;
use zone::Zones;

/// When a Job should have been made.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Missed times that are looked at; after more only the last counts.
const MISSED: usize = 100;

/// The controller of CronJobs.
#[derive(Default)]
pub(super) struct CronJobs {
    zones: Zones,
}

impl Controller for CronJobs {
    fn name(&self) -> &'static str {
        "cronjob-controller"
    }

    fn concerns(&mut self, _cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::CronJob(changed) = change {
            keys.add(changed.key.clone());
        } else if let Change::Job(changed) = change {
            keys.add_owner(changed, "CronJob");
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let Some(cron) = cluster.cron_jobs.get(key) else { return Plan::nothing() };
        let Some(spec) = &cron.spec else { return Plan::nothing() };
        let uid = cron.metadata.uid.as_deref().unwrap_or_default();
        let mut jobs: Vec<_> = cluster.jobs.owned_by(uid).cloned().collect();
        let made = |job: &Arc<Job>| job.metadata.creation_timestamp.as_ref().map(|time| time.0);
        jobs.sort_by_key(|job| (made(job), job.metadata.name.clone()));
        let mut plan = Plan::nothing();
        let mut status = follow(cron, &jobs, &mut plan);
        plan.writes.extend(clean_up(cron, spec, &jobs));
        if cron.metadata.deletion_timestamp.is_none() && spec.suspend != Some(true) {
            match times(cron, spec, &mut self.zones, turn.now) {
                Ok(times) => {
                    times.next.into_iter().for_each(|time| plan.again_at(time));
                    plan.events.extend(times.note);
                    if let Some(time) = times.due {
                        start(cluster, (cron, spec), time, (&mut status, &mut plan), turn.now);
                    }
                }
                Err(note) => plan.events.push(*note),
            }
        }
        if cron.status.as_ref() == Some(&status) {
            return plan;
        }
        let told = CronJob { status: Some(status), ..CronJob::clone(cron) };
        plan.writes.push(Write::new(Action::ReplaceStatus, told));
        plan
    }
}

/// The status with the Jobs that run, and the last that succeeded.
fn follow(cron: &CronJob, jobs: &[Arc<Job>], plan: &mut Plan) -> CronJobStatus {
    let mut status = cron.status.clone().unwrap_or_default();
    let known = status.active.take().unwrap_or_default();
    let runs = |job: &&Arc<Job>| end(job).is_none();
    let active: Vec<ObjectReference> =
        jobs.iter().filter(runs).map(|job| job.object_ref(&())).collect();
    for reference in &known {
        let job = jobs.iter().find(|job| job.metadata.uid == reference.uid);
        let name = reference.name.as_deref().unwrap_or_default();
        match job.map(|job| end(job)) {
            Some(None) => {}
            Some(Some((kind, _))) => {
                let message = format!("Saw completed job: {name}, condition: {kind}");
                plan.events.push(Note::normal(cron, "SawCompletedJob", message));
            }
            None => {
                let message = format!("Active job went missing: {name}");
                plan.events.push(Note::normal(cron, "MissingJob", message));
            }
        }
    }
    let succeeded = jobs.iter().filter_map(|job| end(job)).filter(|(kind, _)| *kind == "Complete");
    let last = succeeded.filter_map(|(_, time)| time).max();
    if last > status.last_successful_time.as_ref().map(|time| time.0) {
        status.last_successful_time = last.map(Time);
    }
    status.active = (!active.is_empty()).then_some(active);
    status
}

/// How a Job ended, and when.
fn end(job: &Job) -> Option<(&str, Option<Timestamp>)> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is_end = |kind: &str| matches!(kind, "Complete" | "Failed");
    let last = conditions
        .iter()
        .find(|condition| is_end(&condition.type_) && condition.status == "True")?;
    Some((&last.type_, last.last_transition_time.as_ref().map(|time| time.0)))
}

/// Removes the oldest Jobs that are over, beyond those that are kept for a look.
fn clean_up(cron: &CronJob, spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Vec<Write> {
    let limits = [
        ("Complete", spec.successful_jobs_history_limit.unwrap_or(3)),
        ("Failed", spec.failed_jobs_history_limit.unwrap_or(1)),
    ];
    let mut writes = Vec::new();
    for (kind, limit) in limits {
        let is_over = |job: &&Arc<Job>| {
            end(job).is_some_and(|(end, _)| end == kind)
                && job.metadata.deletion_timestamp.is_none()
        };
        let over: Vec<_> = jobs.iter().filter(is_over).collect();
        let many = over.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        writes.extend(over.into_iter().take(many).map(|job| delete(cron, job)));
    }
    writes
}

fn delete(cron: &CronJob, job: &Job) -> Write {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let note = Note::normal(cron, "SuccessfulDelete", format!("Deleted job {name}"));
    Write::new(Action::Delete { grace: None }, job.clone()).done(note)
}

/// What the schedule says.
struct Times {
    /// A time that has come and has not been served.
    due: Option<Timestamp>,
    /// The next time to come.
    next: Option<Timestamp>,
    note: Option<Note>,
}

fn times(
    cron: &CronJob,
    spec: &CronJobSpec,
    zones: &mut Zones,
    now: Timestamp,
) -> Result<Times, Box<Note>> {
    let name = spec.time_zone.as_deref().unwrap_or("UTC");
    let zone = zones.named(name).map_err(|why| {
        let message = format!("invalid timeZone: \"{name}\": {why}");
        Box::new(Note::warning(cron, "UnknownTimeZone", message))
    })?;
    let schedule = Schedule::parse(&spec.schedule).map_err(|why| {
        let message = format!("unparseable schedule: \"{}\" : {why}", spec.schedule);
        Box::new(Note::warning(cron, "UnparseableSchedule", message))
    })?;
    let status = cron.status.as_ref();
    let last = status.and_then(|status| status.last_schedule_time.as_ref());
    let from = last.or(cron.metadata.creation_timestamp.as_ref()).map_or(now, |time| time.0);
    let deadline =
        spec.starting_deadline_seconds.map(|seconds| now - SignedDuration::from_secs(seconds));
    let mut at = deadline.map_or(from, |deadline| from.max(deadline));
    let (mut due, mut missed, mut note) = (None, 0, None);
    while let Some(time) = schedule.next(at, &zone).filter(|time| *time <= now) {
        (due, at, missed) = (Some(time), time, missed + 1);
        if missed > MISSED {
            let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds \
                           or check clock skew";
            note = Some(Note::warning(cron, "TooManyMissedTimes", message.to_owned()));
            // Only the last of them is of interest: it is less than a day, or else a year, ago.
            for back in [24, 24 * 366] {
                at = at.max(now - SignedDuration::from_hours(back));
                if schedule.next(at, &zone).is_some_and(|time| time <= now) {
                    break;
                }
            }
            while let Some(time) = schedule.next(at, &zone).filter(|time| *time <= now) {
                (due, at) = (Some(time), time);
            }
            break;
        }
    }
    Ok(Times { due, next: schedule.next(now, &zone), note })
}

/// Makes the Job of `time`, unless one before it is in the way.
fn start(
    cluster: &Cluster,
    (cron, spec): (&CronJob, &CronJobSpec),
    time: Timestamp,
    (status, plan): (&mut CronJobStatus, &mut Plan),
    now: Timestamp,
) {
    let job = job(cron, spec, time);
    let namespace = cron.metadata.namespace.as_deref().unwrap_or_default();
    let name = job.metadata.name.clone().unwrap_or_default();
    let active = status.active.as_deref().unwrap_or_default();
    if cluster.jobs.named(namespace, &name).is_some() {
        status.last_schedule_time = Some(Time(time)); // It was made, and this was not written.
        return;
    }
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency \
                           policy is Forbid";
            plan.events.push(Note::normal(cron, "JobAlreadyActive", message.to_owned()));
            return;
        }
        Some("Replace") => {
            let old = active
                .iter()
                .filter_map(|reference| cluster.jobs.named(namespace, reference.name.as_deref()?));
            plan.writes.extend(old.map(|job| delete(cron, job)));
        }
        _ => {}
    }
    status.last_schedule_time = Some(Time(time.min(now)));
    let failed = Note::warning(cron, "FailedCreate", "Error creating job: {error}".to_owned());
    let done = Note::normal(cron, "SuccessfulCreate", format!("Created job {name}"));
    plan.writes.push(Write::new(Action::Create, job).done(done).failed(failed));
}

fn job(cron: &CronJob, spec: &CronJobSpec, time: Timestamp) -> Job {
    let template = &spec.job_template;
    let from = template.metadata.clone().unwrap_or_default();
    let mut annotations: BTreeMap<_, _> = from.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED.to_owned(), time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let minutes = time.as_second().div_euclid(60);
    let name = cron.metadata.name.as_deref().unwrap_or_default();
    Job {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{minutes}")),
            namespace: cron.metadata.namespace.clone(),
            labels: from.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controlled_by(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plane::runtime::testing::World;

    fn cron(more: &Value) -> World {
        let mut world = World::new();
        let mut object = json!({
            "metadata": { "name": "tick" },
            "spec": { "schedule": "*/5 * * * *", "jobTemplate": { "spec": { "template": {} } } },
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        world.put::<CronJob>(&object);
        world
    }

    fn jobs(world: &World) -> Vec<String> {
        world.cluster.jobs.iter().filter_map(|(_, job)| job.metadata.name.clone()).collect()
    }

    /// Waits for the next time, and takes what is to be done then.
    fn tick(world: &mut World) {
        world.now = world.decide(&mut CronJobs::default(), "ns/tick").again.unwrap();
        world.settle(&mut CronJobs::default(), "ns/tick");
    }

    fn finish(world: &mut World, kind: &str) {
        let running: Vec<_> = world.cluster.jobs.iter().map(|(_, job)| job.clone()).collect();
        for job in running.iter().filter(|job| end(job).is_none()) {
            let mut value = serde_json::to_value(&**job).unwrap();
            let now = world.now.to_string();
            value["status"] = json!({ "conditions": [{ "type": kind, "status": "True", "lastTransitionTime": now }] });
            world.put::<Job>(&value);
        }
        world.settle(&mut CronJobs::default(), "ns/tick");
    }

    #[test]
    fn a_job_is_made_at_its_time_and_named_after_it() {
        let mut world = cron(&json!({}));
        let first = world.settle(&mut CronJobs::default(), "ns/tick");
        assert!(!first.iter().any(|line| line.starts_with("create")), "{first:?}");
        tick(&mut world);
        let minute = world.now.as_second() / 60;
        assert_eq!(jobs(&world), [format!("tick-{minute}")]);
        let status = world.cluster.cron_jobs.named("ns", "tick").unwrap().status.clone().unwrap();
        assert_eq!(status.last_schedule_time.unwrap().0, world.now);
        assert_eq!(status.active.unwrap().len(), 1);
        finish(&mut world, "Complete");
        let status = world.cluster.cron_jobs.named("ns", "tick").unwrap().status.clone().unwrap();
        assert_eq!((status.last_successful_time.unwrap().0, status.active), (world.now, None));
    }

    #[test]
    fn what_runs_is_in_the_way_makes_way_or_does_not_matter() {
        for (policy, many) in [("Allow", 2), ("Forbid", 1), ("Replace", 1)] {
            let mut world = cron(&json!({ "concurrencyPolicy": policy }));
            tick(&mut world);
            let first = jobs(&world);
            tick(&mut world);
            assert_eq!(jobs(&world).len(), many, "{policy}");
            assert_eq!(jobs(&world).contains(&first[0]), policy != "Replace", "{policy}");
        }
    }

    #[test]
    fn only_the_last_missed_time_is_made_up_for_and_none_that_is_too_long_ago() {
        for (more, many) in [
            (json!({}), 1),
            (json!({ "startingDeadlineSeconds": 30 }), 0),
            (json!({ "suspend": true }), 0),
        ] {
            let mut world = cron(&more);
            world.now += SignedDuration::from_hours(24 * 30);
            world.now += SignedDuration::from_mins(2);
            world.settle(&mut CronJobs::default(), "ns/tick");
            assert_eq!(jobs(&world).len(), many, "{more}");
        }
    }

    #[test]
    fn a_few_jobs_that_are_over_are_kept() {
        let mut world =
            cron(&json!({ "successfulJobsHistoryLimit": 2, "failedJobsHistoryLimit": 0 }));
        for kind in ["Complete", "Complete", "Failed", "Complete"] {
            tick(&mut world);
            finish(&mut world, kind);
        }
        assert_eq!(jobs(&world).len(), 2);
    }

    #[test]
    fn what_cannot_be_understood_is_told() {
        for (more, reason) in [
            (json!({ "schedule": "often" }), "UnparseableSchedule"),
            (json!({ "timeZone": "Middle/Earth" }), "UnknownTimeZone"),
        ] {
            let world = cron(&more);
            let plan = world.decide(&mut CronJobs::default(), "ns/tick");
            assert_eq!(plan.events[0].reason, reason);
        }
    }
}
