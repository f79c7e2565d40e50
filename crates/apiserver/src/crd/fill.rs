//! Defaulting: missing fields take their schema's default, and nulls that may not be are missing.
//!
//! Source: apiextensions-apiserver `pkg/apiserver/schema/defaulting`.
use serde_json::Value;

use super::structural::Structural;

/// Completes `value` at any depth of what is there.
pub(crate) fn fill(schema: &Structural, value: &mut Value) {
    if let Some(items) = value.as_array_mut() {
        if let Some(of) = &schema.items {
            items.iter_mut().for_each(|item| fill(of, item));
        }
        return;
    }
    let Some(fields) = value.as_object_mut() else { return };
    fields
        .retain(|name, value| !value.is_null() || schema.entry(name).is_none_or(|of| of.nullable));
    for (name, of) in &schema.properties {
        if let Some(default) = &of.default {
            fields.entry(name.clone()).or_insert_with(|| default.clone());
        }
    }
    for (name, value) in fields.iter_mut() {
        if let Some(of) = schema.entry(name) {
            fill(of, value);
        }
    }
}
