//! Types as OpenAPI schemas.
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Dialect, custom, descriptions};
use crate::resource::Resource;
use crate::schema::{self, Field, Merge, Struct, Type};

/// The schemas of `resources`, their lists, and all they consist of.
pub(super) fn definitions<'r>(
    dialect: Dialect,
    resources: impl Iterator<Item = &'r Resource>,
) -> Map<String, Value> {
    let mut definitions = Map::new();
    let mut wanted = BTreeSet::new();
    for resource in resources {
        let name = schema::definition_name(resource);
        let mut definition = match (&resource.custom, schema::of(resource)) {
            (Some(custom), _) => {
                wanted.insert(custom::OBJECT_META.to_owned());
                custom::schema(dialect, &custom.published)
            }
            (None, Some(of)) => structure(dialect, &name, of, &mut wanted),
            (None, None) => continue,
        };
        definition["x-kubernetes-group-version-kind"] = json!([identity(resource, &resource.kind)]);
        let list = list(dialect, resource, &name);
        definitions.insert(list_name(resource, &name), list);
        definitions.insert(name, definition);
    }
    while let Some(name) = wanted.pop_first() {
        if !definitions.contains_key(&name)
            && let Some(of) = schema::catalog().structs.get(&name)
        {
            let definition = structure(dialect, &name, of, &mut wanted);
            definitions.insert(name, definition);
        }
    }
    definitions
}

/// The name of the type of a kind's lists.
pub(super) fn list_name(resource: &Resource, item: &str) -> String {
    let package = item.strip_suffix(&resource.kind).unwrap_or_default();
    format!("{package}{}", resource.list_kind())
}

/// Group, version and kind as the vendor extension names them.
pub(super) fn identity(resource: &Resource, kind: &str) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": kind})
}

fn list(dialect: Dialect, resource: &Resource, item: &str) -> Value {
    json!({
        "type": "object", "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "items": {"type": "array", "items": dialect.reference(item)},
        },
        "x-kubernetes-group-version-kind": [identity(resource, &resource.list_kind())],
    })
}

fn structure(dialect: Dialect, name: &str, of: &Struct, wanted: &mut BTreeSet<String>) -> Value {
    let owner = name;
    let mut properties = Map::new();
    for (name, field) in &of.fields {
        let mut property = property(dialect, field, wanted);
        if let Some(text) = descriptions::of(owner, name) {
            describe(dialect, &mut property, text);
        }
        properties.insert(name.clone(), property);
    }
    let required = of.fields.iter().filter(|(_, field)| field.required || field.listed);
    let required: Vec<&String> = required.map(|(name, _)| name).collect();
    let mut definition = json!({"type": "object", "properties": properties});
    if let Some(text) = descriptions::of(owner, "") {
        definition["description"] = json!(text);
    }
    if !required.is_empty() {
        definition["required"] = json!(required);
    }
    if of.atomic {
        definition["x-kubernetes-map-type"] = json!("atomic");
    }
    definition
}

/// Says what a field is for. In version 3 nothing may stand beside a reference.
fn describe(dialect: Dialect, property: &mut Value, text: String) {
    if dialect == Dialect::V3 && property.get("$ref").is_some() {
        *property = json!({"allOf": [property.take()]});
    }
    property["description"] = json!(text);
}

fn property(dialect: Dialect, field: &Field, wanted: &mut BTreeSet<String>) -> Value {
    let mut property = of_type(dialect, &field.of, wanted);
    if property.get("$ref").is_some() {
        // Nothing may stand beside a reference.
        return property;
    }
    if let Some(default) = &field.default {
        property["default"] = default.clone();
    }
    if !field.allowed.is_empty() {
        property["enum"] = json!(field.allowed);
    }
    let Type::List(_, merge) = &field.of else {
        if field.atomic {
            property["x-kubernetes-map-type"] = json!("atomic");
        }
        return property;
    };
    match merge {
        Merge::Atomic => property["x-kubernetes-list-type"] = json!("atomic"),
        Merge::Set => property["x-kubernetes-list-type"] = json!("set"),
        Merge::Keys(keys) => {
            if field.atomic {
                property["x-kubernetes-list-type"] = json!("atomic");
            } else {
                property["x-kubernetes-list-type"] = json!("map");
                property["x-kubernetes-list-map-keys"] = json!(keys);
            }
            if !field.replace {
                property["x-kubernetes-patch-merge-key"] = json!(keys.first());
            }
        }
    }
    if *merge != Merge::Atomic && !field.replace {
        let strategy = if field.retain { "merge,retainKeys" } else { "merge" };
        property["x-kubernetes-patch-strategy"] = json!(strategy);
    }
    property
}

fn of_type(dialect: Dialect, of: &Type, wanted: &mut BTreeSet<String>) -> Value {
    match of {
        Type::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        Type::String => json!({"type": "string"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::Time | Type::MicroTime => json!({"type": "string", "format": "date-time"}),
        // A quantity may be written as a number too.
        Type::Quantity => match dialect {
            Dialect::V2 => json!({"type": "string"}),
            Dialect::V3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        },
        Type::Integer => json!({"type": "integer", "format": "int32"}),
        Type::Long => json!({"type": "integer", "format": "int64"}),
        Type::Number => json!({"type": "number", "format": "double"}),
        Type::Boolean => json!({"type": "boolean"}),
        Type::IntOrString => match dialect {
            Dialect::V2 => json!({"type": "string", "format": "int-or-string"}),
            Dialect::V3 => json!({
                "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}],
            }),
        },
        Type::Named(name) => {
            wanted.insert(name.clone());
            dialect.reference(name)
        }
        // Neither dialect can say "or a boolean" of a reference; Kubernetes says nothing either.
        Type::OrBoolean(inner) => {
            of_type(dialect, inner, wanted);
            json!({})
        }
        Type::Map(inner) => {
            json!({"type": "object", "additionalProperties": of_type(dialect, inner, wanted)})
        }
        Type::List(inner, _) => {
            json!({"type": "array", "items": of_type(dialect, inner, wanted)})
        }
    }
}
