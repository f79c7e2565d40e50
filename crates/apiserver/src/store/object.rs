//! One version of one object, and where it is kept.
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

use crate::resource::Shelf;

/// One version of one object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) version: u64,
    pub(crate) value: Value,
    /// About how many bytes it takes as JSON.
    pub(super) weight: usize,
    json: OnceLock<Bytes>,
}

impl Object {
    pub(super) fn new(version: u64, mut value: Value) -> Arc<Self> {
        value["metadata"]["resourceVersion"] = Value::String(version.to_string());
        let weight = weight(&value);
        Arc::new(Self { version, value, weight, json: OnceLock::new() })
    }

    /// An object to be shown and not stored, such as the outcome of a dry run.
    pub(crate) fn shown(value: Value) -> Self {
        Self { version: 0, value, weight: 0, json: OnceLock::new() }
    }

    /// The object as JSON, serialised once for all its readers.
    pub(crate) fn json(&self) -> &Bytes {
        self.json.get_or_init(|| json(&self.value).into())
    }

    pub(crate) fn metadata(&self, field: &str) -> &Value {
        &self.value["metadata"][field]
    }
}

/// A value as JSON: much faster than through `Display`, which writes character by character.
pub(crate) fn json(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("keys are text, numbers finite, and memory takes all")
}

/// Where an object is on its shelf; the namespace is empty for cluster-scoped kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// Where an object is among all objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) shelf: Shelf,
    pub(crate) key: Key,
}

/// About how many bytes `value` takes as JSON: exact but for escapes and the spelling of numbers.
///
/// Cheap enough for every write, which writing the JSON out would not be.
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| weight(item) + 1).sum::<usize>(),
        Value::Object(fields) => {
            2 + fields.iter().map(|(name, field)| name.len() + 4 + weight(field)).sum::<usize>()
        }
    }
}
