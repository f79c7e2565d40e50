//! Taking fields out of an object.
//!
//! Source: sigs.k8s.io/structured-merge-diff `typed/remove.go`.
use serde_json::{Map, Value};

use super::set::{self, FieldSet};
use super::typing::Typing;
use super::walk::{self, Part};

/// `value`, of type `of`, without the fields and items of `set`.
pub(super) fn without(of: &dyn Typing, value: &Value, set: &FieldSet) -> Value {
    remove(of, value, set).unwrap_or(Value::Null)
}

/// What is left, or nothing.
fn remove(of: &dyn Typing, value: &Value, set: &FieldSet) -> Option<Value> {
    match walk::part(of, Some(value), None) {
        Part::Members => members(of, value, set),
        Part::Items => items(of, value, set),
        // What changes only as a whole goes as a whole.
        Part::Leaf if value.is_object() || value.is_array() => None,
        Part::Leaf => Some(value.clone()),
    }
}

/// What stands where something was taken out of `value` until nothing was left.
fn hollow(value: &Value) -> Value {
    match value {
        Value::Object(_) => Value::Object(Map::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::Null,
    }
}

fn members(of: &dyn Typing, value: &Value, set: &FieldSet) -> Option<Value> {
    let mut left = Map::new();
    let mut touched = false;
    for (name, value) in walk::fields(Some(value)) {
        let element = set::field(name);
        if set.has(&element) {
            continue;
        }
        let kept = set.below(&element).map(|below| {
            touched = true;
            remove(walk::member(of, name), value, &below).unwrap_or_else(|| hollow(value))
        });
        left.insert(name.clone(), kept.unwrap_or_else(|| value.clone()));
    }
    (touched || !left.is_empty()).then_some(Value::Object(left))
}

fn items(of: &dyn Typing, value: &Value, set: &FieldSet) -> Option<Value> {
    let mut left = Vec::new();
    let mut touched = false;
    for item in walk::items(Some(value)) {
        // An item without a name is in no set.
        let element = walk::element(of, item).unwrap_or_default();
        if set.has(&element) {
            continue;
        }
        let kept = set.below(&element).map(|below| {
            touched = true;
            remove(walk::item(of), item, &below).unwrap_or_else(|| hollow(item))
        });
        left.push(kept.unwrap_or_else(|| item.clone()));
    }
    (touched || !left.is_empty()).then_some(Value::Array(left))
}
