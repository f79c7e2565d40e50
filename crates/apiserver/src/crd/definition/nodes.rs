//! What each part of a schema may say.
//!
//! Source: apiextensions-apiserver `ValidateCustomResourceDefinitionOpenAPISchema`,
//! `specStandardValidatorV3` and `pkg/apiserver/schema/defaulting/validation.go`.
use serde_json::Value;

use crate::crd::structural::Kind;
use crate::crd::{Structural, entries, prune, validate, words};
use crate::refusal::Cause;

/// What stands in schemas elsewhere, and not in those of custom kinds.
const UNSUPPORTED: [&str; 6] =
    ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];

/// Where a part stands.
#[derive(Debug, Clone, Copy)]
struct Place<'p> {
    /// Why no default may stand here.
    no_default: Option<&'p str>,
    /// Inside `apiVersion`, `kind` or `metadata`.
    in_meta: bool,
    root: bool,
}

/// What is wrong with the parts of `schema`; defaults are only tried in one that is sound.
pub(super) fn causes(schema: &Value, path: &str, sound: bool) -> Vec<Cause> {
    let mut found = Vec::new();
    let place = Place { no_default: None, in_meta: false, root: true };
    visit(schema, path, place, sound, &mut found);
    found
}

fn visit(schema: &Value, path: &str, place: Place<'_>, sound: bool, found: &mut Vec<Cause>) {
    standard(schema, path, place, found);
    if sound && place.no_default.is_none() {
        default(schema, path, found);
    }
    map_type(schema, path, found);
    list_type(schema, path, found);
    list_keys(schema, path, found);
    let below = Place { root: false, ..place };
    let additional = &schema["additionalProperties"];
    if additional.is_object() {
        let reason = Some("inside additionalProperties applying to object metadata");
        let no_default = if place.in_meta { reason } else { place.no_default };
        let path = format!("{path}.additionalProperties");
        visit(additional, &path, Place { no_default, ..below }, sound, found);
    }
    let whole = place.root || schema["x-kubernetes-embedded-resource"] == true;
    for (name, property) in entries(&schema["properties"]) {
        let is_meta = whole && matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
        let reason = format!("in top-level {name}");
        let no_default = if is_meta && place.root { Some(&*reason) } else { place.no_default };
        let inner = Place { no_default, in_meta: place.in_meta || is_meta, root: false };
        visit(property, &format!("{path}.properties[{name}]"), inner, sound, found);
    }
    if schema["items"].is_object() {
        visit(&schema["items"], &format!("{path}.items"), below, sound, found);
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        for (n, inner) in schema[name].as_array().into_iter().flatten().enumerate() {
            visit(inner, &format!("{path}.{name}[{n}]"), below, false, found);
        }
    }
    if schema["not"].is_object() {
        visit(&schema["not"], &format!("{path}.not"), below, false, found);
    }
}

fn standard(schema: &Value, path: &str, place: Place<'_>, found: &mut Vec<Cause>) {
    let kind = &schema["type"];
    if kind == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        found.push(Cause::forbidden(format!("{path}.type"), detail));
    } else if let Some(name) = kind.as_str().filter(|name| !name.is_empty())
        && Kind::named(name).is_none()
    {
        let known = ["array", "boolean", "integer", "number", "object", "string"];
        found.push(Cause::not_supported(format!("{path}.type"), kind, &known));
    }
    if let Some(reason) = place.no_default
        && !schema["default"].is_null()
    {
        found.push(Cause::forbidden(
            format!("{path}.default"),
            &format!("must not be set {reason}"),
        ));
    }
    for name in UNSUPPORTED.into_iter().filter(|name| !schema[*name].is_null()) {
        found.push(Cause::forbidden(format!("{path}.{name}"), &format!("{name} is not supported")));
    }
    if schema["items"].is_array() {
        let detail = "items must be a schema object and not an array";
        found.push(Cause::forbidden(format!("{path}.items"), detail));
    }
    if place.in_meta && schema["x-kubernetes-embedded-resource"] == true {
        let detail = "must not be used inside of resource meta";
        found.push(Cause::forbidden(format!("{path}.x-kubernetes-embedded-resource"), detail));
    }
    if schema["uniqueItems"] == true {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes \
                      quadratic";
        found.push(Cause::forbidden(format!("{path}.uniqueItems"), detail));
    }
    let additional = &schema["additionalProperties"];
    if entries(&schema["properties"]).next().is_some()
        && (additional.is_object() || *additional == false)
    {
        let detail = "additionalProperties and properties are mutual exclusive";
        found.push(Cause::forbidden(format!("{path}.additionalProperties"), detail));
    }
    let name = "x-kubernetes-preserve-unknown-fields";
    if schema[name] == false {
        let detail = "must be true or undefined";
        found.push(Cause::invalid(format!("{path}.{name}"), &schema[name], detail));
    }
}

