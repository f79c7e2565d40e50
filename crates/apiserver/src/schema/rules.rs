//! Rules that stand in the schema: required fields, allowed values, unique list items.
use serde_json::Value;

use super::{Field, Merge, Struct, Type};
use crate::refusal::Cause;

/// What `value` breaks, below `path`.
pub(super) fn causes(of: Option<&Struct>, value: &Value, path: &str) -> Vec<Cause> {
    let mut found = Vec::new();
    if let Some(of) = of {
        visit(of, value, path, &mut found);
    }
    found
}

fn visit(of: &Struct, value: &Value, path: &str, found: &mut Vec<Cause>) {
    for (name, field) in &of.fields {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let value = &value[name.as_str()];
        let empty = value.is_null()
            || value.as_str() == Some("")
            || (field.required && value.as_i64() == Some(0))
            || value.as_array().is_some_and(Vec::is_empty);
        if empty {
            if field.required {
                found.push(Cause::required(path, ""));
            }
            continue;
        }
        check(field, value, &path, found);
    }
}

fn check(field: &Field, value: &Value, path: &str, found: &mut Vec<Cause>) {
    if !field.allowed.is_empty()
        && let Some(text) = value.as_str()
        && !field.allowed.iter().any(|allowed| allowed == text)
    {
        let allowed: Vec<&str> = field.allowed.iter().map(String::as_str).collect();
        found.push(Cause::not_supported(path, value, &allowed));
    }
    descend(&field.of, value, path, found);
}

fn descend(of: &Type, value: &Value, path: &str, found: &mut Vec<Cause>) {
    if let Some(of) = of.named() {
        visit(of, value, path, found);
        return;
    }
    if let (Type::List(inner, merge), Some(items)) = (of, value.as_array()) {
        for (n, item) in items.iter().enumerate() {
            let path = format!("{path}[{n}]");
            descend(inner, item, &path, found);
            if let Some(cause) = duplicate(merge, &items[..n], item, &path) {
                found.push(cause);
            }
        }
    } else if let (Type::Map(inner), Some(entries)) = (of, value.as_object()) {
        for (key, entry) in entries {
            descend(inner, entry, &format!("{path}[{key}]"), found);
        }
    }
}

/// The complaint about an item whose keys another has before it.
///
/// Only names must be unique. Of lists merged by several keys, Kubernetes' own validation lets
/// some repeat (ports of a container), so those are left to the kinds' own rules.
fn duplicate(merge: &Merge, before: &[Value], item: &Value, path: &str) -> Option<Cause> {
    let Merge::Keys(keys) = merge else { return None };
    let [key] = keys.as_slice() else { return None };
    if key != "name" {
        return None;
    }
    let name = &item[key.as_str()];
    let twice = !name.is_null() && before.iter().any(|other| other[key.as_str()] == *name);
    twice.then(|| Cause::duplicate(format!("{path}.{key}"), name))
}
