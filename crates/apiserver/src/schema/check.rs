//! Decoding: values must have their field's type, and unknown fields go.
use serde_json::{Map, Value};

use super::{Struct, Type};
use crate::quantity::Quantity;
use crate::time;

/// Holds `value` against `of`: drops unknown fields, and nulls, which mean absence.
/// Returns the paths of the unknown fields.
///
/// # Errors
/// A sentence about the first field of a wrong type.
pub(super) fn check(of: Option<&Struct>, value: &mut Value) -> Result<Vec<String>, String> {
    check_below(of, value, "")
}

/// As [`check`], of a part of an object at `path`.
pub(super) fn check_below(
    of: Option<&Struct>,
    value: &mut Value,
    path: &str,
) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    if let (Some(of), Some(fields)) = (of, value.as_object_mut()) {
        check_fields(of, fields, path, &mut unknown)?;
    }
    Ok(unknown)
}

fn check_fields(
    of: &Struct,
    fields: &mut Map<String, Value>,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    fields.retain(|name, value| {
        let known = of.fields.contains_key(name);
        if !known {
            unknown.push(join(path, name));
        }
        known && !value.is_null()
    });
    for (name, value) in fields.iter_mut() {
        let field = &of.fields[name];
        check_value(&field.of, value, &join(path, name), unknown)?;
    }
    Ok(())
}

fn check_value(
    of: &Type,
    value: &mut Value,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    let good = match of {
        Type::Any => true,
        Type::String | Type::Bytes => value.is_string(),
        Type::Time | Type::MicroTime => {
            let time = value.as_str().is_some_and(|text| time::parse_rfc3339(text).is_some());
            time || value.is_null()
        }
        Type::Quantity if value.is_string() || value.is_number() => {
            let text =
                value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned());
            let quantity = Quantity::parse(&text).map_err(|error| error.to_string())?;
            *value = Value::String(quantity.canonical());
            true
        }
        Type::Quantity => false,
        Type::Integer => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        Type::Long => value.is_i64(),
        Type::Number => value.is_number(),
        Type::Boolean => value.is_boolean(),
        Type::IntOrString => {
            value.is_string() || value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
        }
        Type::Named(_) => match (of.named(), value.as_object_mut()) {
            (Some(of), Some(fields)) => return check_fields(of, fields, path, unknown),
            _ => false,
        },
        Type::Map(inner) => match value.as_object_mut() {
            Some(entries) => {
                for (key, entry) in entries.iter_mut() {
                    check_value(inner, entry, &join(path, key), unknown)?;
                }
                true
            }
            None => false,
        },
        Type::OrBoolean(_) if value.is_boolean() => true,
        Type::OrBoolean(inner) => return check_value(inner, value, path, unknown),
        Type::List(inner, _) => match value.as_array_mut() {
            Some(items) => {
                for (n, item) in items.iter_mut().enumerate() {
                    check_value(inner, item, &format!("{path}[{n}]"), unknown)?;
                }
                true
            }
            None => false,
        },
    };
    if good {
        return Ok(());
    }
    let given = name_of(value);
    Err(format!("json: cannot unmarshal {given} into field {path} of type {}", expected(of)))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn expected(of: &Type) -> String {
    match of {
        Type::Any => "any".to_owned(),
        Type::String => "string".to_owned(),
        Type::Bytes => "base64 string".to_owned(),
        Type::Time | Type::MicroTime => "RFC 3339 time".to_owned(),
        Type::Quantity => "quantity".to_owned(),
        Type::Integer => "int32".to_owned(),
        Type::Long => "int64".to_owned(),
        Type::Number => "number".to_owned(),
        Type::Boolean => "bool".to_owned(),
        Type::IntOrString => "integer or string".to_owned(),
        Type::Named(name) => name.rsplit('.').next().unwrap_or(name).to_owned(),
        Type::OrBoolean(inner) => format!("{} or bool", expected(inner)),
        Type::Map(inner) => format!("map of {}", expected(inner)),
        Type::List(inner, _) => format!("list of {}", expected(inner)),
    }
}
