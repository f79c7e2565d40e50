//! The schema texts can be read and do what the notation promises.
use serde_json::json;

mod complete;

use super::*;
use crate::resource::Registry;

#[test]
fn every_kind_has_a_schema() {
    for resource in Registry::builtin().iter() {
        assert!(of(resource).is_some(), "{}", resource.kind_and_group());
        assert!(stored(resource).is_some(), "{}", resource.kind_and_group());
    }
}

#[test]
fn unknown_fields_go_and_are_named() {
    let registry = Registry::builtin();
    let pods = of(registry.get("", "v1", "pods").unwrap());
    let mut pod = json!({
        "spec": {"containers": [{"name": "a", "imge": "x", "ports": null}], "nope": 1},
        "status": {"podIPs": [{"ip": "1.2.3.4", "x": 0}]},
    });
    let unknown = check::check(pods, &mut pod).unwrap();
    assert_eq!(unknown, ["spec.nope", "spec.containers[0].imge", "status.podIPs[0].x"]);
    assert_eq!(pod["spec"], json!({"containers": [{"name": "a"}]}));
}

#[test]
fn a_wrong_type_is_refused_with_its_path() {
    let registry = Registry::builtin();
    let pods = of(registry.get("", "v1", "pods").unwrap());
    let cases = [
        (json!({"spec": {"containers": {}}}), "spec.containers of type list of Container"),
        (json!({"spec": {"containers": ["a"]}}), "spec.containers[0] of type Container"),
        (json!({"metadata": {"labels": {"a": 1}}}), "metadata.labels.a of type string"),
        (json!({"spec": {"hostNetwork": "yes"}}), "spec.hostNetwork of type bool"),
        (json!({"metadata": {"creationTimestamp": "now"}}), "of type RFC 3339 time"),
    ];
    for (mut pod, expected) in cases {
        let error = check::check(pods, &mut pod).unwrap_err();
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn defaults_reach_into_lists() {
    let registry = Registry::builtin();
    let pods = of(registry.get("", "v1", "pods").unwrap());
    let mut pod =
        json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}});
    defaults::fill(pods, &mut pod);
    assert_eq!(pod["spec"]["restartPolicy"], "Always");
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
}
