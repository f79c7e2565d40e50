//! The schemas of custom kinds as OpenAPI schemas.
//!
//! Source: apiextensions-apiserver `pkg/controller/openapi/{builder,v2}`.
use serde_json::{Map, Value, json};

use super::Dialect;

/// The type of metadata.
pub(super) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// What the fields are that every object has.
pub(super) const KIND: &str = "Kind is a string value representing the REST resource this object represents. \
    Servers may infer this from the endpoint the client submits requests to. Cannot be updated. \
    In CamelCase. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
pub(super) const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an \
    object. Servers should convert recognized schemas to the latest internal value, and may \
    reject unrecognized values. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";

/// A definition's `schema` as clients read it.
pub(super) fn schema(dialect: Dialect, schema: &Value) -> Value {
    // What keeps unknown fields at its root can't name any: kubectl would refuse the others.
    if dialect == Dialect::V2 && schema["x-kubernetes-preserve-unknown-fields"] == true {
        return json!({"type": "object"});
    }
    let mut out = translate(dialect, schema);
    whole(dialect, &mut out);
    out
}

/// Adds the fields of a whole object.
fn whole(dialect: Dialect, schema: &mut Value) {
    schema["properties"]["apiVersion"] = json!({"type": "string", "description": API_VERSION});
    schema["properties"]["kind"] = json!({"type": "string", "description": KIND});
    schema["properties"]["metadata"] = dialect.reference(OBJECT_META);
}

fn translate(dialect: Dialect, schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let mut out = Map::new();
    for (name, value) in fields {
        let value = match (name.as_str(), value) {
            ("properties", Value::Object(inner)) => {
                let all =
                    inner.iter().map(|(name, inner)| (name.clone(), translate(dialect, inner)));
                Value::Object(all.collect())
            }
            ("items" | "additionalProperties", inner) => translate(dialect, inner),
            (_, other) => other.clone(),
        };
        out.insert(name.clone(), value);
    }
    let mut out = Value::Object(out);
    if dialect == Dialect::V2 {
        simplify(&mut out);
    } else if out["x-kubernetes-int-or-string"] == true {
        out["format"] = json!("int-or-string");
    }
    let preserves = out["x-kubernetes-preserve-unknown-fields"] == true;
    if out["x-kubernetes-embedded-resource"] == true && !(preserves && dialect == Dialect::V2) {
        whole(dialect, &mut out);
    }
    out
}

/// Drops what version 2 does not have, and what older kubectl takes amiss.
fn simplify(schema: &mut Value) {
    let is = |name: &str| schema[name] == true;
    let (nullable, preserves) = (is("nullable"), is("x-kubernetes-preserve-unknown-fields"));
    let either = is("x-kubernetes-int-or-string");
    let nullables: Vec<String> = crate::crd::entries(&schema["properties"])
        .filter(|(_, inner)| inner["nullable"] == true)
        .map(|(name, _)| name.clone())
        .collect();
    let Some(fields) = schema.as_object_mut() else { return };
    for name in ["allOf", "anyOf", "oneOf", "not", "nullable"] {
        fields.remove(name);
    }
    if nullable || preserves {
        fields.remove("items");
        fields.remove("properties");
    }
    let of_list = fields.get("type").is_some_and(|of| of == "array");
    if nullable || preserves || (of_list && !fields.contains_key("items")) {
        fields.remove("type");
    }
    if either {
        fields.insert("type".to_owned(), json!("string"));
        fields.insert("format".to_owned(), json!("int-or-string"));
    }
    if let Some(required) = fields.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !nullables.iter().any(|nullable| name == nullable));
        if required.is_empty() {
            fields.remove("required");
        }
    }
}
