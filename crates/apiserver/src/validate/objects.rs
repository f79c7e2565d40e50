//! Rules for config maps and secrets.
use serde_json::{Value, json};

use super::name;
use crate::refusal::Cause;

/// What is wrong with the keys of a `ConfigMap` or `Secret`.
pub(super) fn keys(value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["data", "binaryData"] {
        for key in value[field].as_object().into_iter().flatten().map(|(key, _)| key) {
            if let Some(problem) = name::file_key(key) {
                causes.push(Cause::invalid(format!("{field}[{key}]"), &json!(key), &problem));
            }
            if field == "binaryData" && !value["data"][key].is_null() {
                let detail = "duplicate of key present in data";
                causes.push(Cause::invalid(format!("{field}[{key}]"), &json!(key), detail));
            }
        }
    }
    causes
}
