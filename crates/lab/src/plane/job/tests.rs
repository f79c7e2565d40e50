//! Stories of Jobs.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::plane::pods::phase;
use crate::plane::runtime::testing::World;

fn job(world: &mut World, more: &Value) {
    let mut object = json!({
        "metadata": { "name": "sum", "generation": 1 },
        "spec": {
            "parallelism": 1, "completions": 1, "backoffLimit": 6,
            "selector": { "matchLabels": { "job": "sum" } },
            "template": { "metadata": { "labels": { "job": "sum" } },
                "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } },
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    if let Some(old) = world.cluster.jobs.named("ns", "sum") {
        object["status"] = serde_json::to_value(&old.status).unwrap();
    }
    world.put::<Job>(&object);
}

fn settle(world: &mut World) -> Vec<String> {
    let done = world.settle(&mut Jobs, "ns/sum");
    // What is leaving and has nothing that holds it is gone.
    for name in world.pods() {
        let pod = world.cluster.pods.named("ns", &name).unwrap().clone();
        if is_leaving(&pod) && !pods::is_tracked(&pod) {
            world.obey(Write::new(Action::Delete { grace: None }, Pod::clone(&pod)));
        }
    }
    done
}

fn status(world: &World) -> JobStatus {
    world.cluster.jobs.named("ns", "sum").unwrap().status.clone().unwrap()
}

fn said(world: &World) -> String {
    let conditions = status(world).conditions.unwrap_or_default();
    let text = |condition: &k8s_openapi::api::batch::v1::JobCondition| {
        format!(
            "{}={}:{}",
            condition.type_,
            condition.status,
            condition.reason.clone().unwrap_or_default()
        )
    };
    conditions.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Every running pod ends like this.
fn end(world: &mut World, how: &str) {
    let now = world.now.to_string();
    for name in world.pods() {
        let pod = world.cluster.pods.named("ns", &name).unwrap();
        if is_active(pod) {
            let code = i32::from(how == "Failed");
            world.change_pod(&name, |pod| {
                pod["status"] = json!({ "phase": how, "containerStatuses": [{
                    "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { "terminated": { "exitCode": code, "finishedAt": now } } }] });
            });
        }
    }
}

#[test]
fn as_many_as_are_parallel_run_until_as_many_as_are_wanted_succeeded() {
    let mut world = World::new();
    job(&mut world, &json!({ "parallelism": 2, "completions": 3 }));
    settle(&mut world);
    assert_eq!((world.pods().len(), status(&world).active), (2, Some(2)));
    end(&mut world, "Succeeded");
    settle(&mut world);
    assert_eq!((status(&world).active, status(&world).succeeded), (Some(1), Some(2)));
    end(&mut world, "Succeeded");
    settle(&mut world);
    assert_eq!(
        said(&world),
        "SuccessCriteriaMet=True:CompletionsReached Complete=True:CompletionsReached"
    );
    let status = status(&world);
    assert_eq!((status.succeeded, status.failed, status.active), (Some(3), None, None));
    assert!(status.completion_time.is_some() && status.start_time.is_some());
    let tracked = world.cluster.pods.iter().filter(|(_, pod)| pods::is_tracked(pod)).count();
    assert_eq!((world.pods().len(), tracked), (3, 0), "ended pods stay, and nothing holds them");
}

#[test]
fn what_fails_is_tried_again_later_and_later_until_the_limit() {
    let mut world = World::new();
    job(&mut world, &json!({ "backoffLimit": 2 }));
    for pause in [10, 20] {
        settle(&mut world);
        end(&mut world, "Failed");
        settle(&mut world);
        let again = world.decide(&mut Jobs, "ns/sum").again.unwrap();
        assert_eq!(again, world.now + SignedDuration::from_secs(pause));
        world.now = again;
    }
    settle(&mut world);
    end(&mut world, "Failed");
    settle(&mut world);
    assert_eq!(
        said(&world),
        "FailureTarget=True:BackoffLimitExceeded Failed=True:BackoffLimitExceeded"
    );
    assert_eq!(status(&world).failed, Some(3));
}

#[test]
fn every_index_has_its_pod_and_completes_once() {
    let mut world = World::new();
    job(&mut world, &json!({ "completionMode": "Indexed", "parallelism": 4, "completions": 3 }));
    settle(&mut world);
    let pods: Vec<_> = world.cluster.pods.iter().map(|(_, pod)| pod.clone()).collect();
    let hosts: Vec<_> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.hostname.clone()).collect();
    assert_eq!(hosts, ["sum-0", "sum-1", "sum-2"]);
    let first = pods[0].metadata.name.clone().unwrap();
    world.change_pod(&first, |pod| pod["status"] = json!({ "phase": "Failed" }));
    settle(&mut world);
    world.now += SignedDuration::from_secs(10);
    settle(&mut world);
    end(&mut world, "Succeeded");
    settle(&mut world);
    let status = status(&world);
    assert_eq!(status.completed_indexes.as_deref(), Some("0-2"));
    assert_eq!((status.succeeded, status.failed), (Some(3), Some(1)));
}

#[test]
fn an_index_that_failed_too_often_fails_the_job_when_the_others_are_through() {
    let mut world = World::new();
    let limits = json!({ "completionMode": "Indexed", "parallelism": 2, "completions": 2,
        "backoffLimitPerIndex": 0, "backoffLimit": i32::MAX });
    job(&mut world, &limits);
    settle(&mut world);
    let first = world.pods().remove(0);
    world.change_pod(&first, |pod| pod["status"] = json!({ "phase": "Failed" }));
    settle(&mut world);
    assert_eq!(status(&world).failed_indexes.as_deref(), Some("0"));
    end(&mut world, "Succeeded");
    settle(&mut world);
    assert!(said(&world).ends_with("Failed=True:FailedIndexes"), "{}", said(&world));
}

/// How often an index failed is known however many of its pods are gone, and no other index waits for it.
#[test]
fn an_index_waits_alone_and_its_failures_are_handed_on() {
    let mut world = World::new();
    let limits = json!({ "completionMode": "Indexed", "parallelism": 2, "completions": 4,
        "backoffLimitPerIndex": 2, "backoffLimit": i32::MAX });
    job(&mut world, &limits);
    settle(&mut world);
    let of_index = |world: &World, index: i32| {
        let pods = world.cluster.pods.iter().map(|(_, pod)| pod.clone());
        let pods = pods.filter(|pod| pods::index(pod) == Some(index) && is_active(pod));
        pods.map(|pod| pod.metadata.name.clone().unwrap()).next()
    };
    for (failures, pause, others) in [("0", 10, &[1, 2][..]), ("1", 20, &[3])] {
        let name = of_index(&world, 0).expect("index 0 has a pod");
        let pod = world.cluster.pods.named("ns", &name).unwrap();
        let told = &pod.metadata.annotations.as_ref().unwrap()["batch.kubernetes.io/job-index-failure-count"];
        assert_eq!(told, failures);
        let now = world.now.to_string();
        world.change_pod(&name, |pod| {
            pod["status"] = json!({ "phase": "Failed", "containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "terminated": { "exitCode": 1, "finishedAt": now } } }] });
        });
        settle(&mut world);
        for other in others {
            assert!(of_index(&world, *other).is_some(), "index {other} does not wait for it");
        }
        let kept = world.cluster.pods.named("ns", &name).unwrap();
        assert!(pods::is_tracked(kept), "nobody takes it away before its successor knows");
        world.now += SignedDuration::from_secs(pause - 1);
        settle(&mut world);
        assert_eq!(of_index(&world, 0), None);
        for index in [1, 2] {
            if let Some(name) = of_index(&world, index) {
                world.change_pod(&name, |pod| pod["status"] = json!({ "phase": "Succeeded" }));
            }
        }
        world.now += SignedDuration::from_secs(1);
        settle(&mut world);
        let kept = world.cluster.pods.named("ns", &name).unwrap();
        assert!(!pods::is_tracked(kept), "now it may go");
        world.remove::<Pod>(&format!("ns/{name}"));
    }
    let name = of_index(&world, 0).unwrap();
    world.change_pod(&name, |pod| pod["status"] = json!({ "phase": "Failed" }));
    settle(&mut world);
    assert_eq!(status(&world).failed_indexes.as_deref(), Some("0"));
}

#[test]
fn a_deadline_ends_the_job_and_its_pods() {
    let mut world = World::new();
    job(&mut world, &json!({ "activeDeadlineSeconds": 30 }));
    settle(&mut world);
    world.now = world.decide(&mut Jobs, "ns/sum").again.unwrap();
    settle(&mut world);
    settle(&mut world);
    assert_eq!(said(&world), "FailureTarget=True:DeadlineExceeded Failed=True:DeadlineExceeded");
    assert_eq!(world.pods(), Vec::<String>::new());
}

#[test]
fn a_suspended_job_has_no_pods_and_those_it_had_do_not_count() {
    let mut world = World::new();
    job(&mut world, &json!({}));
    settle(&mut world);
    job(&mut world, &json!({ "suspend": true }));
    settle(&mut world);
    settle(&mut world);
    assert_eq!((said(&world).as_str(), world.pods().len()), ("Suspended=True:JobSuspended", 0));
    assert_eq!((status(&world).failed, status(&world).start_time), (None, None));
    job(&mut world, &json!({ "suspend": false }));
    settle(&mut world);
    assert_eq!((said(&world).as_str(), world.pods().len()), ("Suspended=False:JobResumed", 1));
}

#[test]
fn a_job_that_is_over_goes_after_its_time() {
    let mut world = World::new();
    job(&mut world, &json!({ "ttlSecondsAfterFinished": 60 }));
    settle(&mut world);
    end(&mut world, "Succeeded");
    settle(&mut world);
    let again = world.decide(&mut Jobs, "ns/sum").again.unwrap();
    assert_eq!(again, world.now + SignedDuration::from_secs(60));
    world.now = again;
    assert_eq!(settle(&mut world), ["delete Job sum"]);
}

#[test]
fn a_pod_whose_job_is_gone_is_let_go() {
    let mut world = World::new();
    job(&mut world, &json!({}));
    settle(&mut world);
    let name = world.pods().remove(0);
    let key = format!("{ORPHAN}ns/{name}");
    assert!(world.decide(&mut Jobs, &key).writes.is_empty(), "its job is there");
    let job = world.cluster.jobs.named("ns", "sum").unwrap().clone();
    world.obey(Write::new(Action::Delete { grace: None }, Job::clone(&job)));
    assert_eq!(world.settle(&mut Jobs, &key), [format!("patch Pod {name}")]);
}

proptest! {
    /// However pods end, are deleted and are counted, each counts once.
    #[test]
    fn every_pod_is_counted_once(
        steps in prop::collection::vec((0usize..4, 0u8..3, any::<bool>()), 1..25), completions in 1i32..4,
    ) {
        let mut world = World::new();
        job(&mut world, &json!({ "parallelism": 3, "completions": completions, "backoffLimit": 1000 }));
        let (mut succeeded, mut failed) = (0, 0);
        for (victim, what, whole) in steps {
            // The control plane may stop between any two writes.
            let plan = world.decide(&mut Jobs, "ns/sum");
            let many = if whole { plan.writes.len() } else { 1 };
            plan.writes.into_iter().take(many).for_each(|write| world.obey(write));
            world.now += SignedDuration::from_secs(900);
            let Some(name) = world.pods().get(victim).cloned() else { continue };
            let pod = world.cluster.pods.named("ns", &name).unwrap();
            if is_active(pod) && said(&world).is_empty() {
                let end = ["Succeeded", "Failed", "deleted"][usize::from(what)];
                (succeeded, failed) = match end {
                    "Succeeded" => (succeeded + 1, failed),
                    _ => (succeeded, failed + 1),
                };
                world.change_pod(&name, |pod| match end {
                    "deleted" => pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
                    end => pod["status"] = json!({ "phase": end }),
                });
            }
        }
        if said(&world).is_empty() {
            job(&mut world, &json!({ "parallelism": 0, "completions": completions, "backoffLimit": 1000 }));
            settle(&mut world);
            let status = status(&world);
            prop_assert_eq!(status.succeeded.unwrap_or(0), succeeded);
            prop_assert_eq!(status.failed.unwrap_or(0), failed);
        }
        let idle = world.cluster.pods.iter().all(|(_, pod)| !pods::is_tracked(pod) || phase(pod).is_empty());
        prop_assert!(idle || !said(&world).is_empty());
    }
}
