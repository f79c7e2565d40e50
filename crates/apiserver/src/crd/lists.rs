//! Lists whose items are unique: sets, and maps written as lists.
//!
//! Source: apiextensions-apiserver `pkg/apiserver/schema/listtype`.
use std::collections::HashMap;

use serde_json::{Map, Value};

use super::structural::Structural;
use crate::refusal::Cause;
use crate::schema::Merge;

/// The items that stand in such a list a second time.
pub(super) fn causes(schema: &Structural, value: &Value) -> Vec<Cause> {
    let mut found = Vec::new();
    visit(schema, value, "", &mut found);
    found
}

fn visit(schema: &Structural, value: &Value, path: &str, found: &mut Vec<Cause>) {
    if let Some(items) = value.as_array() {
        match &schema.merge {
            Some(Merge::Set) => repeated(items.iter().cloned(), path, found),
            Some(Merge::Keys(keys)) => {
                repeated(items.iter().map(|item| keyed(keys, item)), path, found);
            }
            Some(Merge::Atomic) | None => {}
        }
        let Some(of) = &schema.items else { return };
        for (n, item) in items.iter().enumerate() {
            visit(of, item, &format!("{path}[{n}]"), found);
        }
    } else if let Some(fields) = value.as_object() {
        for (name, inner) in fields {
            let path = match (schema.properties.contains_key(name), path.is_empty()) {
                (true, true) => name.clone(),
                (true, false) => format!("{path}.{name}"),
                (false, _) => format!("{path}[{name}]"),
            };
            if let Some(of) = schema.entry(name) {
                visit(of, inner, &path, found);
            }
        }
    }
}

/// What tells `item` from others: its keys as far as it has them.
fn keyed(keys: &[String], item: &Value) -> Value {
    let present = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
    Value::Object(present.collect::<Map<_, _>>())
}

/// Each value that is there twice or more is reported where it comes the second time.
fn repeated(values: impl Iterator<Item = Value>, path: &str, found: &mut Vec<Cause>) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (n, value) in values.enumerate() {
        let times = seen.entry(value.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            found.push(Cause::duplicate(format!("{path}[{n}]"), &value));
        }
    }
}
