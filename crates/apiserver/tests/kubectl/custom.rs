//! Custom kinds as kubectl meets them.
use super::*;

/// A kind in two versions with a column, short names, a default and limits.
const WIDGETS: &str = r#"
{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
 "metadata": {"name": "widgets.example.com"},
 "spec": {
  "group": "example.com", "scope": "Namespaced",
  "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["toys"]},
  "versions": [
   {"name": "v1", "served": true, "storage": true,
    "subresources": {"status": {}},
    "additionalPrinterColumns": [
     {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
     {"name": "Ready", "type": "string",
      "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
     {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
     {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
    "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
     "spec": {"type": "object", "description": "What is wanted.", "required": ["size"],
      "properties": {
       "size": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How big."},
       "color": {"type": "string", "default": "red", "enum": ["red", "green"]},
       "parts": {"type": "array", "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "required": ["name"],
         "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}}}}}},
     "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}},
   {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
    "schema": {"openAPIV3Schema": {"type": "object",
     "x-kubernetes-preserve-unknown-fields": true}}}]}}"#;

/// A cluster with the kind, served.
fn with_widgets() -> Cluster {
    let cluster = Cluster::start();
    cluster.kubectl_with("apply -f -", WIDGETS);
    cluster.kubectl("wait --for=condition=Established --timeout=20s crd/widgets.example.com");
    cluster
}

fn widget(name: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {{"name": "{name}"}},
            "spec": {spec}}}"#
    )
}

#[test]
fn a_custom_kind_is_used_like_any_other() {
    let cluster = with_widgets();
    cluster.kubectl_with("apply -f -", &widget("a", r#"{"size": 3}"#));
    assert_eq!(cluster.kubectl("get widget a -o jsonpath={.spec.color}"), "red");
    let status = r#"{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}"#;
    cluster.kubectl(&format!("patch wd a --type=merge --subresource=status -p '{status}'"));
    let table = rows(&cluster.kubectl("get wd"));
    assert_eq!(table[0], "NAME SIZE READY AGE");
    assert!(table[1].starts_with("a 3 True "), "{table:?}");
    let wide = rows(&cluster.kubectl("get toys -o wide"));
    assert_eq!(wide[0], "NAME SIZE READY COLOR AGE");
    assert_eq!(cluster.kubectl("get wd a -o jsonpath={.metadata.generation}"), "1");
    cluster.kubectl_with("apply -f -", &widget("a", r#"{"size": 4, "color": "green"}"#));
    assert_eq!(cluster.kubectl("get wd a -o jsonpath={.metadata.generation}"), "2");
    let explained = cluster.kubectl("explain widget.spec.size");
    assert!(explained.contains("How big.") && explained.contains("<integer>"), "{explained}");
    let resources = cluster.kubectl("api-resources --api-group=example.com --no-headers");
    assert_eq!(rows(&resources), ["widgets wd example.com/v1 true Widget"]);
}

#[test]
fn what_a_schema_does_not_allow_is_refused_in_its_words() {
    let cluster = with_widgets();
    let cases = [
        ("{}", "spec.size: Required value"),
        (
            r#"{"size": "big"}"#,
            "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
        ),
        (
            r#"{"size": 10}"#,
            "spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9",
        ),
        (
            r#"{"size": 1, "color": "blue"}"#,
            "spec.color: Unsupported value: \"blue\": supported values: \"red\", \"green\"",
        ),
        (
            r#"{"size": 1, "parts": [{"name": "A"}]}"#,
            "spec.parts[0].name: Invalid value: \"A\": spec.parts[0].name in body should match '^[a-z]+$'",
        ),
        (
            r#"{"size": 1, "parts": [{"name": "a"}, {"name": "a"}]}"#,
            "spec.parts[1]: Duplicate value: {\"name\":\"a\"}",
        ),
        (r#"{"size": 1, "weight": 1}"#, "unknown field \"spec.weight\""),
    ];
    for (spec, expected) in cases {
        let error = cluster.refused("create -f -", &widget("a", spec));
        assert!(error.contains(expected), "{spec}: {error}");
    }
}

#[test]
fn all_versions_of_a_kind_show_the_same_objects() {
    let cluster = with_widgets();
    cluster.kubectl_with("apply -f -", &widget("a", r#"{"size": 3}"#));
    let output = cluster.run("get widgets.v1beta1.example.com a -o jsonpath={.apiVersion}", "");
    assert_eq!(text(&output.stdout), "example.com/v1beta1");
    assert!(text(&output.stderr).contains("Warning: example.com/v1beta1 Widget is deprecated"));
    assert_eq!(cluster.kubectl("get widgets a -o jsonpath={.apiVersion}"), "example.com/v1");
}

#[test]
fn a_kind_goes_with_its_definition_and_its_objects_before_it() {
    let cluster = with_widgets();
    cluster.kubectl_with("apply -f -", &widget("a", r#"{"size": 3}"#));
    cluster.kubectl("delete crd widgets.example.com --timeout=20s");
    let error = cluster.refused("get --raw /apis/example.com/v1", "");
    assert!(error.contains("the server could not find the requested resource"), "{error}");
    cluster.kubectl_with("apply -f -", WIDGETS);
    cluster.kubectl("wait --for=condition=Established --timeout=20s crd/widgets.example.com");
    assert_eq!(cluster.kubectl("get widgets -o name"), "");
}

#[test]
fn a_changed_definition_holds_at_once() {
    let cluster = with_widgets();
    let patch = r#"[{"op": "replace", "value": 20,
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/maximum"}]"#;
    cluster.refused("create -f -", &widget("a", r#"{"size": 12}"#));
    cluster.kubectl(&format!("patch crd widgets.example.com --type=json -p '{patch}'"));
    for _ in 0..100 {
        if cluster.run("create -f -", &widget("a", r#"{"size": 12}"#)).status.success() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the old limit is still there");
}

#[test]
fn names_belong_to_who_was_first() {
    let cluster = with_widgets();
    let other = WIDGETS.replace("widgets", "wodgets");
    cluster.kubectl_with("create -f -", &other);
    cluster
        .kubectl("wait --for=condition=NamesAccepted=false --timeout=20s crd/wodgets.example.com");
    let reason = "get crd wodgets.example.com -o \
                  jsonpath={.status.conditions[?(@.type==\"NamesAccepted\")].message}";
    assert!(cluster.kubectl(reason).contains("is already in use"));
    cluster.kubectl("delete crd widgets.example.com --timeout=20s");
    cluster.kubectl("wait --for=condition=Established --timeout=20s crd/wodgets.example.com");
}

#[test]
fn a_definition_that_breaks_the_rules_is_refused_in_their_words() {
    let cluster = Cluster::start();
    let cases = [
        (
            r#""plural": "widgets""#,
            r#""plural": "Widgets""#,
            "metadata.name: Invalid value: \"widgets.example.com\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            r#""scope": "Namespaced""#,
            r#""scope": "Galaxy""#,
            "spec.scope: Unsupported value: \"Galaxy\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            r#""storage": false"#,
            r#""storage": true"#,
            "must have exactly one version marked as storage version",
        ),
        (
            r#""type": "integer", "minimum": 1"#,
            r#""minimum": 1"#,
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[size].type: Required value: must not be empty for specified object fields",
        ),
        (
            r#""default": "red""#,
            r#""default": 1"#,
            "properties[color].default: Invalid value: \"integer\"",
        ),
        (
            r#""^[a-z]+$""#,
            r#""[""#,
            "pattern: Invalid value: \"[\": must be a valid regular expression, but isn't",
        ),
        (
            r#""scope": "Namespaced","#,
            r#""scope": "Namespaced", "conversion": {"strategy": "Webhook"},"#,
            "spec.conversion.strategy: Unsupported value: \"Webhook\": supported values: \"None\"",
        ),
        ("example.com", "example.k8s.io", "api-approved.kubernetes.io"),
    ];
    for (from, to, expected) in cases {
        let error = cluster.refused("create -f -", &WIDGETS.replace(from, to));
        assert!(error.contains(expected), "{to}: {error}");
    }
}
