//! Pruning: fields that the schema does not know go.
//!
//! Source: apiextensions-apiserver `pkg/apiserver/schema/pruning`.
use serde_json::{Map, Value};

use super::structural::Structural;

/// The fields every object has, in a form that no schema describes.
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops what `schema` does not know of an object and returns the paths of it.
pub(crate) fn prune(schema: &Structural, value: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Some(fields) = value.as_object_mut() {
        visit_fields(Some(schema), fields, &Place { path: "", whole: true }, false, &mut unknown);
    }
    unknown
}

/// Where a walk is.
struct Place<'p> {
    path: &'p str,
    /// A whole object, whose metadata stays.
    whole: bool,
}

/// Prunes one value; `kept` says that a list above keeps what no property names.
fn visit(
    schema: Option<&Structural>,
    value: &mut Value,
    path: &str,
    kept: bool,
    unknown: &mut Vec<String>,
) {
    let kept = kept || schema.is_some_and(|schema| schema.preserves);
    if let Some(items) = value.as_array_mut() {
        let of = schema.and_then(|schema| schema.items.as_deref());
        for (n, item) in items.iter_mut().enumerate() {
            if of.is_some() || !kept {
                visit(of, item, &format!("{path}[{n}]"), kept, unknown);
            }
        }
    } else if let Some(fields) = value.as_object_mut() {
        let whole = schema.is_some_and(|schema| schema.embedded);
        visit_fields(schema, fields, &Place { path, whole }, kept, unknown);
    }
}

fn visit_fields(
    schema: Option<&Structural>,
    fields: &mut Map<String, Value>,
    place: &Place<'_>,
    kept: bool,
    unknown: &mut Vec<String>,
) {
    let kept = kept || schema.is_some_and(|schema| schema.preserves);
    let open = schema.is_some_and(|schema| schema.additional.is_some());
    fields.retain(|name, value| {
        if place.whole && META.contains(&name.as_str()) {
            return true;
        }
        let path = match place.path {
            "" => name.clone(),
            outer => format!("{outer}.{name}"),
        };
        let of = schema.and_then(|schema| schema.entry(name));
        if of.is_some() || (open && !kept) {
            visit(of, value, &path, false, unknown);
            return true;
        }
        if !kept {
            unknown.push(path);
        }
        kept
    });
}
