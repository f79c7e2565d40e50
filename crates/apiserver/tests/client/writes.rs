//! Writes as they look on the wire: media types, what is said of bodies, who becomes owner.
use kube_rs::Client;
use serde_json::{Value, json};

use crate::config;
use crate::http::send;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");
const YAML: (&str, &str) = ("content-type", "application/yaml");

async fn client() -> Client {
    Client::try_from(config().await).unwrap()
}

#[tokio::test]
async fn objects_may_be_written_in_yaml() {
    let client = client().await;
    let yaml =
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  on: 'yes'\n".to_vec();
    let (code, map) = send(&client, &format!("POST {MAPS}"), &[YAML], yaml.clone()).await;
    assert_eq!((code, &map["data"]), (201, &json!({"true": "yes"})), "{map}");
    let changed = String::from_utf8(yaml).unwrap().replace("on:", "off:").into_bytes();
    let (code, map) = send(&client, &format!("PUT {MAPS}/a"), &[YAML], changed).await;
    assert_eq!((code, &map["data"]), (200, &json!({"false": "yes"})));
    let (code, status) = send(&client, &format!("POST {MAPS}"), &[YAML], b"a: [".to_vec()).await;
    assert_eq!(code, 400);
    assert!(status["message"].as_str().unwrap().starts_with("error decoding YAML: yaml: line"));
}

#[tokio::test]
async fn fields_that_are_written_twice_are_refused_where_it_matters() {
    let client = client().await;
    let json = ("content-type", "application/json");
    let twice = br#"{"metadata":{"name":"b"},"data":{"x":"1","x":"2"},"foo":1}"#.to_vec();
    let strict = format!("POST {MAPS}?fieldValidation=Strict");
    let (code, status) = send(&client, &strict, &[json], twice.clone()).await;
    assert_eq!(code, 400);
    let message = status["message"].as_str().unwrap();
    assert!(
        message
            .ends_with("strict decoding error: unknown field \"foo\", duplicate field \"data.x\""),
        "{message}"
    );
    let yaml = b"metadata: {name: b}\ndata:\n  x: '1'\n  x: '2'\n".to_vec();
    let (code, status) = send(&client, &strict, &[YAML], yaml.clone()).await;
    assert_eq!(code, 400);
    let message = status["message"].as_str().unwrap();
    let expected = "yaml: unmarshal errors:\n  line 4: key \"x\" already set in map";
    assert!(message.ends_with(expected), "{message}");
    let (code, map) = send(&client, &format!("POST {MAPS}"), &[YAML], yaml).await;
    assert_eq!((code, &map["data"]["x"]), (201, &json!("2")));
    let merge = ("content-type", "application/merge-patch+json");
    let patch = format!("PATCH {MAPS}/b?fieldValidation=Strict");
    let (code, status) = send(&client, &patch, &[merge], br#"{"foo":1}"#.to_vec()).await;
    assert_eq!(code, 422);
    let message = status["message"].as_str().unwrap();
    assert!(message.starts_with(" \"\" is invalid: patch: Invalid value: \"{"), "{message}");
    assert!(message.ends_with("strict decoding error: unknown field \"foo\""), "{message}");
}

#[tokio::test]
async fn an_application_makes_what_is_not_there() {
    let client = client().await;
    let line = format!("PATCH {MAPS}/c?fieldManager=me");
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"},
                        "data": {"x": "1"}});
    let body = |value: &Value| value.to_string().into_bytes();
    let (code, made) = send(&client, &line, &[APPLY], body(&config)).await;
    assert_eq!((code, &made["data"]["x"]), (201, &json!("1")));
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!(entry["manager"], "me");
    assert_eq!(entry["operation"], "Apply");
    assert_eq!(entry["fieldsV1"], json!({"f:data": {"f:x": {}}}));
    let (code, same) = send(&client, &line, &[APPLY], body(&config)).await;
    assert_eq!((code, &same), (200, &made));
    let mut stale = config.clone();
    stale["metadata"]["resourceVersion"] = json!("1");
    stale["data"]["x"] = json!("2");
    let (code, status) = send(&client, &line, &[APPLY], body(&stale)).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    let (code, status) = send(&client, &format!("PATCH {MAPS}/c"), &[APPLY], body(&config)).await;
    assert_eq!(code, 422);
    assert_eq!(
        status["message"],
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    let mut other = config.clone();
    other["data"]["x"] = json!("2");
    let line = format!("PATCH {MAPS}/c?fieldManager=you");
    let (code, status) = send(&client, &line, &[APPLY], body(&other)).await;
    assert_eq!(code, 409);
    assert_eq!(
        status["details"]["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"me\"", "field": ".data.x"}])
    );
}

