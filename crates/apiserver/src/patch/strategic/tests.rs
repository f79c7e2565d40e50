//! Strategic merges, as a table: object, patch, outcome.
use super::*;
use crate::resource::Registry;
use crate::schema;

fn merged(target: &str, patch: &str) -> Result<Value, Refusal> {
    let registry = Registry::builtin();
    let pods = schema::of(registry.get("", "v1", "pods").unwrap());
    let mut target: Value = serde_json::from_str(target).unwrap();
    apply(&mut target, &serde_json::from_str(patch).unwrap(), pods)?;
    Ok(target)
}

#[test]
fn lists_merge_by_their_keys() {
    let cases = r#"
        {"spec":{"containers":[{"name":"a","image":"1"},{"name":"b"}]}} | {"spec":{"containers":[{"name":"a","image":"2"}]}} | {"spec":{"containers":[{"name":"a","image":"2"},{"name":"b"}]}}
        {"spec":{"containers":[{"name":"a"}]}} | {"spec":{"containers":[{"name":"c"}]}} | {"spec":{"containers":[{"name":"c"},{"name":"a"}]}}
        {"spec":{"containers":[{"name":"a"},{"name":"b"}]}} | {"spec":{"containers":[{"name":"a","$patch":"delete"}]}} | {"spec":{"containers":[{"name":"b"}]}}
        {"spec":{"containers":[{"name":"a"}]}} | {"spec":{"containers":[{"name":"z"},{"$patch":"replace"}]}} | {"spec":{"containers":[{"name":"z"}]}}
        {"spec":{"containers":[{"name":"a","env":[{"name":"x","value":"1"}]}]}} | {"spec":{"containers":[{"name":"a","env":[{"name":"y","value":"2"}]}]}} | {"spec":{"containers":[{"name":"a","env":[{"name":"y","value":"2"},{"name":"x","value":"1"}]}]}}
        {"spec":{"tolerations":[{"key":"a"}]}} | {"spec":{"tolerations":[{"key":"b"}]}} | {"spec":{"tolerations":[{"key":"b"}]}}
        {"metadata":{"finalizers":["a","b"]}} | {"metadata":{"finalizers":["b","c"]}} | {"metadata":{"finalizers":["a","b","c"]}}
        {"metadata":{"finalizers":["a","b"]}} | {"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}} | {"metadata":{"finalizers":["b"]}}
        {"metadata":{"labels":{"a":"1","b":"2"}}} | {"metadata":{"labels":{"a":null,"c":"3"}}} | {"metadata":{"labels":{"b":"2","c":"3"}}}
        {"metadata":{"labels":{"a":"1"}}} | {"metadata":{"labels":{"$patch":"replace","c":"3"}}} | {"metadata":{"labels":{"c":"3"}}}
        {"spec":{"volumes":[{"name":"v","emptyDir":{}}]}} | {"spec":{"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/"}}]}} | {"spec":{"volumes":[{"name":"v","hostPath":{"path":"/"}}]}}
        {"spec":{"containers":[{"name":"a"},{"name":"x"},{"name":"b"}]}} | {"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}]}} | {"spec":{"containers":[{"name":"x"},{"name":"b"},{"name":"a"}]}}
        {"status":{"conditions":[{"type":"Ready","status":"False"}]}} | {"status":{"conditions":[{"type":"Ready","status":"True"}]}} | {"status":{"conditions":[{"type":"Ready","status":"True"}]}}
        {"status":{"podIPs":[{"ip":"1.1.1.1"}]}} | {"status":{"podIPs":[{"ip":"1.1.1.1"},{"ip":"::1"}]}} | {"status":{"podIPs":[{"ip":"1.1.1.1"},{"ip":"::1"}]}}"#;
    for line in cases.lines().skip(1) {
        let parts: Vec<&str> = line.split(" | ").collect();
        let expected: Value = serde_json::from_str(parts[2]).unwrap();
        assert_eq!(merged(parts[0], parts[1]), Ok(expected), "{line}");
    }
}

#[test]
fn what_does_not_fit_is_refused_in_kubernetes_words() {
    let cases = [
        (r#"{"spec":{"containers":[{"image":"x"}]}}"#, 500, "declared merge key: name"),
        (r#"{"$patch":"nope"}"#, 500, "Unknown patch type found in: map[$patch:nope]"),
        (
            r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":1}}"#,
            400,
            "invalid patch format of primitive list",
        ),
        (
            r#"{"spec":{"$setElementOrder/containers":{}}}"#,
            400,
            "invalid patch format of setElementOrder list",
        ),
        (
            r#"{"spec":{"$retainKeys":["nodeName"],"hostname":"a"}}"#,
            400,
            "invalid patch format of retainKeys",
        ),
    ];
    for (patch, code, message) in cases {
        let status = merged(r#"{"spec":{}}"#, patch).unwrap_err().status();
        assert_eq!(status["code"], code, "{patch}: {status}");
        assert!(status["message"].as_str().unwrap().contains(message), "{patch}: {status}");
    }
}
