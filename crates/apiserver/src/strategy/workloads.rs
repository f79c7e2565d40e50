//! Defaults of what makes pods.
//!
//! Source: Kubernetes pkg/apis/apps/v1/defaults.go, pkg/apis/batch/v1/defaults.go and
//! pkg/registry/batch/job/strategy.go.
use serde_json::{Value, json};

use super::defaults::drop_nulls;
use super::pod;

/// The labels by which a job knows its pods: identity and name, under their names of today and of
/// before.
const JOB_LABELS: [(&str, &str); 4] = [
    ("batch.kubernetes.io/controller-uid", "uid"),
    ("batch.kubernetes.io/job-name", "name"),
    ("controller-uid", "uid"),
    ("job-name", "name"),
];

pub(super) fn deployment(value: &mut Value) {
    let rolling = json!({"maxUnavailable": "25%", "maxSurge": "25%"});
    roll(value, "strategy", &rolling);
    pod::template(&mut value["spec"]["template"]);
}

pub(super) fn replica_set(value: &mut Value) {
    pod::template(&mut value["spec"]["template"]);
    if let Some(spec) = value.get_mut("spec") {
        drop_nulls(spec);
    }
}

/// A daemon set replaces one pod at a time, and never runs two on a node.
pub(super) fn daemon_set(value: &mut Value) {
    roll(value, "updateStrategy", &json!({"maxUnavailable": 1, "maxSurge": 0}));
    pod::template(&mut value["spec"]["template"]);
}

pub(super) fn stateful_set(value: &mut Value) {
    let strategy = &mut value["spec"]["updateStrategy"];
    if strategy["type"] == "RollingUpdate" && strategy["rollingUpdate"].is_null() {
        strategy["rollingUpdate"] = json!({"partition": 0});
    }
    drop_nulls(strategy);
    let claims = value["spec"]["volumeClaimTemplates"].as_array_mut();
    for claim in claims.into_iter().flatten() {
        claim["apiVersion"] = json!("v1");
        claim["kind"] = json!("PersistentVolumeClaim");
        claim["status"]["phase"] = json!("Pending");
    }
    pod::template(&mut value["spec"]["template"]);
    drop_nulls(&mut value["spec"]);
}

/// A replication controller is labeled as its pods are, and selects by that.
pub(super) fn replication_controller(value: &mut Value) {
    let labels = value["spec"]["template"]["metadata"]["labels"].clone();
    let empty = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
    if !empty(&labels) && empty(&value["spec"]["selector"]) {
        value["spec"]["selector"] = labels.clone();
    }
    if !empty(&labels) && empty(&value["metadata"]["labels"]) {
        value["metadata"]["labels"] = labels;
    }
    pod::template(&mut value["spec"]["template"]);
    drop_nulls(&mut value["spec"]);
    drop_nulls(&mut value["metadata"]);
}

pub(super) fn job(value: &mut Value) {
    let labels = value["spec"]["template"]["metadata"]["labels"].clone();
    if labels.is_object() && value["metadata"]["labels"].as_object().is_none_or(|l| l.is_empty()) {
        value["metadata"]["labels"] = labels;
    }
    job_spec(&mut value["spec"]);
}

pub(super) fn cron_job(value: &mut Value) {
    // Of a job that is yet to be made, only the pods are completed.
    pod::template(&mut value["spec"]["jobTemplate"]["spec"]["template"]);
    drop_nulls(&mut value["spec"]["jobTemplate"]["spec"]);
}

fn job_spec(spec: &mut Value) {
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        spec["completions"] = json!(1);
    }
    let backoff = if spec["backoffLimitPerIndex"].is_null() { 6 } else { i32::MAX };
    let replaced =
        if spec["podFailurePolicy"].is_null() { "TerminatingOrFailed" } else { "Failed" };
    for (field, value) in [
        ("parallelism", json!(1)),
        ("backoffLimit", json!(backoff)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("podReplacementPolicy", json!(replaced)),
        ("manualSelector", json!(false)),
    ] {
        if spec[field].is_null() {
            spec[field] = value;
        }
    }
    pod::template(&mut spec["template"]);
    drop_nulls(spec);
}

/// A job selects its pods by its own identity, unless told otherwise.
///
/// Source: pkg/registry/batch/job `generateSelector`.
pub(super) fn new_job(value: &mut Value) {
    if value["spec"]["manualSelector"] == true {
        return;
    }
    let metadata = value["metadata"].clone();
    for (label, field) in JOB_LABELS {
        let labels = &mut value["spec"]["template"]["metadata"]["labels"];
        if labels[label].is_null() {
            labels[label] = metadata[field].clone();
        }
    }
    let (label, field) = JOB_LABELS[0];
    value["spec"]["selector"]["matchLabels"][label] = metadata[field].clone();
}

/// Completes the way pods are replaced.
fn roll(value: &mut Value, field: &str, otherwise: &Value) {
    let strategy = &mut value["spec"][field];
    if strategy["type"] != "RollingUpdate" {
        return;
    }
    for (name, value) in otherwise.as_object().into_iter().flatten() {
        if strategy["rollingUpdate"][name].is_null() {
            strategy["rollingUpdate"][name] = value.clone();
        }
    }
}
