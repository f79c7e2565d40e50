//! Whether a schema is structural: every field has one type, and `allOf`, `anyOf`, `oneOf` and
//! `not` only limit values whose types stand outside of them.
//!
//! Source: apiextensions-apiserver `pkg/apiserver/schema/{validation,complete}.go`.
use serde_json::Value;

use crate::crd::{entries, pattern};
use crate::refusal::Cause;

/// Where in a schema a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What keeps `schema` from being structural, in the order of the sentences.
pub(super) fn causes(schema: &Value, path: &str) -> Vec<Cause> {
    let mut found = Vec::new();
    invariants(schema, Level::Root, path, &mut found);
    complete(schema, schema, path, path, &mut found);
    found.sort_by_key(Cause::line);
    found
}

fn flag(schema: &Value, name: &str) -> bool {
    schema[name] == true
}

fn list<'s>(schema: &'s Value, name: &str) -> impl Iterator<Item = (usize, &'s Value)> {
    schema[name].as_array().into_iter().flatten().enumerate()
}

fn invariants(schema: &Value, level: Level, path: &str, found: &mut Vec<Cause>) {
    let kind = schema["type"].as_str().unwrap_or("");
    if schema["items"].is_object() {
        invariants(&schema["items"], Level::Item, &format!("{path}.items"), found);
    } else if kind == "array" {
        found.push(Cause::required(format!("{path}.items"), "must be specified"));
    }
    for (name, property) in entries(&schema["properties"]) {
        invariants(property, Level::Field, &format!("{path}.properties[{name}]"), found);
    }
    let additional = &schema["additionalProperties"];
    if !additional.is_null() && level == Level::Root {
        let detail = "must not be used at the root";
        found.push(Cause::forbidden(format!("{path}.additionalProperties"), detail));
    }
    if additional.is_object() {
        invariants(additional, Level::Field, &format!("{path}.additionalProperties"), found);
    }
    extensions(schema, level, kind, path, found);
    limits(schema, level, path, true, found);
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        let detail = "must be object at the root";
        found.push(Cause::invalid(format!("{path}.type"), &schema["type"], detail));
    }
    metadata(schema, level, path, found);
}

fn extensions(schema: &Value, level: Level, kind: &str, path: &str, found: &mut Vec<Cause>) {
    let preserves = flag(schema, "x-kubernetes-preserve-unknown-fields");
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let either = flag(schema, "x-kubernetes-int-or-string");
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if either && flag(schema, name) {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            found.push(Cause::invalid(format!("{path}.{name}"), &schema[name], detail));
        }
    }
    let of_type = format!("{path}.type");
    if embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        found.push(match kind {
            "" => Cause::required(of_type, detail),
            _ => Cause::invalid(of_type, &schema["type"], detail),
        });
    } else if kind.is_empty() && !either && !preserves {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        found.push(Cause::required(of_type, detail));
    }
    if embedded && !schema["additionalProperties"].is_null() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        found.push(Cause::forbidden(format!("{path}.additionalProperties"), detail));
    }
    if embedded && !preserves && entries(&schema["properties"]).next().is_none() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        found.push(Cause::required(format!("{path}.properties"), detail));
    }
}

/// `apiVersion`, `kind` and `metadata` of whole objects are what they are everywhere.
fn metadata(schema: &Value, level: Level, path: &str, found: &mut Vec<Cause>) {
    if level != Level::Root && !flag(schema, "x-kubernetes-embedded-resource") {
        return;
    }
    for (name, expected) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
        let property = &schema["properties"][name];
        if property.is_object() && property["type"] != expected {
            let path = format!("{path}.properties[{name}].type");
            let given = Value::from(property["type"].as_str().unwrap_or(""));
            found.push(Cause::invalid(path, &given, &format!("must be {expected}")));
        }
    }
    let allowed = |(name, _): &(&String, &Value)| {
        matches!(name.as_str(), "type" | "default" | "properties" | "description")
    };
    let metadata = &schema["properties"]["metadata"];
    let names_only = entries(&metadata["properties"])
        .all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
    let plain = entries(metadata).all(|entry| allowed(&entry) && entry.0 != "description");
    if level == Level::Root && metadata.is_object() && !(names_only && plain) {
        let detail = "must not specify anything other than name and generateName, but metadata \
                      is implicitly specified";
        found.push(Cause::forbidden(format!("{path}.properties[metadata]"), detail));
    }
}

