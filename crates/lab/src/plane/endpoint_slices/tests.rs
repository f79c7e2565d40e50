//! Stories of EndpointSlices.

use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::plane::runtime::testing::World;

fn service(more: &Value) -> Value {
    let mut spec = json!({ "selector": { "app": "web" }, "ipFamilies": ["IPv4"], "clusterIP": "10.96.0.9",
        "ports": [{ "name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP" }] });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({ "metadata": { "name": "web", "labels": { "team": "a", MANAGED_BY: "x" } }, "spec": spec })
}

fn pod(name: &str, ip: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "app": "web" } },
        "spec": { "nodeName": "n1", "containers": [{ "name": "c" }] },
        "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }, { "ip": format!("fd00::{}", ip.rsplit('.').next().unwrap()) }],
            "conditions": [{ "type": "Ready", "status": "True" }] } })
}

fn slices(world: &World) -> Vec<Value> {
    let all = world.cluster.endpoint_slices.iter();
    all.map(|(_, slice)| serde_json::to_value(&**slice).unwrap()).collect()
}

/// `address ready serving terminating` of every endpoint, sorted.
fn lines(world: &World) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for slice in slices(world) {
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let condition = |name: &str| match endpoint["conditions"][name].as_bool() {
                Some(true) => name[..1].to_owned(),
                _ => "-".to_owned(),
            };
            let address = endpoint["addresses"][0].as_str().unwrap();
            lines.push(format!(
                "{address} {}{}{}",
                condition("ready"),
                condition("serving"),
                condition("terminating")
            ));
        }
    }
    lines.sort();
    lines
}

#[test]
fn an_endpoint_says_whether_it_is_ready_still_serves_and_is_leaving() {
    let mut world = World::new();
    world.put::<Service>(&service(&json!({})));
    for (number, name) in ["ready", "not", "leaving", "over", "other"].iter().enumerate() {
        world.put::<Pod>(&pod(name, &format!("10.0.0.{number}")));
    }
    let leaves =
        |pod: &mut Value| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.change_pod("not", |pod| pod["status"]["conditions"][0]["status"] = json!("False"));
    world.change_pod("leaving", leaves);
    world.change_pod("over", |pod| pod["status"]["phase"] = json!("Failed"));
    world.change_pod("other", |pod| pod["metadata"]["labels"]["app"] = json!("other"));
    world.settle(&mut EndpointSlices, "ns/web");
    assert_eq!(lines(&world), ["10.0.0.0 rs-", "10.0.0.1 ---", "10.0.0.2 -st"]);
    world.put::<Service>(&service(&json!({ "publishNotReadyAddresses": true })));
    world.settle(&mut EndpointSlices, "ns/web");
    assert_eq!(lines(&world), ["10.0.0.0 rs-", "10.0.0.1 r--", "10.0.0.2 rst"]);
}

#[test]
fn a_slice_is_its_services_in_labels_owner_and_ports() {
    let mut world = World::new();
    world.put::<Service>(&service(&json!({ "clusterIP": "None", "ports": [
        { "name": "http", "port": 80, "targetPort": "web", "appProtocol": "http" }] })));
    world.put::<Pod>(&pod("a", "10.0.0.1"));
    world.change_pod("a", |pod| {
        pod["spec"]["containers"][0]["ports"] = json!([{ "name": "web", "containerPort": 8080 }]);
        pod["spec"]["hostname"] = json!("first");
        pod["spec"]["subdomain"] = json!("web");
    });
    world.put::<Pod>(&pod("without", "10.0.0.2"));
    world.settle(&mut EndpointSlices, "ns/web");
    let slices = slices(&world);
    assert_eq!(slices.len(), 2, "one for each set of ports");
    let slice = slices.iter().find(|slice| slice["ports"][0]["port"] == 8080).unwrap();
    assert_eq!(
        slice["metadata"]["labels"],
        json!({ "team": "a", SERVICE: "web", MANAGED_BY: SLICES.name, pack::HEADLESS: "" })
    );
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Service");
    assert_eq!(
        slice["ports"],
        json!([{ "name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http" }])
    );
    assert_eq!(slice["endpoints"][0]["hostname"], "first");
}

#[test]
fn every_family_of_the_service_has_its_slices_and_one_without_endpoints_has_an_empty_one() {
    let mut world = World::new();
    world.put::<Service>(&service(&json!({ "ipFamilies": ["IPv6", "IPv4"] })));
    world.settle(&mut EndpointSlices, "ns/web");
    assert_eq!((slices(&world).len(), lines(&world).len()), (2, 0));
    world.put::<Pod>(&pod("a", "10.0.0.1"));
    world.settle(&mut EndpointSlices, "ns/web");
    assert_eq!(lines(&world), ["10.0.0.1 rs-", "fd00::1 rs-"]);
    assert_eq!(slices(&world).len(), 2, "the empty ones were filled");
    world.put::<Service>(&service(&json!({ "ipFamilies": ["IPv4"] })));
    world.settle(&mut EndpointSlices, "ns/web");
    assert_eq!(slices(&world).len(), 1);
}

