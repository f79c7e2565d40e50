//! Stories of DaemonSets.

use serde_json::{Value, json};

use super::*;
use crate::plane::runtime::testing::World;

fn node(world: &mut World, name: &str, spec: &Value) {
    world.put::<Node>(&json!({
        "metadata": { "name": name, "namespace": "", "labels": { "name": name } }, "spec": spec,
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    }));
}

fn set(world: &mut World, image: &str, strategy: &Value, more: &Value) {
    let mut object = json!({
        "metadata": { "name": "agent", "generation": 1 },
        "spec": {
            "selector": { "matchLabels": { "app": "agent" } },
            "updateStrategy": strategy,
            "template": { "metadata": { "labels": { "app": "agent" } },
                "spec": { "containers": [{ "name": "c", "image": image }] } },
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"]["template"]["spec"][field] = value.clone();
    }
    if let Some(old) = world.cluster.daemon_sets.named("ns", "agent") {
        object["status"] = serde_json::to_value(&old.status).unwrap();
        object["metadata"]["generation"] = json!(old.metadata.generation.unwrap() + 1);
    }
    world.put::<DaemonSet>(&object);
}

/// What is done until nothing more is; pods are bound to the node they are meant for.
fn settle(world: &mut World) -> Vec<String> {
    let done = world.settle(&mut DaemonSets, "ns/agent");
    for name in world.pods() {
        world.change_pod(&name, |pod| {
            let terms = &pod["spec"]["affinity"]["nodeAffinity"]
                ["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
            pod["spec"]["nodeName"] = terms[0]["matchFields"][0]["values"][0].clone();
        });
    }
    done
}

fn roll(world: &mut World) {
    for _ in 0..50 {
        settle(world);
        world.run_pods();
    }
}

/// `node:image` of every pod.
fn places(world: &World) -> String {
    let place = |(_, pod): (&Arc<str>, &Arc<Pod>)| {
        let image = pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
        format!("{}:{image}", place::node_of(pod).unwrap())
    };
    let mut places: Vec<_> = world.cluster.pods.iter().map(place).collect();
    places.sort();
    places.join(" ")
}

#[test]
fn every_node_that_will_have_it_has_one_pod() {
    let mut world = World::new();
    let taint = |effect: &str| json!({ "taints": [{ "key": "k", "effect": effect }] });
    node(&mut world, "a", &json!({}));
    node(&mut world, "b", &taint("NoSchedule"));
    node(&mut world, "c", &json!({ "unschedulable": true }));
    set(&mut world, "v1", &json!({}), &json!({}));
    roll(&mut world);
    assert_eq!(places(&world), "a:v1 c:v1", "cordoned nodes keep their services");
    node(&mut world, "d", &json!({}));
    node(&mut world, "a", &taint("NoSchedule"));
    node(&mut world, "c", &taint("NoExecute"));
    roll(&mut world);
    assert_eq!(places(&world), "a:v1 d:v1", "NoSchedule leaves what is there, NoExecute does not");
    let status = world.cluster.daemon_sets.named("ns", "agent").unwrap().status.clone().unwrap();
    assert_eq!((status.desired_number_scheduled, status.number_misscheduled), (1, 1));
}

#[test]
fn a_node_selector_is_obeyed_and_a_failed_pod_replaced_after_a_pause() {
    let mut world = World::new();
    node(&mut world, "a", &json!({}));
    node(&mut world, "b", &json!({}));
    set(&mut world, "v1", &json!({}), &json!({ "nodeSelector": { "name": "b" } }));
    roll(&mut world);
    assert_eq!(places(&world), "b:v1");
    let name = world.pods().remove(0);
    world.change_pod(&name, |pod| pod["status"] = json!({ "phase": "Failed" }));
    settle(&mut world);
    assert_eq!(world.pods(), std::slice::from_ref(&name));
    world.now = world.decide(&mut DaemonSets, "ns/agent").again.unwrap();
    roll(&mut world);
    assert_eq!(places(&world), "b:v1");
    assert_ne!(world.pods(), [name]);
}

#[test]
fn an_update_takes_one_node_after_the_other() {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        node(&mut world, name, &json!({}));
    }
    let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1 } });
    set(&mut world, "v1", &rolling, &json!({}));
    roll(&mut world);
    set(&mut world, "v2", &rolling, &json!({}));
    settle(&mut world);
    assert_eq!(places(&world), "a:v2 b:v1 c:v1", "the new pod on a is not ready");
    roll(&mut world);
    assert_eq!(places(&world), "a:v2 b:v2 c:v2");
}

#[test]
fn with_surge_the_old_pod_goes_when_the_new_one_is_ready() {
    let mut world = World::new();
    node(&mut world, "a", &json!({}));
    node(&mut world, "b", &json!({}));
    let surge =
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
    set(&mut world, "v1", &surge, &json!({}));
    roll(&mut world);
    set(&mut world, "v2", &surge, &json!({}));
    settle(&mut world);
    assert_eq!(places(&world), "a:v1 a:v2 b:v1");
    roll(&mut world);
    assert_eq!(places(&world), "a:v2 b:v2");
}

#[test]
fn on_delete_leaves_pods_alone() {
    let mut world = World::new();
    node(&mut world, "a", &json!({}));
    let on_delete = json!({ "type": "OnDelete" });
    set(&mut world, "v1", &on_delete, &json!({}));
    roll(&mut world);
    set(&mut world, "v2", &on_delete, &json!({}));
    roll(&mut world);
    assert_eq!(places(&world), "a:v1");
}
