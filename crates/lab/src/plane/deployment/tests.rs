//! Stories of Deployments.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::plane::replica_set::ReplicaSets;
use crate::plane::runtime::testing::World;
use crate::plane::runtime::{Failure, Tried};

fn deployment(world: &World, replicas: i32, image: &str, more: &Value) -> Value {
    let mut object = json!({
        "metadata": { "name": "web", "generation": 1 },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": image }] } },
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    if let Some(old) = world.cluster.deployments.named("ns", "web") {
        let old = serde_json::to_value(&**old).unwrap();
        object["status"] = old["status"].clone();
        object["metadata"] = old["metadata"].clone();
        object["metadata"]["generation"] =
            json!(old["metadata"]["generation"].as_i64().unwrap() + 1);
    }
    object
}

fn rolling(surge: &Value, unavailable: &Value) -> Value {
    json!({ "strategy": { "type": "RollingUpdate",
        "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } } })
}

/// One turn of the Deployment, then its ReplicaSets until they rest; whether anything was
/// written.
fn pass(world: &mut World) -> bool {
    let plan = world.decide(&mut Deployments, "ns/web");
    let mut moved = !plan.writes.is_empty();
    plan.writes.into_iter().for_each(|write| world.obey(write));
    for key in sets(world) {
        moved |= !world.settle(&mut ReplicaSets, &key).is_empty();
    }
    moved
}

fn passes(world: &mut World, many: usize) {
    for _ in 0..many {
        pass(world);
    }
}

/// Goes on, running every pod that is made, until all is at rest.
fn roll_out(world: &mut World) {
    for _ in 0..500 {
        let moved = pass(world);
        world.run_pods();
        if !moved && !pass(world) {
            return;
        }
    }
    panic!("the rollout does not come to rest");
}

fn sets(world: &World) -> Vec<String> {
    world.cluster.replica_sets.iter().map(|(key, _)| key.to_string()).collect()
}

/// `image×size`, oldest first.
fn sizes(world: &World) -> String {
    let mut sets: Vec<_> = world.cluster.replica_sets.iter().map(|(_, set)| set.clone()).collect();
    sets.sort_by_key(|set| revision_of(set));
    let text = |set: &Arc<ReplicaSet>| {
        let template = set.spec.as_ref().unwrap().template.as_ref().unwrap();
        let image = template.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
        format!("{image}×{}", rollout::size(set))
    };
    sets.iter().map(text).collect::<Vec<_>>().join(" ")
}

fn revision_of(set: &ReplicaSet) -> i64 {
    revision::annotation(set, "deployment.kubernetes.io/revision").unwrap().parse().unwrap()
}

fn progressing(world: &World) -> (String, String) {
    let deployment = world.cluster.deployments.named("ns", "web").unwrap();
    let conditions = deployment.status.as_ref().unwrap().conditions.as_ref().unwrap();
    let condition = conditions.iter().find(|condition| condition.type_ == "Progressing").unwrap();
    (condition.status.clone(), condition.reason.clone().unwrap())
}

#[test]
fn a_new_template_replaces_the_pods_and_going_back_gives_the_old_set_a_new_number() {
    let mut world = World::new();
    let object = deployment(&world, 3, "v1", &json!({}));
    world.put::<Deployment>(&object);
    roll_out(&mut world);
    assert_eq!(sizes(&world), "v1×3");
    assert_eq!(progressing(&world), ("True".into(), "NewReplicaSetAvailable".into()));
    let object = deployment(&world, 3, "v2", &json!({}));
    world.put::<Deployment>(&object);
    roll_out(&mut world);
    assert_eq!(sizes(&world), "v1×0 v2×3");
    let object = deployment(&world, 3, "v1", &json!({}));
    world.put::<Deployment>(&object);
    roll_out(&mut world);
    assert_eq!(sizes(&world), "v2×0 v1×3");
    let deployment = world.cluster.deployments.named("ns", "web").unwrap();
    let annotations = deployment.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
    let histories: Vec<_> = (world.cluster.replica_sets.iter())
        .filter_map(|(_, set)| {
            revision::annotation(set, "deployment.kubernetes.io/revision-history")
        })
        .collect();
    assert_eq!(histories, ["1"]);
}

#[test]
fn surge_rounds_up_unavailable_rounds_down_and_one_may_always_move() {
    let percent = |number: i32| json!(format!("{number}%"));
    let cases = [
        (10, percent(25), percent(25), 3, 2),
        (1, percent(25), percent(25), 1, 0),
        (2, percent(0), percent(1), 0, 1),
        (5, json!(0), json!(9), 0, 5),
        (0, percent(25), percent(25), 0, 0),
    ];
    for (replicas, surge, unavailable, expect_surge, expect_unavailable) in cases {
        let object = deployment(&World::new(), replicas, "v1", &rolling(&surge, &unavailable));
        let object: Deployment = serde_json::from_value(object).unwrap();
        let turn = Turn { now: "2026-01-01T00:00:00Z".parse().unwrap(), failure: None };
        let rollout = Rollout::new(&object, object.spec.as_ref().unwrap(), Vec::new(), &turn);
        let posts = (rollout.surge(), rollout.unavailable());
        assert_eq!(posts, (expect_surge, expect_unavailable), "{replicas} {surge} {unavailable}");
    }
}

#[test]
fn recreate_waits_until_the_last_old_pod_is_gone() {
    let mut world = World::new();
    let recreate = json!({ "strategy": { "type": "Recreate" } });
    let object = deployment(&world, 2, "v1", &recreate);
    world.put::<Deployment>(&object);
    roll_out(&mut world);
    let names = world.pods();
    let stay = |pod: &mut Value| pod["metadata"]["finalizers"] = json!(["test/stay"]);
    names.iter().for_each(|name| world.change_pod(name, stay));
    let object = deployment(&world, 2, "v2", &recreate);
    world.put::<Deployment>(&object);
    passes(&mut world, 10);
    assert_eq!(sizes(&world), "v1×0", "the old pods are still ending");
    for name in names {
        world.change_pod(&name, |pod| pod["status"] = json!({ "phase": "Succeeded" }));
    }
    roll_out(&mut world);
    assert_eq!(sizes(&world), "v1×0 v2×2");
}

#[test]
fn scaling_in_the_middle_of_a_rollout_keeps_proportions() {
    let mut world = World::new();
    let strategy = rolling(&json!(3), &json!(2));
    let object = deployment(&world, 10, "v1", &strategy);
    world.put::<Deployment>(&object);
    roll_out(&mut world);
    let object = deployment(&world, 10, "v2", &strategy);
    world.put::<Deployment>(&object);
    passes(&mut world, 6);
    assert_eq!(sizes(&world), "v1×8 v2×5", "no new pod is ready");
    let object = deployment(&world, 15, "v2", &strategy);
    world.put::<Deployment>(&object);
    pass(&mut world);
    assert_eq!(sizes(&world), "v1×11 v2×7");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new();
    let object = deployment(&world, 2, "v1", &json!({}));
    world.put::<Deployment>(&object);
    roll_out(&mut world);
    let object = deployment(&world, 4, "v2", &json!({ "paused": true }));
    world.put::<Deployment>(&object);
    roll_out(&mut world);
    assert_eq!(sizes(&world), "v1×4");
    assert_eq!(progressing(&world), ("Unknown".into(), "DeploymentPaused".into()));
    let object = deployment(&world, 4, "v2", &json!({}));
    world.put::<Deployment>(&object);
    roll_out(&mut world);
    assert_eq!(sizes(&world), "v1×0 v2×4");
}

#[test]
fn a_rollout_without_progress_is_late_at_its_deadline_and_recovers() {
    let mut world = World::new();
    let object = deployment(&world, 1, "v1", &json!({ "progressDeadlineSeconds": 60 }));
    world.put::<Deployment>(&object);
    while pass(&mut world) {}
    let again = world.decide(&mut Deployments, "ns/web").again.unwrap();
    assert_eq!(again, world.now + SignedDuration::from_secs(61));
    world.now = again;
    pass(&mut world);
    assert_eq!(progressing(&world), ("False".into(), "ProgressDeadlineExceeded".into()));
    roll_out(&mut world);
    assert_eq!(progressing(&world), ("True".into(), "NewReplicaSetAvailable".into()));
}

#[test]
fn old_sets_beyond_the_limit_are_removed() {
    let mut world = World::new();
    for version in 1..=5 {
        let limit = json!({ "revisionHistoryLimit": 2 });
        let object = deployment(&world, 1, &format!("v{version}"), &limit);
        world.put::<Deployment>(&object);
        roll_out(&mut world);
    }
    assert_eq!(sizes(&world), "v3×0 v4×0 v5×1");
}

#[test]
fn a_name_that_is_taken_is_counted_and_another_is_found() {
    let mut world = World::new();
    let object = deployment(&world, 1, "v1", &json!({}));
    world.put::<Deployment>(&object);
    let set = {
        let plan = world.decide(&mut Deployments, "ns/web");
        let crate::plane::runtime::cluster::Object::ReplicaSet(set) = plan.writes[0].object.clone()
        else {
            panic!("{plan:?}")
        };
        set.metadata.name.unwrap()
    };
    world.put::<ReplicaSet>(&json!({ "metadata": { "name": set }, "spec": {
        "selector": { "matchLabels": { "other": "x" } }, "replicas": 0 } }));
    roll_out(&mut world);
    let deployment = world.cluster.deployments.named("ns", "web").unwrap();
    assert_eq!(deployment.status.as_ref().unwrap().collision_count, Some(1));
    assert_eq!(world.cluster.replica_sets.len(), 2);
}

#[test]
fn a_set_that_cannot_be_made_is_told() {
    let mut world = World::new();
    let object = deployment(&world, 1, "v1", &json!({}));
    world.put::<Deployment>(&object);
    let failure = Failure { tried: Tried::Create, message: "no".to_owned() };
    let plan = world.decide_after(&mut Deployments, "ns/web", &failure);
    world.obey(plan.writes.into_iter().next().unwrap());
    assert_eq!(progressing(&world), ("False".into(), "ReplicaSetCreateError".into()));
}

proptest! {
    /// At every step of every rollout there are at most surge pods too many, and with all old pods
    /// available at most so many too few as may be unavailable.
    #[test]
    fn a_rollout_stays_between_its_fence_posts(
        replicas in 1i32..8, surge in 0i32..4, unavailable in 0i32..4, ready in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut world = World::new();
        let strategy = rolling(&json!(surge), &json!(unavailable));
        let object = deployment(&world, replicas, "v1", &strategy);
        world.put::<Deployment>(&object);
        roll_out(&mut world);
        let object = deployment(&world, replicas, "v2", &strategy);
        world.put::<Deployment>(&object);
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable }.min(replicas);
        for is_ready in ready {
            pass(&mut world);
            if is_ready {
                world.run_pods();
            }
            let pods: Vec<_> = world.cluster.pods.iter().map(|(_, pod)| pod.clone()).collect();
            let total = i32::try_from(pods.len()).unwrap();
            let available = i32::try_from(pods.iter().filter(|pod| pods::is_ready(pod)).count()).unwrap();
            prop_assert!(total <= replicas + surge, "{total} pods");
            prop_assert!(available >= replicas - unavailable, "{available} available");
        }
        roll_out(&mut world);
        prop_assert_eq!(sizes(&world), format!("v1×0 v2×{replicas}"));
    }
}
