//! Whole objects inside objects: they say what they are.
//!
//! Source: apiextensions-apiserver `pkg/apiserver/schema/objectmeta`.
use serde_json::Value;

use super::entries;
use super::structural::Structural;
use crate::refusal::Cause;
use crate::validate::name;

/// What is wrong with the objects embedded in `value`.
pub(super) fn causes(schema: &Structural, value: &Value) -> Vec<Cause> {
    let mut found = Vec::new();
    visit(schema, value, "", &mut found);
    found
}

fn visit(schema: &Structural, value: &Value, path: &str, found: &mut Vec<Cause>) {
    if schema.embedded && value.is_object() {
        identity(value, path, found);
    }
    for (name, inner) in entries(value) {
        if let Some(of) = schema.entry(name) {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            visit(of, inner, &path, found);
        }
    }
    if let (Some(of), Some(items)) = (&schema.items, value.as_array()) {
        for (n, item) in items.iter().enumerate() {
            visit(of, item, &format!("{path}[{n}]"), found);
        }
    }
}

fn identity(value: &Value, path: &str, found: &mut Vec<Cause>) {
    for field in ["apiVersion", "kind"] {
        let given = &value[field];
        let path = format!("{path}.{field}");
        match given.as_str() {
            None if given.is_null() => found.push(Cause::required(path, "")),
            None => found.push(Cause::invalid(path, given, "must be a string")),
            Some("") => found.push(Cause::invalid(path, given, "must not be empty")),
            Some(kind) if field == "kind" => {
                let problem = name::label_1035(&kind.to_lowercase());
                let rule = "may have mixed case, but should otherwise match: ";
                let problem = problem.map(|problem| format!("{rule}{problem}"));
                found.extend(problem.map(|problem| Cause::invalid(path, given, &problem)));
            }
            Some(_) => {}
        }
    }
    let metadata = &value["metadata"];
    if !metadata.is_null() && !metadata.is_object() {
        found.push(Cause::invalid(format!("{path}.metadata"), metadata, "must be an object"));
    }
}
