//! What the scheduler decides, as tables.

use k8s_openapi::api::core::v1::{Namespace, Node};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::plane::runtime::Kind;
use crate::plane::runtime::cluster::Object;
use crate::plane::runtime::testing::World;

/// A cluster whose scheduler hears of every change.
struct Lab {
    world: World,
    scheduler: Scheduler,
}

impl Lab {
    /// Nodes `a`, `b`, … in zones `x`, `y`, `x`, …, each with two cores and room for four pods.
    fn new(nodes: usize) -> Self {
        let mut lab = Self { world: World::new(), scheduler: Scheduler::default() };
        lab.put::<Namespace>(
            &json!({ "metadata": { "name": "ns", "namespace": "", "labels": { "team": "red" } } }),
        );
        for (place, name) in ["a", "b", "c", "d"].into_iter().take(nodes).enumerate() {
            lab.node(name, ["x", "y"][place % 2], &json!({}));
        }
        lab
    }

    fn node(&mut self, name: &str, zone: &str, spec: &Value) {
        self.put::<Node>(&json!({
            "metadata": { "name": name, "namespace": "", "labels": { "kubernetes.io/hostname": name, "zone": zone } },
            "spec": spec,
            "status": { "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "4" },
                "conditions": [{ "type": "Ready", "status": "True" }] },
        }));
    }

    fn put<K: Kind>(&mut self, object: &Value) -> Vec<String> {
        self.world.put::<K>(object);
        let key = object["metadata"]["name"].as_str().unwrap();
        let key = if object["metadata"]["namespace"] == "" {
            key.to_owned()
        } else {
            format!("ns/{key}")
        };
        let new = K::cache(&mut self.world.cluster).get(&key).cloned();
        self.heard::<K>(&key, None, new)
    }

    fn heard<K: Kind>(
        &mut self,
        key: &str,
        old: Option<Arc<K>>,
        new: Option<Arc<K>>,
    ) -> Vec<String> {
        let change = K::change(Changed { key: key.into(), old, new });
        let mut keys = Keys::new(self.world.now);
        self.scheduler.concerns(&self.world.cluster, &change, &mut keys);
        keys.names()
    }

    /// Puts a pod with this label and spec, and says where it goes, or why it can't.
    fn schedule(&mut self, name: &str, app: &str, spec: &Value) -> String {
        let mut spec = spec.clone();
        if spec["containers"].is_null() {
            spec["containers"] = json!([]);
        }
        self.put::<Pod>(
            &json!({ "metadata": { "name": name, "labels": { "app": app } }, "spec": spec }),
        );
        self.again(name)
    }

    fn again(&mut self, name: &str) -> String {
        let key = format!("ns/{name}");
        let plan = self.world.decide(&mut self.scheduler, &key);
        let Some(write) = plan.writes.into_iter().next() else { return "nothing".to_owned() };
        let said = if let Action::Bind(node) = &write.action {
            node.clone()
        } else if let Action::PatchStatus(patch) = &write.action {
            patch["status"]["conditions"][0]["message"].as_str().unwrap().to_owned()
        } else {
            panic!("{write:?}")
        };
        let Object::Pod(old) = write.object.clone() else { panic!() };
        self.world.obey(write);
        let new = self.world.cluster.pods.get(&key).cloned();
        self.heard(&key, Some(Arc::new(*old)), new);
        said
    }
}

fn affinity(kind: &str, app: &str, key: &str) -> Value {
    json!({ "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": [
        { "labelSelector": { "matchLabels": { "app": app } }, "topologyKey": key },
    ] } } })
}

fn cpu(amount: &str) -> Value {
    json!({ "containers": [{ "name": "c", "resources": { "requests": { "cpu": amount } } }] })
}

#[test]
fn pods_go_where_most_is_left_and_wait_when_nothing_is() {
    let mut lab = Lab::new(2);
    let places: Vec<_> = (0..8).map(|i| lab.schedule(&format!("p{i}"), "x", &json!({}))).collect();
    assert_eq!(places, ["a", "b", "a", "b", "a", "b", "a", "b"]);
    assert_eq!(lab.schedule("p8", "x", &json!({})), "0/2 nodes are available: 2 Too many pods.");
    assert_eq!(lab.again("p8"), "nothing", "what is said already is not said again");
}