/// A default must itself be what the schema allows.
fn default(schema: &Value, path: &str, found: &mut Vec<Cause>) {
    let Some(default) = schema.get("default").filter(|default| !default.is_null()) else { return };
    let path = format!("{path}.default");
    let of = Structural::read(schema);
    // The pruned form is that of a field: it is seen inside an object that has only this one.
    let mut outer = serde_json::json!({"default": default});
    let mut holder = Structural::default();
    holder.properties.insert("default".to_owned(), of.clone());
    if !prune(&holder, &mut outer).is_empty() {
        found.push(Cause::invalid(&path, default, "must not have unknown fields"));
    }
    found.extend(validate::causes(&of, default, None).into_iter().map(|c| c.within(&path)));
}

fn map_type(schema: &Value, path: &str, found: &mut Vec<Cause>) {
    let given = &schema["x-kubernetes-map-type"];
    if given.is_null() {
        return;
    }
    if schema["type"] != "object" {
        let detail = "must be object if x-kubernetes-map-type is specified";
        found.push(of_type(schema, path, detail));
    }
    if *given != "atomic" && *given != "granular" {
        let path = format!("{path}.x-kubernetes-map-type");
        found.push(Cause::not_supported(path, given, &["atomic", "granular"]));
    }
}

fn of_type(schema: &Value, path: &str, detail: &str) -> Cause {
    let path = format!("{path}.type");
    unset_or_wrong(path, &schema["type"], detail)
}

/// A value that must be another, or must be there.
fn unset_or_wrong(path: String, given: &Value, detail: &str) -> Cause {
    if given.is_null() {
        Cause::required(path, detail)
    } else {
        Cause::invalid(path, given, detail)
    }
}

fn list_type(schema: &Value, path: &str, found: &mut Vec<Cause>) {
    let given = &schema["x-kubernetes-list-type"];
    let Some(kind) = given.as_str() else { return };
    let items = &schema["items"];
    if schema["type"] != "array" {
        let detail = "must be array if x-kubernetes-list-type is specified";
        found.push(of_type(schema, path, detail));
    } else if kind == "set" {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let (of_lists, of_maps) =
            (&items["x-kubernetes-list-type"], &items["x-kubernetes-map-type"]);
        if items["type"] == "array" && !of_lists.is_null() && *of_lists != "atomic" {
            let path = format!("{path}.items.x-kubernetes-list-type");
            found.push(Cause::invalid(path, of_lists, detail));
        } else if items["type"] == "object" && *of_maps != "atomic" {
            let path = format!("{path}.items.x-kubernetes-map-type");
            found.push(Cause::invalid(path, of_maps, detail));
        }
    }
    if !["atomic", "set", "map"].contains(&kind) {
        let path = format!("{path}.x-kubernetes-list-type");
        found.push(Cause::not_supported(path, given, &["atomic", "set", "map"]));
    }
    if kind == "set" || kind == "map" {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        if items["nullable"] == true {
            found.push(Cause::forbidden(format!("{path}.items.nullable"), &detail));
        }
    }
}

/// The keys that tell the items of a map list apart.
fn list_keys(schema: &Value, path: &str, found: &mut Vec<Cause>) {
    let keys = words(&schema["x-kubernetes-list-map-keys"]);
    let list_type = &schema["x-kubernetes-list-type"];
    if !keys.is_empty() && *list_type != "map" {
        let path = format!("{path}.x-kubernetes-list-type");
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        found.push(unset_or_wrong(path, list_type, detail));
    }
    if *list_type != "map" {
        return;
    }
    let place = format!("{path}.x-kubernetes-list-map-keys");
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        found.push(Cause::required(&place, detail));
    }
    let items = &schema["items"];
    if items["type"] != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        found.push(Cause::invalid(format!("{path}.items.type"), &items["type"], detail));
        return;
    }
    let required = words(&items["required"]);
    for (n, key) in keys.iter().enumerate() {
        let property = &items["properties"][key.as_str()];
        let at = format!("{path}.items.properties[{key}]");
        let given = &schema["x-kubernetes-list-map-keys"];
        if keys[..n].contains(key) {
            found.push(Cause::invalid(&place, given, "must not contain duplicate entries"));
        }
        if property.is_null() {
            let detail = "entries must all be names of item properties";
            found.push(Cause::invalid(&place, given, detail));
            continue;
        }
        if property["type"] == "array" || property["type"] == "object" {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            found.push(Cause::invalid(format!("{at}.type"), &property["type"], detail));
        }
        if !required.contains(key) && property["default"].is_null() {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a \
                          default or be a required property";
            found.push(Cause::required(format!("{at}.default"), detail));
        }
        if property["nullable"] == true {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            found.push(Cause::forbidden(format!("{at}.nullable"), detail));
        }
    }
}