/// Checks what limits values; `anyOf` of an integer and a string is how int-or-string is written.
fn limits(schema: &Value, level: Level, path: &str, outer: bool, found: &mut Vec<Cause>) {
    let either = |schema: &Value| {
        let types: Vec<&Value> = list(schema, "anyOf").map(|(_, one)| one).collect();
        matches!(types[..], [a, b] if *a == serde_json::json!({"type": "integer"})
            && *b == serde_json::json!({"type": "string"}))
    };
    if !(outer && either(schema)) {
        for (n, inner) in list(schema, "anyOf") {
            nested(inner, level, &format!("{path}.anyOf[{n}]"), false, found);
        }
    }
    for (n, inner) in list(schema, "allOf") {
        let excused = outer && n == 0 && either(inner);
        nested(inner, level, &format!("{path}.allOf[{n}]"), excused, found);
    }
    for (n, inner) in list(schema, "oneOf") {
        nested(inner, level, &format!("{path}.oneOf[{n}]"), false, found);
    }
    if schema["not"].is_object() {
        nested(&schema["not"], level, &format!("{path}.not"), false, found);
    }
    if let Some(expression) = schema["pattern"].as_str()
        && let Err(problem) = pattern::compile(expression)
    {
        let detail = format!("must be a valid regular expression, but isn't: {problem}");
        found.push(Cause::invalid(format!("{path}.pattern"), &schema["pattern"], &detail));
    }
}

/// Checks a schema inside `allOf` and its like, where only limits may stand.
fn nested(schema: &Value, level: Level, path: &str, excused: bool, found: &mut Vec<Cause>) {
    limits(schema, level, path, excused, found);
    if schema["items"].is_object() {
        nested(&schema["items"], level, &format!("{path}.items"), false, found);
    }
    for (name, property) in entries(&schema["properties"]) {
        nested(property, Level::Field, &format!("{path}.properties[{name}]"), false, found);
    }
    for (name, detail) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ] {
        let given = &schema[name];
        let unset =
            given.is_null() || *given == false || *given == "" || *given == Value::Array(vec![]);
        if !unset {
            found.push(Cause::forbidden(format!("{path}.{name}"), detail));
        }
    }
    if !schema["properties"]["metadata"].is_null() {
        let detail = "must not be specified in a nested context";
        found.push(Cause::forbidden(format!("{path}.properties[metadata]"), detail));
    }
}

/// Checks that what the alternatives of `limits` name stands in the schema proper.
fn complete(limits: &Value, schema: &Value, at: &str, path: &str, found: &mut Vec<Cause>) {
    if limits["not"].is_object() {
        counterparts(&limits["not"], schema, at, &format!("{path}.not"), found);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for (n, inner) in list(limits, name) {
            counterparts(inner, schema, at, &format!("{path}.{name}[{n}]"), found);
        }
    }
}

fn counterparts(limits: &Value, schema: &Value, at: &str, path: &str, found: &mut Vec<Cause>) {
    complete(limits, schema, at, path, found);
    let mut pair = |limits: &Value, schema: &Value, at: String, path: String| {
        if schema.is_object() {
            counterparts(limits, schema, &at, &path, found);
        } else {
            found.push(Cause::required(at, &format!("because it is defined in {path}")));
        }
    };
    if limits["items"].is_object() {
        let (at, path) = (format!("{at}.items"), format!("{path}.items"));
        pair(&limits["items"], &schema["items"], at, path);
    }
    for (name, property) in entries(&limits["properties"]) {
        let (at, path) = (format!("{at}.properties[{name}]"), format!("{path}.properties[{name}]"));
        pair(property, &schema["properties"][name.as_str()], at, path);
    }
}