#[test]
fn each_reason_keeps_a_pod_from_a_node_and_is_told() {
    let port = json!({ "containers": [{ "name": "c", "ports": [{ "containerPort": 80, "hostPort": 80 }] }] });
    let taint = json!({ "taints": [{ "key": "k", "value": "v", "effect": "NoSchedule" }] });
    let cordon = json!({ "unschedulable": true });
    let none = json!({});
    let cases = [
        (
            &none,
            json!({ "nodeSelector": { "zone": "z" } }),
            "node(s) didn't match Pod's node affinity/selector",
        ),
        (&none, port.clone(), "node(s) didn't have free ports for the requested pod ports"),
        (&none, cpu("2500m"), "Insufficient cpu"),
        (
            &none,
            json!({ "containers": [{ "name": "c", "resources": { "requests": { "vendor/gpu": "1" } } }] }),
            "Insufficient vendor/gpu",
        ),
        (
            &none,
            affinity("podAffinity", "nobody", "zone"),
            "node(s) didn't match pod affinity rules",
        ),
        (
            &none,
            affinity("podAntiAffinity", "holder", "zone"),
            "node(s) didn't match pod anti-affinity rules",
        ),
        (&taint, none.clone(), "node(s) had untolerated taint {k: v}"),
        (&cordon, none.clone(), "node(s) were unschedulable"),
    ];
    for (node, pod, expect) in cases {
        let mut lab = Lab::new(1);
        assert_eq!(lab.schedule("holder", "holder", &port), "a");
        lab.node("a", "x", node);
        assert_eq!(lab.schedule("p", "x", &pod), format!("0/1 nodes are available: 1 {expect}."));
    }
    assert_eq!(Lab::new(0).schedule("p", "x", &none), "no nodes available to schedule pods");
}

#[test]
fn reasons_are_counted_and_sorted() {
    let mut lab = Lab::new(2);
    lab.node("c", "x", &json!({ "unschedulable": true }));
    let told = lab.schedule("p", "x", &cpu("3"));
    assert_eq!(told, "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.");
}

#[test]
fn pods_keep_near_and_far_from_others_by_any_label_of_nodes() {
    let mut lab = Lab::new(4);
    let first = affinity("podAffinity", "web", "zone");
    assert_eq!(lab.schedule("w0", "web", &first), "a", "the first of its kind is its own company");
    assert_eq!(lab.schedule("w1", "web", &first), "c", "the same zone, where most is left");
    let far = affinity("podAntiAffinity", "web", "zone");
    assert_eq!(lab.schedule("lonely", "x", &far), "b");
    assert_eq!(
        lab.schedule("w2", "web", &json!({ "nodeSelector": { "zone": "y" } })),
        "0/4 nodes are available: 2 node(s) didn't match Pod's node affinity/selector, \
         2 node(s) didn't satisfy existing pods anti-affinity rules."
    );
    let mut near = affinity("podAffinity", "web", "zone");
    let term =
        &mut near["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    term["namespaceSelector"] = json!({ "matchLabels": { "team": "blue" } });
    assert!(
        lab.schedule("other", "y", &near).contains("4 node(s) didn't match pod affinity rules")
    );
}

#[test]
fn preferences_decide_between_nodes_that_would_do() {
    let mut lab = Lab::new(2);
    let prefer = json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
        { "weight": 1, "preference": { "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["y"] }] } },
    ] } } });
    assert_eq!(lab.schedule("p", "x", &prefer), "b");
    let apart = json!({ "affinity": { "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
        { "weight": 1, "podAffinityTerm": { "labelSelector": { "matchLabels": { "app": "x" } }, "topologyKey": "zone" } },
    ] } } });
    assert_eq!(lab.schedule("q", "z", &apart), "a");
    lab.node("a", "x", &json!({ "taints": [{ "key": "k", "effect": "PreferNoSchedule" }] }));
    assert_eq!(lab.schedule("r", "z", &json!({})), "b");
}