#[tokio::test]
async fn wrong_applications_are_refused_in_the_words_of_kubernetes() {
    let client = client().await;
    let cases = [
        ("kind: Pod\napiVersion: v1", 400, "invalid object type: /v1, Kind=Pod"),
        ("kind: ConfigMap", 400, "invalid object type: /, Kind=ConfigMap"),
        (
            "kind: ConfigMap\napiVersion: v1\nmetadata: {name: d, managedFields: []}",
            400,
            "metadata.managedFields must be nil",
        ),
        (
            "kind: ConfigMap\napiVersion: v1\nmetadata: {name: e}",
            400,
            "the name of the object (e) does not match the name on the URL (d)",
        ),
        (
            "kind: ConfigMap\napiVersion: v1",
            400,
            "the name of the object (d based on URL) was undeterminable: name must be provided",
        ),
        (
            "kind: ConfigMap\napiVersion: v1\nmetadata: {name: d}\ndata: {x: 1}\nfoo: 1",
            500,
            "failed to create typed patch object (default/d; v1, Kind=ConfigMap): errors:\n  .data.x: \
             expected string, got &value.valueUnstructured{Value:1}\n  .foo: field not declared in schema",
        ),
    ];
    for (yaml, code, message) in cases {
        let line = format!("PATCH {MAPS}/d?fieldManager=me");
        let (actual, status) = send(&client, &line, &[APPLY], yaml.into()).await;
        assert_eq!((actual, status["message"].as_str().unwrap()), (code, message), "{yaml}");
    }
    let merge = ("content-type", "application/merge-patch+json");
    let line = format!("PATCH {MAPS}/kube-root-ca.crt?force=true");
    let (code, status) = send(&client, &line, &[merge], b"{}".to_vec()).await;
    assert_eq!(code, 422);
    let message = status["message"].as_str().unwrap();
    assert!(message.ends_with("force: Forbidden: may not be specified for non-apply patch"));
}

#[tokio::test]
async fn owners_may_be_dropped_by_writing_none() {
    let client = client().await;
    let merge = ("content-type", "application/merge-patch+json");
    let json = ("content-type", "application/json");
    let agent = ("user-agent", "Robot/1.2 (x; y)");
    let new = br#"{"metadata":{"name":"f"},"data":{"x":"1"}}"#.to_vec();
    let (_, map) = send(&client, &format!("POST {MAPS}"), &[json, agent], new).await;
    assert_eq!(map["metadata"]["managedFields"][0]["manager"], "Robot");
    let none = br#"{"metadata":{"managedFields":[{}]}}"#.to_vec();
    let (_, map) = send(&client, &format!("PATCH {MAPS}/f"), &[merge], none).await;
    assert_eq!(map["metadata"]["managedFields"], Value::Null);
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: f}\ndata: {y: '2'}";
    let line = format!("PATCH {MAPS}/f?fieldManager=me");
    let (_, map) = send(&client, &line, &[APPLY], config.into()).await;
    let names: Vec<_> = map["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["manager"])
        .collect();
    assert_eq!(names, ["me", "before-first-apply"]);
}
