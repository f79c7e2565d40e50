//! Walking values beside their types: the fields of an object and the items of a list, each with
//! the path element that names it and its type.
use serde_json::{Map, Value};

use super::set;
use super::typing::{ANY, Shape, Typing};

/// The type of field `name` in a value of type `of` that is shared by field.
pub(super) fn member<'t>(of: &'t dyn Typing, name: &str) -> &'t dyn Typing {
    match of.shape() {
        Shape::Map(inner) | Shape::AtomicMap(inner) => inner,
        Shape::Struct | Shape::AtomicStruct => of.field(name).unwrap_or(&ANY),
        Shape::Scalar(_) | Shape::AtomicList(_) | Shape::Set | Shape::Keyed(..) | Shape::Any => {
            &ANY
        }
    }
}

/// The type of the items of a list of type `of`.
pub(super) fn item(of: &dyn Typing) -> &dyn Typing {
    match of.shape() {
        Shape::Keyed(_, inner) | Shape::AtomicList(inner) => inner,
        Shape::Scalar(_)
        | Shape::AtomicMap(_)
        | Shape::AtomicStruct
        | Shape::Struct
        | Shape::Map(_)
        | Shape::Set
        | Shape::Any => &ANY,
    }
}

/// What a value of some type is to its owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// One thing.
    Leaf,
    /// Fields or entries.
    Members,
    /// Items with a name of their own.
    Items,
}

/// What values of type `of` are, given those at hand (one of two states may be missing).
pub(super) fn part(of: &dyn Typing, one: Option<&Value>, other: Option<&Value>) -> Part {
    let both = |is: fn(&Value) -> bool| [one, other].into_iter().flatten().all(is);
    let is_members = |value: &Value| value.is_object() || value.is_null();
    let is_items = |value: &Value| value.is_array() || value.is_null();
    match of.shape() {
        Shape::Struct | Shape::Map(_) if both(is_members) => Part::Members,
        // What nobody describes is what it looks like.
        Shape::Any if both(Value::is_object) => Part::Members,
        Shape::Set | Shape::Keyed(..) if both(is_items) => Part::Items,
        Shape::Scalar(_)
        | Shape::AtomicList(_)
        | Shape::AtomicMap(_)
        | Shape::AtomicStruct
        | Shape::Struct
        | Shape::Map(_)
        | Shape::Set
        | Shape::Keyed(..)
        | Shape::Any => Part::Leaf,
    }
}

/// The fields of a value; none of null and of nothing.
pub(super) fn fields(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

/// The items of a value; none of null and of nothing.
pub(super) fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether nothing is in a list, object or null.
pub(super) fn is_hollow(value: Option<&Value>) -> bool {
    value.is_none_or(|value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    })
}

/// The path element that names `value` in a list of type `of`.
///
/// # Errors
/// Why it can't be named, in structured-merge-diff's words.
pub(super) fn element(of: &dyn Typing, value: &Value) -> Result<String, String> {
    match of.shape() {
        Shape::Keyed(keys, inner) => keyed(keys, inner, value),
        Shape::Set
        | Shape::Scalar(_)
        | Shape::AtomicList(_)
        | Shape::AtomicMap(_)
        | Shape::AtomicStruct
        | Shape::Struct
        | Shape::Map(_)
        | Shape::Any => match value {
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            Value::Array(_) => {
                Err("not supported: associative list with lists as elements".to_owned())
            }
            Value::Null => {
                Err("associative list without keys has an element that's an explicit null"
                    .to_owned())
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(set::value(value)),
        },
    }
}

fn keyed(keys: &[String], inner: &dyn Typing, value: &Value) -> Result<String, String> {
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Null => {
            return Err("associative list with keys may not have a null element".to_owned());
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err("associative list with keys may not have non-map elements".to_owned());
        }
    };
    let mut found = named_by(keys, inner, fields);
    if found.is_empty() {
        return Err(format!(
            "associative list with keys has an element that omits all key fields {} (and doesn't \
             have default values for any key fields)",
            quoted(keys)
        ));
    }
    found.sort_by_key(|(name, _)| *name);
    Ok(set::keys(&found))
}

fn named_by<'v>(
    keys: &'v [String],
    inner: &'v dyn Typing,
    fields: &'v Map<String, Value>,
) -> Vec<(&'v str, &'v Value)> {
    let key = |name: &'v String| fields.get(name).or_else(|| inner.default_of(name));
    keys.iter().filter_map(|name| key(name).map(|value| (name.as_str(), value))).collect()
}

/// Words as Go's `%q` prints a list of them.
fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}
