//! Defaults that depend on other fields.
//!
//! Source: Kubernetes pkg/apis/core/v1/defaults.go and the strategies of pkg/registry/core.
use base64::Engine;
use serde_json::{Value, json};

use crate::resource::{Resource, Rules};

/// How many seconds a pod stays on a node that fails.
const EVICTION_SECONDS: u64 = 300;

/// Completes a new object of a kind with rules of its own.
pub(super) fn complete(resource: &Resource, value: &mut Value) {
    every(resource, value);
    let step = NEW.iter().find(|(rules, _)| *rules == resource.rules);
    if let Some((_, step)) = step {
        step(value);
    }
}

/// Completes an updated object of a kind with rules of its own.
pub(super) fn complete_update(resource: &Resource, new: &mut Value, old: &Value) {
    if resource.rules == Rules::Namespace {
        new["metadata"]["labels"]["kubernetes.io/metadata.name"] = old["metadata"]["name"].clone();
    }
    every(resource, new);
}

fn every(resource: &Resource, value: &mut Value) {
    let step = EVERY.iter().find(|(rules, _)| *rules == resource.rules);
    if let Some((_, step)) = step {
        step(value);
    }
}

type Step = fn(&mut Value);

/// What is done to new objects only.
const NEW: &[(Rules, Step)] = &[(Rules::Namespace, namespace), (Rules::Pod, new_pod)];

/// What is done to new and changed objects.
const EVERY: &[(Rules, Step)] = &[
    (Rules::NetworkPolicy, policy_types),
    (Rules::Node, pod_cidrs),
    (Rules::Pod, pod),
    (Rules::Secret, secret),
    (Rules::Service, service),
];

fn namespace(value: &mut Value) {
    let name = value["metadata"]["name"].clone();
    value["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    value["spec"]["finalizers"] = json!(["kubernetes"]);
    value["status"] = json!({"phase": "Active"});
}

/// `podCIDR` and the first of `podCIDRs` are one thing.
fn pod_cidrs(node: &mut Value) {
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

fn new_pod(value: &mut Value) {
    let spec = &mut value["spec"];
    if spec["serviceAccountName"].as_str().unwrap_or("").is_empty() {
        spec["serviceAccountName"] = json!("default");
    }
    spec["serviceAccount"] = spec["serviceAccountName"].clone();
    spec["priority"] = json!(spec["priority"].as_i64().unwrap_or(0));
    if spec["preemptionPolicy"].is_null() {
        spec["preemptionPolicy"] = json!("PreemptLowerPriority");
    }
    tolerate(spec, "node.kubernetes.io/not-ready");
    tolerate(spec, "node.kubernetes.io/unreachable");
    let class = qos_class(spec);
    value["status"] = json!({"phase": "Pending", "qosClass": class});
}

/// Adds the toleration of a failing node that every pod gets.
///
/// Source: admission plugin `DefaultTolerationSeconds`.
fn tolerate(spec: &mut Value, key: &str) {
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    let covers = |toleration: &Value| {
        let effect = toleration["effect"].as_str().unwrap_or("");
        let all = toleration["key"].as_str().unwrap_or("").is_empty();
        (all || toleration["key"] == key) && (effect.is_empty() || effect == "NoExecute")
    };
    if !tolerations.iter().any(covers) {
        tolerations.push(json!({
            "key": key, "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": EVICTION_SECONDS,
        }));
    }
    spec["tolerations"] = json!(tolerations);
}

fn pod(value: &mut Value) {
    let spec = &mut value["spec"];
    let host_network = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            complete_container(container, host_network);
        }
    }
    // Indexing has made nulls of what is missing.
    drop_nulls(spec);
}

fn complete_container(container: &mut Value, host_network: bool) {
    if container["imagePullPolicy"].as_str().unwrap_or("").is_empty()
        && let Some(image) = container["image"].as_str()
    {
        container["imagePullPolicy"] = json!(pull_policy(image));
    }
    for port in container["ports"].as_array_mut().into_iter().flatten() {
        if host_network && port["hostPort"].as_i64().unwrap_or(0) == 0 {
            port["hostPort"] = port["containerPort"].clone();
        }
        drop_nulls(port);
    }
    let limits = container["resources"]["limits"].clone();
    for (resource, limit) in limits.as_object().into_iter().flatten() {
        if container["resources"]["requests"][resource].is_null() {
            container["resources"]["requests"][resource] = limit.clone();
        }
    }
    drop_nulls(&mut container["resources"]);
    drop_nulls(container);
}

/// `Always` for an image without a fixed version.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or(image);
    let tag = name.split_once(':').map_or("latest", |(_, tag)| tag);
    if image.contains('@') || tag != "latest" { "IfNotPresent" } else { "Always" }
}

/// The class that decides who is killed first.
///
/// Source: Kubernetes "Pod Quality of Service Classes".
fn qos_class(spec: &Value) -> &'static str {
    let lists = ["initContainers", "containers"];
    let containers: Vec<&Value> =
        lists.iter().filter_map(|list| spec[list].as_array()).flatten().collect();
    let counted = |container: &Value, kind: &str| -> usize {
        let amounts = &container["resources"][kind];
        ["cpu", "memory"].iter().filter(|resource| !amounts[resource].is_null()).count()
    };
    let same = |container: &Value| {
        let resources = &container["resources"];
        ["cpu", "memory"].iter().all(|r| resources["limits"][r] == resources["requests"][r])
    };
    if containers.iter().all(|c| counted(c, "limits") == 0 && counted(c, "requests") == 0) {
        "BestEffort"
    } else if containers.iter().all(|c| counted(c, "limits") == 2 && same(c)) {
        "Guaranteed"
    } else {
        "Burstable"
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

fn service(value: &mut Value) {
    let spec = &mut value["spec"];
    let external = matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    if external && spec["externalTrafficPolicy"].is_null() {
        spec["externalTrafficPolicy"] = json!("Cluster");
    }
    if spec["type"] == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"].is_null() {
        spec["allocateLoadBalancerNodePorts"] = json!(true);
    }
    if spec["type"] != "ExternalName" && spec["internalTrafficPolicy"].is_null() {
        spec["internalTrafficPolicy"] = json!("Cluster");
    }
    if spec["sessionAffinity"] == "ClientIP"
        && spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null()
    {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10800}});
    }
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        if port["targetPort"].is_null() {
            port["targetPort"] = port["port"].clone();
        }
    }
    drop_nulls(spec);
    if value["status"].is_null() {
        value["status"] = json!({"loadBalancer": {}});
    }
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

fn drop_nulls(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}
