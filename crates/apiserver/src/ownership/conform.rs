//! Whether a configuration has the shape of its type.
//!
//! Source: sigs.k8s.io/structured-merge-diff `typed/validate.go`, whose messages these are.
use std::collections::HashSet;

use serde_json::Value;

use super::set;
use super::typing::{Scalar, Shape, Typing};
use super::walk;
use crate::go;

/// Checks that `value` is of type `of`: known fields, scalars of the right kind, lists whose items
/// can be told apart.
///
/// # Errors
/// All that is wrong, each with its path.
pub(super) fn conform(of: &dyn Typing, value: &Value) -> Result<(), String> {
    let mut wrong = Vec::new();
    visit(of, value, "", &mut wrong);
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn visit(of: &dyn Typing, value: &Value, path: &str, wrong: &mut Vec<String>) {
    let mut say = |what: String| {
        wrong.push(if path.is_empty() { what } else { format!("{path}: {what}") });
    };
    match of.shape() {
        Shape::Any => {}
        _ if value.is_null() => {}
        Shape::Scalar(scalar) => {
            if let Some(problem) = problem(scalar, value) {
                say(problem);
            }
        }
        Shape::Struct | Shape::AtomicStruct | Shape::Map(_) | Shape::AtomicMap(_) => {
            match value.as_object() {
                None => say(format!("expected map, got {}", go::quoted(value))),
                Some(_) => members(of, value, path, wrong),
            }
        }
        Shape::AtomicList(inner) => match value.as_array() {
            None => say(format!("expected list, got {}", go::quoted(value))),
            Some(items) => {
                for (n, item) in items.iter().enumerate() {
                    visit(inner, item, &format!("{path}[{n}]"), wrong);
                }
            }
        },
        Shape::Set | Shape::Keyed(..) => match value.as_array() {
            None => say(format!("expected list, got {}", go::quoted(value))),
            Some(items) => keyed(of, items, path, wrong),
        },
    }
}

fn members(of: &dyn Typing, value: &Value, path: &str, wrong: &mut Vec<String>) {
    let closed = matches!(of.shape(), Shape::Struct | Shape::AtomicStruct) && !of.is_open();
    for (name, value) in walk::fields(Some(value)) {
        let path = format!("{path}.{name}");
        match of.field(name) {
            Some(inner) => visit(inner, value, &path, wrong),
            None if closed => wrong.push(format!("{path}: field not declared in schema")),
            None => visit(walk::member(of, name), value, &path, wrong),
        }
    }
}

fn keyed(of: &dyn Typing, items: &[Value], path: &str, wrong: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (n, item) in items.iter().enumerate() {
        let element = match walk::element(of, item) {
            Ok(element) => element,
            Err(why) => {
                wrong.push(format!("{path}: element {n}: {why}"));
                return;
            }
        };
        let shown = set::shown(&element);
        if !seen.insert(element) {
            wrong.push(format!("{path}: duplicate entries for key {shown}"));
        }
        visit(walk::item(of), item, &format!("{path}{shown}"), wrong);
    }
}

/// What is wrong with a scalar. The words are Go's, down to how it prints a value.
fn problem(scalar: Scalar, value: &Value) -> Option<String> {
    let nested = value.is_object() || value.is_array();
    match scalar {
        Scalar::Number if !value.is_number() => {
            Some(format!("expected numeric (int or float), got {}", go::type_of(value)))
        }
        Scalar::Text if !value.is_string() => Some(format!(
            "expected string, got &value.valueUnstructured{{Value:{}}}",
            go::quoted(value)
        )),
        Scalar::Boolean if !value.is_boolean() => {
            Some(format!("expected boolean, got {}", go::quoted(value)))
        }
        Scalar::Untyped if nested => {
            Some(format!("expected any scalar, got {}", go::quoted(value)))
        }
        Scalar::Number | Scalar::Text | Scalar::Boolean | Scalar::Untyped => None,
    }
}
