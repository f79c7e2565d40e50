//! Stories of StatefulSets.

use k8s_openapi::api::apps::v1::StatefulSet;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::plane::runtime::testing::World;

fn set(world: &World, replicas: i32, image: &str, more: &Value) -> Value {
    let mut object = json!({
        "metadata": { "name": "db", "generation": 1 },
        "spec": {
            "replicas": replicas, "serviceName": "db", "revisionHistoryLimit": 10,
            "selector": { "matchLabels": { "app": "db" } },
            "template": { "metadata": { "labels": { "app": "db" } },
                "spec": { "containers": [{ "name": "c", "image": image }] } },
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    if let Some(old) = world.cluster.stateful_sets.named("ns", "db") {
        object["status"] = serde_json::to_value(&old.status).unwrap();
        object["metadata"]["generation"] = json!(old.metadata.generation.unwrap() + 1);
    }
    object
}

/// One turn; what was done with pods.
fn turn(world: &mut World) -> String {
    let mut done = Vec::new();
    // Until pods are touched or nothing more is to be done: histories and status come first.
    for _ in 0..10 {
        let plan = world.decide(&mut StatefulSets, "ns/db");
        let writes = plan.writes;
        if writes.is_empty() {
            break;
        }
        for write in writes {
            let told = crate::plane::runtime::testing::told(&write);
            if let Some((verb, pod)) = told.split_once(" Pod ") {
                done.push(format!("{verb} {pod}"));
            }
            world.obey(write);
        }
        if !done.is_empty() {
            break;
        }
    }
    done.join(", ")
}

fn settle(world: &mut World) -> Vec<String> {
    let mut done = Vec::new();
    for _ in 0..200 {
        let step = turn(world);
        world.run_pods();
        if step.is_empty() && turn(world).is_empty() {
            return done;
        }
        done.push(step);
    }
    panic!("it does not come to rest: {done:?}");
}

fn images(world: &World) -> String {
    let image = |(_, pod): (&Arc<str>, &Arc<Pod>)| {
        pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
    };
    world.cluster.pods.iter().map(image).collect::<Vec<_>>().join(" ")
}

#[test]
fn pods_are_made_in_order_each_when_the_one_before_is_ready_and_removed_in_reverse() {
    let mut world = World::new();
    let object = set(&world, 3, "v1", &json!({}));
    world.put::<StatefulSet>(&object);
    assert_eq!(turn(&mut world), "create db-0");
    assert_eq!(turn(&mut world), "", "db-0 is not ready");
    world.run_pods();
    assert_eq!(turn(&mut world), "create db-1");
    world.run_pods();
    assert_eq!(turn(&mut world), "create db-2");
    settle(&mut world);
    let object = set(&world, 1, "v1", &json!({}));
    world.put::<StatefulSet>(&object);
    assert_eq!(settle(&mut world), ["delete db-2", "delete db-1"]);
}

#[test]
fn parallel_makes_and_removes_all_at_once() {
    let mut world = World::new();
    let parallel = json!({ "podManagementPolicy": "Parallel" });
    let object = set(&world, 3, "v1", &parallel);
    world.put::<StatefulSet>(&object);
    assert_eq!(turn(&mut world), "create db-0, create db-1, create db-2");
    let object = set(&world, 0, "v1", &parallel);
    world.put::<StatefulSet>(&object);
    assert_eq!(turn(&mut world), "delete db-2, delete db-1, delete db-0");
}

#[test]
fn a_pod_has_the_name_labels_and_host_name_of_its_number() {
    let mut world = World::new();
    let more = json!({ "ordinals": { "start": 5 },
        "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {} }] });
    let object = set(&world, 1, "v1", &more);
    world.put::<StatefulSet>(&object);
    settle(&mut world);
    let pod = world.cluster.pods.named("ns", "db-5").unwrap();
    assert_eq!(pods::label(pod, "apps.kubernetes.io/pod-index"), Some("5"));
    assert_eq!(pods::label(pod, "statefulset.kubernetes.io/pod-name"), Some("db-5"));
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-5"), Some("db")));
    let volume = &spec.volumes.as_ref().unwrap()[0];
    assert!(volume.name == "data" && volume.empty_dir.is_some());
}

#[test]
fn an_update_goes_from_the_highest_number_down_to_the_partition_and_can_be_undone() {
    let mut world = World::new();
    let object = set(&world, 3, "v1", &json!({}));
    world.put::<StatefulSet>(&object);
    settle(&mut world);
    let rolling = json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } } });
    let object = set(&world, 3, "v2", &rolling);
    world.put::<StatefulSet>(&object);
    let done = settle(&mut world);
    assert_eq!(done, ["delete db-2", "create db-2", "delete db-1", "create db-1"]);
    assert_eq!(images(&world), "v1 v2 v2");
    world.change_pod("db-0", |pod| pod["status"] = json!({ "phase": "Failed" }));
    settle(&mut world);
    assert_eq!(images(&world), "v1 v2 v2", "what is below the partition is made as it was");
    let object = set(&world, 3, "v1", &json!({}));
    world.put::<StatefulSet>(&object);
    settle(&mut world);
    assert_eq!(images(&world), "v1 v1 v1");
    let set = world.cluster.stateful_sets.named("ns", "db").unwrap();
    let status = set.status.as_ref().unwrap();
    assert_eq!(status.current_revision, status.update_revision);
    let newest =
        world.cluster.controller_revisions.named("ns", status.update_revision.as_ref().unwrap());
    assert_eq!(newest.unwrap().revision, 3, "an old revision comes back with a new number");
}

#[test]
fn on_delete_updates_what_somebody_deletes() {
    let mut world = World::new();
    let on_delete = json!({ "updateStrategy": { "type": "OnDelete" } });
    let object = set(&world, 2, "v1", &on_delete);
    world.put::<StatefulSet>(&object);
    settle(&mut world);
    let object = set(&world, 2, "v2", &on_delete);
    world.put::<StatefulSet>(&object);
    assert_eq!(settle(&mut world), Vec::<String>::new());
    world.change_pod("db-0", |pod| pod["status"] = json!({ "phase": "Succeeded" }));
    settle(&mut world);
    assert_eq!(images(&world), "v2 v1");
}

proptest! {
    /// Pods are 0 to N - 1 of the newest template in the end, and never is there a gap in `OrderedReady`.
    #[test]
    fn every_history_settles(steps in prop::collection::vec((0i32..5, 0u8..3, any::<bool>(), 0usize..5), 1..8)) {
        let mut world = World::new();
        for (replicas, version, parallel, victim) in steps {
            let policy = json!({ "podManagementPolicy": if parallel { "Parallel" } else { "OrderedReady" } });
            let image = format!("v{version}");
            let object = set(&world, replicas, &image, &policy);
            world.put::<StatefulSet>(&object);
            if let Some(name) = world.pods().get(victim).cloned() {
                world.change_pod(&name, |pod| pod["status"] = json!({ "phase": "Failed" }));
            }
            settle(&mut world);
            let expect: Vec<_> = (0..replicas).map(|number| format!("db-{number}")).collect();
            prop_assert_eq!(world.pods(), expect);
            let all_new = images(&world).split_whitespace().all(|other| other == image);
            prop_assert!(all_new, "{}", images(&world));
        }
    }
}
