//! Rules for the metadata of all objects.
use serde_json::{Value, json};

use super::name;
use crate::refusal::Cause;
use crate::resource::{Resource, Rules};

/// The most bytes all annotations of an object may have together.
const ANNOTATIONS: usize = 256 * 1024;

/// What is wrong with the metadata.
pub(super) fn causes(resource: &Resource, value: &Value) -> Vec<Cause> {
    let metadata = &value["metadata"];
    let mut causes = Vec::new();
    let given = metadata["name"].as_str().unwrap_or("");
    if given.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else if let Some(problem) = object_name(resource, given) {
        causes.push(Cause::invalid("metadata.name", &json!(given), &problem));
    }
    if !resource.is_namespaced() && !metadata["namespace"].as_str().unwrap_or("").is_empty() {
        causes.push(Cause::forbidden("metadata.namespace", "not allowed on this type"));
    }
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        if let Some(problem) = name::qualified_name(key) {
            causes.push(Cause::invalid("metadata.labels", &json!(key), &problem));
        }
        if let Some(problem) = name::label_value(value.as_str().unwrap_or("")) {
            causes.push(Cause::invalid("metadata.labels", value, &problem));
        }
    }
    causes.extend(annotations(&metadata["annotations"]));
    for finalizer in metadata["finalizers"].as_array().into_iter().flatten() {
        if let Some(problem) = name::qualified_name(finalizer.as_str().unwrap_or("")) {
            causes.push(Cause::invalid("metadata.finalizers", finalizer, &problem));
        }
    }
    causes
}

/// What is wrong with how the metadata changed.
pub(super) fn update_causes(new: &Value, old: &Value) -> Vec<Cause> {
    let (new, old) = (&new["metadata"]["finalizers"], &old["metadata"]);
    if !old["deletionTimestamp"].is_string() {
        return Vec::new();
    }
    let before = old["finalizers"].as_array().map_or(&[][..], Vec::as_slice);
    let added =
        new.as_array().into_iter().flatten().filter(|finalizer| !before.contains(finalizer));
    let detail = "no new finalizers can be added if the object is being deleted";
    added.map(|_| Cause::forbidden("metadata.finalizers", detail)).collect()
}

fn annotations(annotations: &Value) -> Vec<Cause> {
    let (mut causes, mut size) = (Vec::new(), 0);
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // Keys may have capitals, other than those of labels.
        if let Some(problem) = name::qualified_name(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &json!(key), &problem));
        }
        size += key.len() + value.as_str().unwrap_or("").len();
    }
    if size > ANNOTATIONS {
        causes.push(Cause::too_long("metadata.annotations", ANNOTATIONS));
    }
    causes
}

/// The kinds whose names are not subdomains.
const NAMES: &[(Rules, name::Form)] = &[
    (Rules::Namespace, name::label),
    (Rules::Service, name::label_1035),
    // The kind's own rules say more.
    (Rules::IpAddress, path_segment),
    // Any kind in a path: only what would break the path is wrong.
    (Rules::Event, path_segment),
    (Rules::Review, path_segment),
    (Rules::Role, path_segment),
    (Rules::RoleBinding, path_segment),
];

fn object_name(resource: &Resource, given: &str) -> Option<String> {
    let form = NAMES.iter().find(|(rules, _)| *rules == resource.rules);
    form.map_or(name::subdomain as name::Form, |(_, form)| *form)(given)
}

fn path_segment(given: &str) -> Option<String> {
    if matches!(given, "." | "..") {
        return Some(format!("may not be '{given}'"));
    }
    let bad = given.chars().find(|letter| matches!(letter, '/' | '%'));
    bad.map(|letter| format!("may not contain '{letter}'"))
}
