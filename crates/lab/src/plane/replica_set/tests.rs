//! Stories of ReplicaSets.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::plane::runtime::testing::{World, told};
use crate::plane::runtime::{Failure, Tried};

fn set(replicas: i32) -> Value {
    json!({
        "metadata": { "name": "web", "generation": 2 },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "i" }] } },
        },
    })
}

fn status(world: &World) -> Value {
    let set = world.cluster.replica_sets.named("ns", "web").unwrap();
    serde_json::to_value(&set.status).unwrap()
}

#[test]
fn pods_are_made_and_removed_until_they_are_as_many_as_asked_for() {
    let mut world = World::new();
    world.put::<ReplicaSet>(&set(3));
    let done = world.settle(&mut ReplicaSets, "ns/web");
    assert_eq!(done.iter().filter(|line| line.starts_with("create Pod")).count(), 3);
    world.run_pods();
    world.settle(&mut ReplicaSets, "ns/web");
    let expect = json!({ "replicas": 3, "readyReplicas": 3, "availableReplicas": 3,
        "fullyLabeledReplicas": 3, "observedGeneration": 2 });
    assert_eq!(status(&world), expect);
    let mut fewer = set(1);
    fewer["status"] = status(&world);
    world.put::<ReplicaSet>(&fewer);
    world.settle(&mut ReplicaSets, "ns/web");
    assert_eq!(world.pods().len(), 1);
}

#[test]
fn a_pod_that_ended_or_is_leaving_is_replaced_and_left_alone() {
    let mut world = World::new();
    world.put::<ReplicaSet>(&set(2));
    world.settle(&mut ReplicaSets, "ns/web");
    let names = world.pods();
    world.change_pod(&names[0], |pod| pod["status"] = json!({ "phase": "Failed" }));
    world.change_pod(&names[1], |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")
    });
    let done = world.settle(&mut ReplicaSets, "ns/web");
    assert_eq!(done.iter().filter(|line| line.starts_with("create Pod")).count(), 2);
    assert!(!done.iter().any(|line| line.starts_with("delete")), "{done:?}");
}

#[test]
fn what_is_selected_is_taken_in_and_what_is_not_is_let_go() {
    let mut world = World::new();
    let pod = |name: &str, labels: Value| json!({ "metadata": { "name": name, "labels": labels }, "spec": { "containers": [] } });
    world.put::<ReplicaSet>(&set(1));
    world.put::<Pod>(&pod("stray", json!({ "app": "web" })));
    world.put::<Pod>(&pod("other", json!({ "app": "other" })));
    assert_eq!(world.settle(&mut ReplicaSets, "ns/web")[0], "patch Pod stray");
    assert_eq!(world.pods(), ["other", "stray"], "the stray pod is the one asked for");
    world.change_pod("stray", |pod| pod["metadata"]["labels"] = json!({ "app": "debug" }));
    let done = world.settle(&mut ReplicaSets, "ns/web");
    assert_eq!(done[0], "patch Pod stray");
    assert_eq!(world.pods().len(), 3, "it is replaced");
    let stray = world.cluster.pods.named("ns", "stray").unwrap();
    assert!(controller_of(&**stray).is_none());
}

#[test]
fn a_failure_is_a_condition_until_it_is_over() {
    let mut world = World::new();
    world.put::<ReplicaSet>(&set(1));
    let failure = Failure { tried: Tried::Create, message: "pods \"x\" is forbidden".to_owned() };
    let plan = world.decide_after(&mut ReplicaSets, "ns/web", &failure);
    assert_eq!(
        plan.writes.iter().map(told).collect::<Vec<_>>(),
        ["status ReplicaSet web", "create Pod web-"]
    );
    for write in plan.writes {
        world.obey(write);
    }
    assert_eq!(status(&world)["conditions"][0]["reason"], "FailedCreate");
    world.settle(&mut ReplicaSets, "ns/web");
    assert_eq!(status(&world)["conditions"], Value::Null);
}

#[test]
fn availability_waits_for_min_ready_seconds_and_asks_to_be_looked_at_then() {
    let mut world = World::new();
    let mut web = set(1);
    web["spec"]["minReadySeconds"] = json!(10);
    world.put::<ReplicaSet>(&web);
    world.settle(&mut ReplicaSets, "ns/web");
    world.run_pods();
    world.settle(&mut ReplicaSets, "ns/web");
    assert_eq!(
        (&status(&world)["readyReplicas"], &status(&world)["availableReplicas"]),
        (&json!(1), &Value::Null)
    );
    let again = world.decide(&mut ReplicaSets, "ns/web").again.unwrap();
    assert_eq!(again, world.now + SignedDuration::from_secs(10));
    world.now = again;
    world.settle(&mut ReplicaSets, "ns/web");
    assert_eq!(status(&world)["availableReplicas"], 1);
}

#[test]
fn a_set_that_is_leaving_makes_and_removes_nothing() {
    let mut world = World::new();
    let mut web = set(3);
    web["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.put::<ReplicaSet>(&web);
    let done = world.settle(&mut ReplicaSets, "ns/web");
    assert!(!done.iter().any(|line| line.contains("Pod")), "{done:?}");
}

proptest! {
    /// Whatever happens to pods in between, the end is as asked for, and a settled set does nothing.
    #[test]
    fn every_history_settles(steps in prop::collection::vec((0i32..6, 0usize..6, 0u8..4), 1..12)) {
        let mut world = World::new();
        for (replicas, victim, what) in steps {
            let mut web = set(replicas);
            if let Some(old) = world.cluster.replica_sets.named("ns", "web") {
                web["status"] = serde_json::to_value(&old.status).unwrap();
            }
            world.put::<ReplicaSet>(&web);
            if let Some(name) = world.pods().get(victim).cloned() {
                world.change_pod(&name, |pod| match what {
                    0 => pod["status"] = json!({ "phase": "Failed" }),
                    1 => pod["metadata"]["labels"] = json!({}),
                    2 => pod["metadata"]["ownerReferences"] = json!([]),
                    _ => pod["status"] = json!({ "phase": "Running" }),
                });
            }
            world.settle(&mut ReplicaSets, "ns/web");
            let active = world.cluster.pods.owned_by("web").filter(|pod| pods::is_active(pod)).count();
            prop_assert_eq!(active, usize::try_from(replicas).unwrap());
            prop_assert!(world.decide(&mut ReplicaSets, "ns/web").writes.is_empty());
        }
    }
}
