//! Defaults that are constants of the schema.
use serde_json::{Map, Value};

use super::{Struct, Type};

/// Sets every missing field that has a default, at any depth of what is there.
pub(super) fn fill(of: Option<&Struct>, value: &mut Value) {
    if let (Some(of), Some(fields)) = (of, value.as_object_mut()) {
        fill_fields(of, fields);
    }
}

fn fill_fields(of: &Struct, fields: &mut Map<String, Value>) {
    for (name, field) in &of.fields {
        if let Some(default) = &field.default
            && fields.get(name).is_none_or(is_unset)
        {
            fields.insert(name.clone(), default.clone());
        }
        if let Some(value) = fields.get_mut(name) {
            fill_value(&field.of, value);
        }
    }
}

/// Whether Go's zero value stands for "not set".
fn is_unset(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

fn fill_value(of: &Type, value: &mut Value) {
    if let Some(of) = of.named() {
        fill(Some(of), value);
        return;
    }
    let inner = of.inner();
    if inner == of {
        return;
    }
    if let Some(items) = value.as_array_mut() {
        items.iter_mut().for_each(|item| fill_value(inner, item));
    } else if let (Type::Map(_), Some(entries)) = (of, value.as_object_mut()) {
        entries.values_mut().for_each(|entry| fill_value(inner, entry));
    }
}
