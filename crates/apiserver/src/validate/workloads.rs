//! Rules for what makes pods.
//!
//! Source: Kubernetes pkg/apis/apps/validation, pkg/apis/batch/validation and
//! pkg/apis/policy/validation.
use serde_json::{Value, json};

use super::value::{all_non_negative, int_or_percent, is_empty_selector, is_zero, selector};
use super::{name, pod, schedule};
use crate::refusal::Cause;
use crate::selector::LabelSelector;

/// The longest name of a cron job: its jobs are called after it and the time.
const CRON_JOB_NAME: usize = 52;

pub(super) fn deployment(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let fields = ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"];
    let mut causes = all_non_negative("spec", spec, &fields);
    causes.extend(selected(spec, "deployment"));
    causes.extend(always(spec, "ReplicaSet"));
    let strategy = &spec["strategy"];
    if strategy["type"] == "Recreate" && !strategy["rollingUpdate"].is_null() {
        let detail = "may not be specified when strategy `type` is 'Recreate'";
        causes.push(Cause::forbidden("spec.strategy.rollingUpdate", detail));
    } else if strategy["type"] == "RollingUpdate" {
        let path = "spec.strategy.rollingUpdate";
        let rolling = &strategy["rollingUpdate"];
        for field in ["maxUnavailable", "maxSurge"] {
            causes.extend(int_or_percent(&format!("{path}.{field}"), &rolling[field]));
        }
        if is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) {
            let detail = "may not be 0 when `maxSurge` is 0";
            let field = format!("{path}.maxUnavailable");
            causes.push(Cause::invalid(field, &rolling["maxUnavailable"], detail));
        }
    }
    let deadline = &spec["progressDeadlineSeconds"];
    let ready = spec["minReadySeconds"].as_i64().unwrap_or(0);
    if deadline.as_i64().is_some_and(|deadline| deadline <= ready) {
        let detail = "must be greater than minReadySeconds";
        causes.push(Cause::invalid("spec.progressDeadlineSeconds", deadline, detail));
    }
    causes
}

pub(super) fn replica_set(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut causes = all_non_negative("spec", spec, &["replicas", "minReadySeconds"]);
    // Kubernetes says so too: the sentence is the deployment's.
    causes.extend(selected(spec, "deployment"));
    causes.extend(always(spec, "ReplicaSet"));
    causes
}

pub(super) fn replication_controller(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut causes = all_non_negative("spec", spec, &["replicas", "minReadySeconds"]);
    let chosen = &spec["selector"];
    if chosen.as_object().is_none_or(serde_json::Map::is_empty) {
        causes.push(Cause::required("spec.selector", ""));
    } else {
        causes.extend(matches_template(spec, &json!({"matchLabels": chosen})));
    }
    causes.extend(always(spec, "ReplicationController"));
    causes
}

pub(super) fn stateful_set(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut causes = all_non_negative("spec", spec, &["replicas", "minReadySeconds"]);
    causes.extend(all_non_negative("spec.ordinals", &spec["ordinals"], &["start"]));
    let strategy = &spec["updateStrategy"];
    let rolling = &strategy["rollingUpdate"];
    if strategy["type"] == "OnDelete" && !rolling.is_null() {
        let detail = "only allowed for updateStrategy 'RollingUpdate'";
        causes.push(Cause::invalid("spec.updateStrategy.rollingUpdate", rolling, detail));
    }
    let path = "spec.updateStrategy.rollingUpdate";
    causes.extend(all_non_negative(path, rolling, &["partition"]));
    if !rolling["maxUnavailable"].is_null() {
        let field = format!("{path}.maxUnavailable");
        causes.extend(int_or_percent(&field, &rolling["maxUnavailable"]));
        if is_zero(&rolling["maxUnavailable"]) {
            causes.push(Cause::invalid(field, &rolling["maxUnavailable"], "cannot be 0"));
        }
    }
    let service = spec["serviceName"].as_str().filter(|name| !name.is_empty());
    if let Some(problem) = service.and_then(name::label) {
        causes.push(Cause::invalid("spec.serviceName", &spec["serviceName"], &problem));
    }
    causes.extend(selected(spec, "statefulset"));
    causes.extend(always(&with_claims(spec), "StatefulSet"));
    causes
}

/// A stateful set's specification with the volumes its claims will be.
fn with_claims(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let claims = spec["volumeClaimTemplates"].as_array().cloned().unwrap_or_default();
    let names: Vec<Value> = claims.iter().map(|claim| claim["metadata"]["name"].clone()).collect();
    let mut volumes = spec["template"]["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    volumes.retain(|volume| !names.contains(&volume["name"]));
    let claimed =
        |name: &Value| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    volumes.extend(names.iter().map(claimed));
    if spec["template"]["spec"].is_object() {
        spec["template"]["spec"]["volumes"] = json!(volumes);
    }
    spec
}

pub(super) fn daemon_set(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let fields = ["minReadySeconds", "revisionHistoryLimit"];
    let mut causes = all_non_negative("spec", spec, &fields);
    causes.extend(selected(spec, "daemonset"));
    causes.extend(always(spec, "DaemonSet"));
    let strategy = &spec["updateStrategy"];
    if strategy["type"] != "RollingUpdate" {
        return causes;
    }
    let (path, rolling) = ("spec.updateStrategy.rollingUpdate", &strategy["rollingUpdate"]);
    for field in ["maxUnavailable", "maxSurge"] {
        causes.extend(int_or_percent(&format!("{path}.{field}"), &rolling[field]));
    }
    match (is_zero(&rolling["maxUnavailable"]), is_zero(&rolling["maxSurge"])) {
        (false, false) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            causes.push(Cause::invalid(format!("{path}.maxSurge"), &rolling["maxSurge"], detail));
        }
        (true, true) => {
            let detail = "cannot be 0 when maxSurge is 0";
            causes.push(Cause::required(format!("{path}.maxUnavailable"), detail));
        }
        _ => {}
    }
    causes
}