#[test]
fn hints_follow_the_traffic_distribution() {
    let zone = |zones: &Value| zones["forZones"][0]["name"].as_str().map(str::to_owned);
    let mut world = World::new();
    world.put::<Node>(
        &json!({ "metadata": { "name": "n1", "namespace": "", "labels": { ZONE: "z1" } } }),
    );
    world.put::<Pod>(&pod("a", "10.0.0.1"));
    for (distribution, zone_of, node_of) in [
        (json!(null), None, None),
        (json!("PreferClose"), Some("z1"), None),
        (json!("PreferSameZone"), Some("z1"), None),
        (json!("PreferSameNode"), Some("z1"), Some("n1")),
    ] {
        world.put::<Service>(&service(&json!({ "trafficDistribution": distribution })));
        world.settle(&mut EndpointSlices, "ns/web");
        let hints = slices(&world)[0]["endpoints"][0]["hints"].clone();
        assert_eq!(zone(&hints).as_deref(), zone_of, "{distribution}");
        assert_eq!(hints["forNodes"][0]["name"].as_str(), node_of, "{distribution}");
    }
    assert_eq!(slices(&world)[0]["endpoints"][0]["zone"], "z1");
}

#[test]
fn endpoints_written_by_hand_are_mirrored_unless_they_say_not_to() {
    let mut world = World::new();
    world.put::<Service>(&service(&json!({ "selector": null })));
    let mut by_hand = json!({ "metadata": { "name": "web" }, "subsets": [
        { "addresses": [{ "ip": "192.0.2.1" }, { "ip": "2001:db8::1" }], "notReadyAddresses": [{ "ip": "192.0.2.2" }],
          "ports": [{ "port": 9090 }] }] });
    world.put::<Endpoints>(&by_hand);
    world.settle(&mut EndpointSlices, "ns/web");
    assert_eq!(lines(&world), ["192.0.2.1 r--", "192.0.2.2 ---", "2001:db8::1 r--"]);
    assert_eq!(slices(&world)[0]["metadata"]["labels"][MANAGED_BY], MIRROR.name);
    by_hand["metadata"]["labels"] = json!({ mirror::SKIP: "true" });
    world.put::<Endpoints>(&by_hand);
    world.settle(&mut EndpointSlices, "ns/web");
    assert!(slices(&world).is_empty());
}

#[test]
fn two_hundred_and_fifty_pods_are_three_slices_and_one_that_leaves_is_one_write() {
    let mut world = World::new();
    world.put::<Service>(&service(&json!({})));
    for number in 0..250 {
        world.put::<Pod>(&pod(
            &format!("p{number}"),
            &format!("10.0.{}.{}", number / 250, number % 250),
        ));
    }
    let done = world.settle(&mut EndpointSlices, "ns/web");
    assert_eq!(done.len(), 3);
    world.change_pod("p7", |pod| pod["status"]["phase"] = json!("Succeeded"));
    let done = world.settle(&mut EndpointSlices, "ns/web");
    assert_eq!(done.len(), 1, "{done:?}");
    world.put::<Pod>(&pod("late", "10.0.9.9"));
    assert_eq!(world.settle(&mut EndpointSlices, "ns/web").len(), 1);
    assert_eq!(lines(&world).len(), 250);
}

proptest! {
    /// However pods come and go, slices show each once, none is too long, and a settled Service
    /// writes nothing.
    #[test]
    fn slices_show_every_endpoint_once(steps in prop::collection::vec((0..300u32, any::<bool>()), 1..400)) {
        let mut world = World::new();
        world.put::<Service>(&service(&json!({})));
        let mut expect = std::collections::BTreeSet::new();
        for (at, (number, comes)) in steps.iter().enumerate() {
            let ip = format!("10.0.{}.{}", number / 200, number % 200);
            let name = format!("p{number}");
            world.put::<Pod>(&pod(&name, &ip));
            if *comes {
                expect.insert(format!("{ip} rs-"));
            } else {
                expect.remove(&format!("{ip} rs-"));
                world.change_pod(&name, |pod| pod["status"]["phase"] = json!("Failed"));
            }
            if at % 37 == 0 {
                world.settle(&mut EndpointSlices, "ns/web");
            }
        }
        world.settle(&mut EndpointSlices, "ns/web");
        prop_assert_eq!(lines(&world), expect.into_iter().collect::<Vec<_>>());
        for slice in slices(&world) {
            prop_assert!(slice["endpoints"].as_array().unwrap().len() <= pack::MOST);
        }
        prop_assert!(world.decide(&mut EndpointSlices, "ns/web").writes.is_empty());
    }
}
