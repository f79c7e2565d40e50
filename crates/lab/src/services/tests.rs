//! What Services are given, as a table, and a law: nothing is given twice and nothing is lost.

use std::collections::BTreeMap;

use apiserver::{Admission, Denial, Write};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Allocator, Ranges};

fn dual() -> Allocator {
    let cidrs = ["10.96.0.0/24", "fd00:10:96::/112"].map(|cidr| cidr.parse().unwrap());
    Allocator::new(&Ranges { cidrs: cidrs.into() })
}

fn write(
    allocator: &mut Allocator,
    old: Option<&Value>,
    new: Option<&mut Value>,
) -> Result<(), Denial> {
    allocator.admit(&mut Write { group: "", plural: "services", old, new })
}

/// The spec that a Service of `spec` ends with.
fn given(allocator: &mut Allocator, spec: &Value) -> Result<Value, String> {
    let mut service = json!({"metadata": {"name": "web"}, "spec": spec});
    match write(allocator, None, Some(&mut service)) {
        Ok(()) => {
            allocator.commit();
            Ok(service["spec"].clone())
        }
        Err(Denial::Invalid { field, value, detail }) => {
            allocator.rollback();
            Err(format!("{field}: {value}: {detail}"))
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_service_gets_the_families_it_asks_for() {
    let selector = json!({"app": "web"});
    let cases = [
        ("nothing said", json!({}), "SingleStack IPv4 | 10.96.0.17"),
        ("IPv6 said", json!({"ipFamilies": ["IPv6"]}), "SingleStack IPv6 | fd00:10:96::101"),
        (
            "both preferred",
            json!({"ipFamilyPolicy": "PreferDualStack"}),
            "PreferDualStack IPv4,IPv6 | 10.96.0.17,fd00:10:96::101",
        ),
        (
            "IPv6 first",
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}),
            "RequireDualStack IPv6,IPv4 | fd00:10:96::101,10.96.0.17",
        ),
        (
            "an address says its family",
            json!({"clusterIP": "fd00:10:96::7", "clusterIPs": ["fd00:10:96::7"]}),
            "SingleStack IPv6 | fd00:10:96::7",
        ),
        ("headless", json!({"clusterIP": "None"}), "SingleStack IPv4 | None"),
        (
            "headless without selector",
            json!({"clusterIP": "None", "selector": null}),
            "RequireDualStack IPv4,IPv6 | None",
        ),
        (
            "an address of another family",
            json!({"clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv6"]}),
            "spec.clusterIPs[0]: \"10.96.0.7\": expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
        (
            "two families and one stack",
            json!({"ipFamilies": ["IPv4", "IPv6"]}),
            "spec.ipFamilyPolicy: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' \
             when multiple IP families are specified",
        ),
    ];
    for (claim, more, expect) in cases {
        let mut spec = json!({"type": "ClusterIP", "selector": selector});
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        let list = |value: &Value| -> String {
            let texts = value.as_array().unwrap().iter().map(|text| text.as_str().unwrap());
            texts.collect::<Vec<_>>().join(",")
        };
        let got = given(&mut dual(), &spec).map(|spec| {
            let policy = spec["ipFamilyPolicy"].as_str().unwrap().to_owned();
            format!("{policy} {} | {}", list(&spec["ipFamilies"]), list(&spec["clusterIPs"]))
        });
        assert_eq!(got.unwrap_or_else(|why| why), expect, "{claim}");
    }
}

#[test]
fn a_cluster_of_one_family_gives_no_other() {
    let cidrs = vec!["10.96.0.0/24".parse().unwrap()];
    let mut single = Allocator::new(&Ranges { cidrs });
    let cases = [
        (
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            "spec.ipFamilyPolicy: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        ),
        (
            json!({"ipFamilies": ["IPv6"]}),
            "spec.ipFamilies[0]: \"IPv6\": not configured on this cluster",
        ),
    ];
    for (spec, why) in cases {
        assert_eq!(given(&mut single, &spec).unwrap_err(), why);
    }
    let preferred = given(&mut single, &json!({"ipFamilyPolicy": "PreferDualStack"})).unwrap();
    assert_eq!(preferred["ipFamilies"], json!(["IPv4"]));
}

#[test]
fn ports_of_nodes_are_given_to_the_types_that_have_them() {
    let mut all = dual();
    let port =
        |port: u16, protocol: &str| json!({"name": protocol, "port": port, "protocol": protocol});
    let ports = json!([port(53, "UDP"), port(53, "TCP"), port(80, "TCP")]);
    let spec = given(&mut all, &json!({"type": "NodePort", "ports": ports})).unwrap();
    let numbers: Vec<u64> =
        spec["ports"].as_array().unwrap().iter().map(|p| p["nodePort"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [30086, 30086, 30087], "one number for both protocols of a port");
    let spec = given(&mut all, &json!({"type": "ClusterIP", "ports": [port(80, "TCP")]})).unwrap();
    assert_eq!(spec["ports"][0]["nodePort"], Value::Null);
    let none = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
        "externalTrafficPolicy": "Local", "ports": [port(80, "TCP")]});
    let spec = given(&mut all, &none).unwrap();
    assert_eq!(
        (&spec["ports"][0]["nodePort"], &spec["healthCheckNodePort"]),
        (&Value::Null, &json!(30088))
    );
    let mut wanted = port(81, "TCP");
    wanted["nodePort"] = json!(30086);
    let why = given(&mut all, &json!({"type": "NodePort", "ports": [wanted]})).unwrap_err();
    assert_eq!(why, "spec.ports[0].nodePort: 30086: provided port is already allocated");
}

#[test]
fn a_range_that_comes_gives_addresses_and_one_that_leaves_gives_none() {
    let mut all = dual();
    let mut range = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/24"]}});
    let group = "networking.k8s.io";
    let mut write = Write { group, plural: "servicecidrs", old: None, new: Some(&mut range) };
    all.admit(&mut write).unwrap();
    all.commit();
    let wanted = |address: &str| json!({"clusterIPs": [address]});
    assert!(given(&mut all, &wanted("10.97.0.5")).is_ok());
    let old = range.clone();
    range["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut write = Write { group, plural: "servicecidrs", old: Some(&old), new: Some(&mut range) };
    all.admit(&mut write).unwrap();
    all.commit();
    assert!(given(&mut all, &wanted("10.97.0.6")).unwrap_err().contains("not in the valid range"));
}

/// What happens to one of a few Services.
#[derive(Debug, Clone)]
enum Step {
    Put { name: usize, kind: usize, dual: bool, done: bool },
    Remove { name: usize, done: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let put = (0..5usize, 0..5usize, any::<bool>(), any::<bool>())
        .prop_map(|(name, kind, dual, done)| Step::Put { name, kind, dual, done });
    let remove = (0..5usize, any::<bool>()).prop_map(|(name, done)| Step::Remove { name, done });
    prop::collection::vec(prop_oneof![3 => put, 1 => remove], 1..40)
}

proptest! {
    /// However Services come, change, go or fail to, no address and no port is held by two of them,
    /// and when all are gone all is free again.
    #[test]
    fn nothing_is_given_twice_and_nothing_is_lost(steps in steps()) {
        let mut all = dual();
        let mut stored: BTreeMap<usize, Value> = BTreeMap::new();
        let kinds = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "headless"];
        for step in steps {
            match step {
                Step::Put { name, kind, dual, done } => {
                    let old = stored.get(&name).cloned();
                    let mut spec = json!({"type": kinds[kind], "selector": {"a": "b"},
                        "ipFamilyPolicy": if dual { "PreferDualStack" } else { "SingleStack" },
                        "ports": [{"port": 80}, {"port": 81}]});
                    if kinds[kind] == "headless" {
                        spec["type"] = json!("ClusterIP");
                        spec["clusterIP"] = json!("None");
                    }
                    let mut new = json!({"metadata": {"name": name.to_string()}, "spec": spec});
                    let admitted = write(&mut all, old.as_ref(), Some(&mut new)).is_ok();
                    if admitted && done {
                        all.commit();
                        stored.insert(name, new);
                    } else {
                        all.rollback();
                    }
                }
                Step::Remove { name, done } => {
                    let Some(old) = stored.get(&name).cloned() else { continue };
                    write(&mut all, Some(&old), None).unwrap();
                    if done {
                        all.commit();
                        stored.remove(&name);
                    } else {
                        all.rollback();
                    }
                }
            }
            let mut held = Vec::new();
            for service in stored.values() {
                held.extend(super::families::addresses(&service["spec"]).iter().map(ToString::to_string));
                let mut ports: Vec<_> = service["spec"]["ports"].as_array().unwrap().iter()
                    .filter_map(|port| port["nodePort"].as_u64()).map(|port| port.to_string()).collect();
                ports.dedup();
                held.extend(ports);
            }
            let before = held.len();
            held.sort();
            held.dedup();
            prop_assert_eq!(held.len(), before);
        }
        for old in stored.into_values() {
            write(&mut all, Some(&old), None).unwrap();
            all.commit();
        }
        prop_assert_eq!(format!("{:?}", all).matches("used: {}").count(), 2);
    }
}