pub(super) fn job(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut causes = job_spec(spec, "spec");
    causes.extend(selector("spec.selector", &spec["selector"]));
    if spec["selector"].is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else {
        causes.extend(matches_template(spec, &spec["selector"]));
    }
    causes
}

pub(super) fn cron_job(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let fields =
        ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
    let mut causes = all_non_negative("spec", spec, &fields);
    let given = &value["metadata"]["name"];
    if given.as_str().is_some_and(|name| name.len() > CRON_JOB_NAME) {
        let detail = format!("must be no more than {CRON_JOB_NAME} characters");
        causes.push(Cause::invalid("metadata.name", given, &detail));
    }
    causes.extend(schedule::causes(spec));
    if spec["jobTemplate"]["spec"]["manualSelector"] == true {
        let field = "spec.jobTemplate.spec.manualSelector";
        causes.push(Cause::not_supported(field, &json!(true), &["nil", "false"]));
    }
    causes.extend(job_spec(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec"));
    causes
}

fn job_spec(spec: &Value, path: &str) -> Vec<Cause> {
    let fields = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    let mut causes = all_non_negative(path, spec, &fields);
    if spec["completionMode"] == "Indexed" {
        if spec["completions"].is_null() {
            let detail = "when completion mode is Indexed";
            causes.push(Cause::required(format!("{path}.completions"), detail));
        }
    } else {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if !spec[field].is_null() {
                let detail = "requires indexed completion mode";
                causes.push(Cause::invalid(format!("{path}.{field}"), &spec[field], detail));
            }
        }
    }
    causes.extend(pod::template(&spec["template"], &format!("{path}.template")));
    let policy = &spec["template"]["spec"]["restartPolicy"];
    let field = format!("{path}.template.spec.restartPolicy");
    if policy.is_null() || policy == "Always" {
        causes.push(Cause::required(field, "valid values: \"OnFailure\", \"Never\""));
    } else if spec["podFailurePolicy"].is_object() && policy != "Never" {
        let detail = "only \"Never\" is supported when podFailurePolicy is specified";
        causes.push(Cause::invalid(field, policy, detail));
    }
    causes
}

pub(super) fn disruption_budget(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut causes = selector("spec.selector", &spec["selector"]);
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        causes.push(Cause::invalid("spec", spec, detail));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        causes.extend(int_or_percent(&format!("spec.{field}"), &spec[field]));
    }
    causes
}

pub(super) fn autoscaler(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let (least, most) = (&spec["minReplicas"], spec["maxReplicas"].as_i64().unwrap_or(0));
    let mut causes = Vec::new();
    if least.as_i64().is_some_and(|least| least < 1) {
        let detail = "must be greater than or equal to 1";
        causes.push(Cause::invalid("spec.minReplicas", least, detail));
    }
    if most < 1 {
        let detail = "must be greater than 0";
        causes.push(Cause::invalid("spec.maxReplicas", &json!(most), detail));
    } else if least.as_i64().is_some_and(|least| least > most) {
        let detail = "must be greater than or equal to `minReplicas`";
        causes.push(Cause::invalid("spec.maxReplicas", &json!(most), detail));
    }
    causes
}

/// The selector of an object that owns pods, which must be there, say something, and fit.
fn selected(spec: &Value, of: &str) -> Vec<Cause> {
    let chosen = &spec["selector"];
    if chosen.is_null() {
        // The schema has said that it is required.
        return Vec::new();
    }
    let mut causes = selector("spec.selector", chosen);
    if is_empty_selector(chosen) {
        let detail = format!("empty selector is invalid for {of}");
        causes.push(Cause::invalid("spec.selector", chosen, &detail));
    } else {
        causes.extend(matches_template(spec, chosen));
    }
    causes
}

fn matches_template(spec: &Value, chosen: &Value) -> Option<Cause> {
    let labels = &spec["template"]["metadata"]["labels"];
    let fits = LabelSelector::of(chosen).matches(labels);
    let detail = "`selector` does not match template `labels`";
    (!fits).then(|| Cause::invalid("spec.template.metadata.labels", labels, detail))
}

/// A template of pods that run until they are deleted.
fn always(spec: &Value, of: &str) -> Vec<Cause> {
    let template = &spec["template"];
    let mut causes = pod::template(template, "spec.template");
    let policy = &template["spec"]["restartPolicy"];
    if policy.is_string() && policy != "Always" {
        let field = "spec.template.spec.restartPolicy";
        causes.push(Cause::not_supported(field, policy, &["Always"]));
    }
    if !template["spec"]["activeDeadlineSeconds"].is_null() {
        let detail = format!("activeDeadlineSeconds in {of} is not Supported");
        causes.push(Cause::forbidden("spec.template.spec.activeDeadlineSeconds", &detail));
    }
    causes
}
