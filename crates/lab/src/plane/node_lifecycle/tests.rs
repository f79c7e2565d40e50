//! Truth tables: nodes, leases and times in, writes out.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::NodeLifecycle;
use super::pods::SilentPods;
use crate::plane::runtime::testing::World;

fn node(ready: &str, taints: &[&str]) -> Value {
    let taint = |text: &&str| {
        let (key, effect) = text.split_once(':').unwrap();
        json!({ "key": format!("node.kubernetes.io/{key}"), "effect": effect })
    };
    json!({
        "metadata": { "name": "n", "namespace": "", "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "taints": taints.iter().map(taint).collect::<Vec<_>>() },
        "status": { "conditions": [{ "type": "Ready", "status": ready }] },
    })
}

fn world(node: &Value, renewed: &str, now: &str) -> World {
    let mut world = World::new();
    world.now = now.parse().unwrap();
    world.put::<Node>(node);
    world.put::<Lease>(&json!({ "metadata": { "name": "n", "namespace": "kube-node-lease" },
        "spec": { "renewTime": renewed } }));
    world
}

fn taints(world: &World) -> String {
    let node = world.cluster.nodes.get("n").unwrap();
    let taints = node.spec.as_ref().unwrap().taints.iter().flatten();
    let name = |taint: &k8s_openapi::api::core::v1::Taint| {
        format!("{}:{}", taint.key.replace("node.kubernetes.io/", ""), taint.effect)
    };
    taints.map(name).collect::<Vec<_>>().join(" ")
}

#[test]
fn silence_and_its_end_are_noticed() {
    let heard = "2026-01-01T00:10:00.000000Z";
    let (soon, late) = ("2026-01-01T00:10:09Z", "2026-01-01T00:10:11Z");
    let silent = ["unreachable:NoSchedule", "unreachable:NoExecute"];
    let unready = ["not-ready:NoSchedule", "not-ready:NoExecute"];
    let cases: [(Value, &str, &[&str], &str); 7] = [
        (node("True", &[]), soon, &[], ""),
        (node("True", &[]), late, &["status Node n", "patch Node n"], "unreachable"),
        (node("Unknown", &[]), late, &["patch Node n"], "unreachable"),
        (node("Unknown", &silent), late, &[], "unreachable"),
        (node("True", &silent), soon, &["patch Node n"], ""),
        (node("False", &unready), soon, &[], "not-ready"),
        (node("False", &silent), soon, &["patch Node n"], "not-ready"),
    ];
    for (node, now, expect, key) in cases {
        let mut world = world(&node, heard, now);
        assert_eq!(world.settle(&mut NodeLifecycle::default(), "n"), expect, "{node} {now}");
        let both = format!("{key}:NoSchedule {key}:NoExecute");
        assert_eq!(taints(&world), if key.is_empty() { "" } else { &both }, "{node} {now}");
    }
}

#[test]
fn a_node_that_goes_on_is_looked_at_when_it_could_have_fallen_silent() {
    let world = world(&node("True", &[]), "2026-01-01T00:10:00Z", "2026-01-01T00:10:02Z");
    let again = world.decide(&mut NodeLifecycle::default(), "n").again.unwrap();
    assert_eq!(again.to_string(), "2026-01-01T00:10:10.001Z");
}

/// Memory, disk and PIDs are the node's own words; the network is somebody else's.
#[test]
fn nothing_that_a_silent_node_said_of_itself_counts() {
    let mut said = node("True", &[]);
    for (kind, status) in [("MemoryPressure", "False"), ("NetworkUnavailable", "False")] {
        let condition = json!({ "type": kind, "status": status });
        said["status"]["conditions"].as_array_mut().unwrap().push(condition);
    }
    let world = world(&said, "2026-01-01T00:10:00Z", "2026-01-01T00:11:00Z");
    let plan = world.decide(&mut NodeLifecycle::default(), "n");
    let crate::plane::runtime::Action::PatchStatus(patch) = &plan.writes[0].action else {
        panic!("{plan:?}")
    };
    let told = patch["status"]["conditions"].as_array().unwrap().iter();
    let told: Vec<_> =
        told.map(|condition| format!("{} {}", condition["type"], condition["reason"])).collect();
    assert_eq!(
        told.join(", ").replace('"', ""),
        "Ready NodeStatusUnknown, MemoryPressure NodeStatusUnknown, \
         DiskPressure NodeStatusNeverUpdated, PIDPressure NodeStatusNeverUpdated"
    );
    assert_eq!(plan.writes[0].done.as_ref().unwrap().reason, "NodeNotReady");
}

#[test]
fn a_node_has_the_taints_of_its_state_and_keeps_those_of_others() {
    let mut tainted = node("False", &["unreachable:NoExecute", "unschedulable:NoExecute"]);
    tainted["spec"]["unschedulable"] = json!(true);
    let other = json!({ "key": "mine", "effect": "NoSchedule" });
    tainted["spec"]["taints"].as_array_mut().unwrap().push(other);
    for kind in ["NetworkUnavailable", "DiskPressure"] {
        let condition = json!({ "type": kind, "status": "True" });
        tainted["status"]["conditions"].as_array_mut().unwrap().push(condition);
    }
    let mut world = world(&tainted, "2026-01-01T00:10:00Z", "2026-01-01T00:10:01Z");
    world.settle(&mut NodeLifecycle::default(), "n");
    assert_eq!(
        taints(&world),
        "unschedulable:NoExecute mine:NoSchedule not-ready:NoSchedule not-ready:NoExecute \
         disk-pressure:NoSchedule network-unavailable:NoSchedule unschedulable:NoSchedule"
    );
}

#[test]
fn a_node_s_coming_and_going_is_told_once() {
    let mut world = world(&node("True", &[]), "2026-01-01T00:10:00Z", "2026-01-01T00:10:01Z");
    let mut controller = NodeLifecycle::default();
    let mut told = |world: &World| {
        let events = world.decide(&mut controller, "n").events;
        events.iter().map(|note| note.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(told(&world), ["Node n event: Registered Node n in Controller"]);
    assert_eq!(told(&world), [""; 0]);
    world.remove::<Node>("n");
    assert_eq!(told(&world), ["Node n event: Removing Node n from Controller"]);
    assert_eq!(told(&world), [""; 0]);
}

#[test]
fn pods_are_ready_no_longer_where_nobody_can_tell() {
    let cases = [
        ("True", "True", false),
        ("False", "True", false),
        ("Unknown", "False", false),
        ("Unknown", "True", true),
    ];
    for (ready, pod_ready, expect) in cases {
        let mut world = World::new();
        world.put::<Node>(&node(ready, &[]));
        world.put::<Pod>(&json!({
            "metadata": { "name": "p" },
            "spec": { "nodeName": "n", "containers": [] },
            "status": { "conditions": [{ "type": "Ready", "status": pod_ready }] },
        }));
        let writes = world.decide(&mut SilentPods, "ns/p").writes;
        assert_eq!(!writes.is_empty(), expect, "{ready} {pod_ready}");
    }
}