#[test]
fn a_hard_spread_is_kept_and_a_soft_one_is_a_wish() {
    let spread = |must: &str| {
        json!({ "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": must,
            "labelSelector": { "matchLabels": { "app": "web" } } }] })
    };
    let mut lab = Lab::new(3);
    let places: Vec<_> =
        (0..4).map(|i| lab.schedule(&format!("w{i}"), "web", &spread("DoNotSchedule"))).collect();
    assert_eq!(places, ["a", "b", "c", "b"]);
    lab.node("b", "y", &json!({ "unschedulable": true }));
    lab.schedule("w4", "web", &spread("DoNotSchedule"));
    assert_eq!(
        lab.schedule("w5", "web", &spread("DoNotSchedule")),
        "0/3 nodes are available: 1 node(s) were unschedulable, \
         2 node(s) didn't match pod topology spread constraints."
    );
    assert!(["a", "c"].contains(&lab.schedule("w6", "web", &spread("ScheduleAnyway")).as_str()));
}

/// What is left of nodes and where company is was noted when it came: with ten thousand pods on the nodes, one
/// more costs what it costs with ten.
#[test]
fn a_pod_finds_its_place_without_a_look_at_the_others() {
    let web = |kind: &str| affinity(kind, "web", "kubernetes.io/hostname");
    let mut lab = Lab::new(3);
    assert_eq!(lab.schedule("w0", "web", &web("podAntiAffinity")), "a");
    assert_eq!(lab.schedule("w1", "web", &web("podAntiAffinity")), "b");
    for name in ["w0", "w1"] {
        lab.world.remove::<Pod>(&format!("ns/{name}")); // Nobody told the scheduler.
    }
    assert_eq!(lab.schedule("w2", "web", &web("podAntiAffinity")), "c");
    let refused = lab.schedule("w3", "web", &web("podAntiAffinity"));
    assert_eq!(refused, "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.");
    lab.node("d", "z", &json!({}));
    let near = lab.schedule("near", "x", &web("podAffinity"));
    assert!(["a", "b", "c"].contains(&near.as_str()), "{near}");
}

#[test]
fn gates_hold_a_pod_back_and_other_schedulers_pods_are_left_alone() {
    let mut lab = Lab::new(1);
    let gated = json!({ "schedulingGates": [{ "name": "wait" }] });
    let told = lab.schedule("p", "x", &gated);
    assert_eq!(told, "Scheduling is blocked due to non-empty scheduling gates");
    assert_eq!(lab.schedule("q", "x", &json!({ "schedulerName": "mine" })), "nothing");
    assert_eq!(lab.schedule("p", "x", &json!({})), "a");
}

#[test]
fn what_ends_makes_room_and_those_who_wait_are_tried_again() {
    let mut lab = Lab::new(1);
    lab.schedule("big", "x", &cpu("2"));
    assert!(lab.schedule("next", "x", &cpu("1")).contains("Insufficient cpu"));
    let old = lab.world.cluster.pods.named("ns", "big").unwrap().clone();
    lab.world.change_pod("big", |pod| pod["status"] = json!({ "phase": "Succeeded" }));
    let new = lab.world.cluster.pods.named("ns", "big").cloned();
    assert_eq!(lab.heard("ns/big", Some(old), new), ["ns/next"]);
    assert_eq!(lab.again("next"), "a");
}

proptest! {
    /// No node is ever given more than it has, however pods come and go.
    #[test]
    fn nothing_is_given_twice(steps in prop::collection::vec((0usize..12, 1u32..12, any::<bool>()), 1..60)) {
        let mut lab = Lab::new(3);
        for (name, size, ends) in steps {
            let name = format!("p{name}");
            match lab.world.cluster.pods.named("ns", &name).cloned() {
                Some(old) if ends => {
                    lab.world.obey(Write::new(Action::Delete { grace: None }, Pod::clone(&old)));
                    lab.heard(&format!("ns/{name}"), Some(old), None);
                }
                Some(_) => {}
                None => drop(lab.schedule(&name, "x", &cpu(&format!("{}m", size * 100)))),
            }
            let mut taken: BTreeMap<String, i128> = BTreeMap::new();
            for (_, pod) in lab.world.cluster.pods.iter() {
                if let Some(node) = pods::node_of(pod) {
                    let requests = quantity::requests(pod.spec.as_ref().unwrap());
                    *taken.entry(node.to_owned()).or_default() += requests["cpu"];
                }
            }
            prop_assert!(taken.values().all(|taken| *taken <= 2000), "{taken:?}");
            for (name, seat) in &lab.scheduler.board.seats {
                let own = seat.taken.get("cpu").copied().unwrap_or(0);
                prop_assert_eq!(own, taken.get(name).copied().unwrap_or(0));
            }
        }
    }
}
