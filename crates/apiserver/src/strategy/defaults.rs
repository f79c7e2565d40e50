//! Defaults that depend on other fields.
//!
//! Source: Kubernetes pkg/apis/core/v1/defaults.go and the strategies of pkg/registry/core.
use base64::Engine;
use serde_json::{Map, Value, json};

use super::{pod, service, workloads};
use crate::crd;
use crate::resource::{Resource, Rules};

/// Completes a new object of a kind with rules of its own.
pub(super) fn complete(resource: &Resource, value: &mut Value) {
    for (_, step) in EVERY.iter().chain(NEW).filter(|(rules, _)| *rules == resource.rules) {
        step(value);
    }
}

/// Completes an updated object of a kind with rules of its own.
pub(super) fn complete_update(resource: &Resource, new: &mut Value, old: &Value) {
    for (_, step) in EVERY.iter().filter(|(rules, _)| *rules == resource.rules) {
        step(new);
    }
    for (_, step) in CHANGED.iter().filter(|(rules, _)| *rules == resource.rules) {
        step(new, old);
    }
}

type Step = fn(&mut Value);
type Change = fn(&mut Value, &Value);

/// What is done to new objects only, last.
const NEW: &[(Rules, Step)] = &[
    (Rules::Job, workloads::new_job),
    (Rules::Namespace, namespace),
    (Rules::PersistentVolume, |volume| volume["status"] = json!({"phase": "Pending"})),
    (Rules::PersistentVolumeClaim, |claim| claim["status"] = json!({"phase": "Pending"})),
    (Rules::Pod, pod::new),
    (Rules::Service, service::new),
];

/// What is done to new and changed objects.
const EVERY: &[(Rules, Step)] = &[
    (Rules::CronJob, workloads::cron_job),
    (Rules::DaemonSet, workloads::daemon_set),
    (Rules::Definition, crd::definition::complete),
    (Rules::Deployment, workloads::deployment),
    (Rules::EndpointSlice, endpoint_slice),
    (Rules::HorizontalPodAutoscaler, autoscaler),
    (Rules::Job, workloads::job),
    (Rules::LimitRange, limit_range),
    (Rules::NetworkPolicy, policy_types),
    (Rules::Node, node),
    (Rules::Pod, pod::complete),
    (Rules::PodTemplate, |object| pod::template(&mut object["template"])),
    (Rules::ReplicaSet, workloads::replica_set),
    (Rules::ReplicationController, workloads::replication_controller),
    (Rules::RoleBinding, role_binding),
    (Rules::Secret, secret),
    (Rules::Service, service::complete),
    (Rules::StatefulSet, workloads::stateful_set),
];

/// What is done to changed objects only, last: to what, from what.
const CHANGED: &[(Rules, Change)] = &[
    (Rules::Namespace, |new, old| {
        new["metadata"]["labels"]["kubernetes.io/metadata.name"] = old["metadata"]["name"].clone();
    }),
    (Rules::Service, service::carry_over),
];

fn namespace(value: &mut Value) {
    let name = value["metadata"]["name"].clone();
    value["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    value["spec"]["finalizers"] = json!(["kubernetes"]);
    value["status"] = json!({"phase": "Active"});
}

/// `podCIDR` and the first of `podCIDRs` are one thing; what a node has it may give.
fn node(node: &mut Value) {
    if node["status"]["allocatable"].is_null() && node["status"]["capacity"].is_object() {
        node["status"]["allocatable"] = node["status"]["capacity"].clone();
    }
    drop_nulls(node);
    let Some(spec) = node.get_mut("spec") else { return };
    let first = spec["podCIDR"].clone();
    if first.is_string() && spec["podCIDRs"].as_array().is_none_or(Vec::is_empty) {
        spec["podCIDRs"] = json!([first]);
    } else if spec["podCIDR"].is_null() && spec["podCIDRs"][0].is_string() {
        spec["podCIDR"] = spec["podCIDRs"][0].clone();
    }
    if let Some(fields) = spec.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}

/// `stringData` is a way to write `data`.
fn secret(value: &mut Value) {
    let texts = value.as_object_mut().and_then(|fields| fields.remove("stringData"));
    for (key, text) in texts.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let text = text.as_str().unwrap_or("");
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        value["data"][key] = json!(encoded);
    }
}

/// A port of a slice has a name, if only the empty one.
///
/// Source: pkg/apis/discovery/v1 `SetDefaults_EndpointPort`.
fn endpoint_slice(slice: &mut Value) {
    for port in slice["ports"].as_array_mut().into_iter().flatten() {
        if port["name"].is_null() {
            port["name"] = json!("");
        }
    }
    drop_nulls(slice);
}

/// Users and groups are RBAC's own; so are roles.
fn role_binding(binding: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let unset = |value: &Value| value.as_str().unwrap_or("").is_empty();
    if binding["roleRef"].is_object() && unset(&binding["roleRef"]["apiGroup"]) {
        binding["roleRef"]["apiGroup"] = json!(GROUP);
    }
    for subject in binding["subjects"].as_array_mut().into_iter().flatten() {
        let own = matches!(subject["kind"].as_str(), Some("User" | "Group"));
        if own && unset(&subject["apiGroup"]) {
            subject["apiGroup"] = json!(GROUP);
        }
        drop_nulls(subject);
    }
    drop_nulls(binding);
}

/// A container's default is its maximum, its default request the default or the minimum.
///
/// Source: pkg/apis/core/v1 `SetDefaults_LimitRangeItem`.
fn limit_range(range: &mut Value) {
    for item in range["spec"]["limits"].as_array_mut().into_iter().flatten() {
        if item["type"] == "Container" {
            for (to, from) in
                [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")]
            {
                inherit(item, to, from);
            }
        }
        drop_nulls(item);
    }
    drop_nulls(range);
}

/// Copies to one map of quantities what only another has.
fn inherit(item: &mut Value, to: &str, from: &str) {
    let source = item[from].as_object().cloned().unwrap_or_default();
    for (resource, amount) in source {
        if item[to][&resource].is_null() {
            item[to][&resource] = amount;
        }
    }
}

/// Without metrics, an autoscaler looks at 80% of the CPU requested; a behavior is whole.
///
/// Source: pkg/apis/autoscaling/v2/defaults.go.
fn autoscaler(value: &mut Value) {
    let Some(spec) = value.get_mut("spec") else { return };
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        spec["metrics"] =
            json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    }
    if spec["behavior"].is_object() {
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let up = json!({
            "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [pods, percent],
        });
        let down = json!({"selectPolicy": "Max", "policies": [percent]});
        for (rules, otherwise) in [("scaleUp", up), ("scaleDown", down)] {
            let given = spec["behavior"][rules].as_object().cloned().unwrap_or_default();
            let mut whole = otherwise.as_object().cloned().unwrap_or_else(Map::new);
            whole.extend(given);
            spec["behavior"][rules] = Value::Object(whole);
        }
    }
    drop_nulls(spec);
}

/// Without `policyTypes`, a policy is about ingress, and about egress if it has such rules.
fn policy_types(value: &mut Value) {
    let spec = &mut value["spec"];
    if spec["policyTypes"].as_array().is_none_or(Vec::is_empty) {
        let egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
        spec["policyTypes"] =
            if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
    drop_nulls(spec);
}

pub(super) fn drop_nulls(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}
