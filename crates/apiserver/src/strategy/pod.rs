//! Defaults of pods and of the templates they are made from.
//!
//! Source: Kubernetes pkg/apis/core/v1/defaults.go.
use serde_json::{Value, json};

use super::defaults::drop_nulls;

/// Completes a new pod, once [`complete`] has been over it.
pub(super) fn new(value: &mut Value) {
    let spec = &mut value["spec"];
    let class = qos_class(spec);
    value["status"] = json!({"phase": "Pending", "qosClass": class});
}

/// Completes a new or changed pod.
///
/// Source: pkg/apis/core/v1 `SetDefaults_Pod`, `SetDefaults_PodSpec`.
pub(super) fn complete(value: &mut Value) {
    let spec = &mut value["spec"];
    specification(spec);
    if spec["enableServiceLinks"].is_null() {
        spec["enableServiceLinks"] = json!(true);
    }
    let host_network = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            take_resources(container, host_network);
        }
    }
    drop_nulls(spec);
}

/// Completes a pod template.
pub(super) fn template(value: &mut Value) {
    if let Some(spec) = value.get_mut("spec").filter(|spec| spec.is_object()) {
        specification(spec);
    }
    drop_nulls(value);
}

/// What pods and templates have in common.
fn specification(spec: &mut Value) {
    // The older of the two names follows the newer.
    if spec["serviceAccountName"].as_str().unwrap_or("").is_empty() {
        spec["serviceAccountName"] = spec["serviceAccount"].clone();
    }
    spec["serviceAccount"] = spec["serviceAccountName"].clone();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            if container["imagePullPolicy"].as_str().unwrap_or("").is_empty()
                && let Some(image) = container["image"].as_str()
            {
                container["imagePullPolicy"] = json!(pull_policy(image));
            }
            drop_nulls(container);
        }
    }
    // Indexing has made nulls of what is missing.
    drop_nulls(spec);
}

/// Ports of the node's network are the node's, and a limit is a request.
fn take_resources(container: &mut Value, host_network: bool) {
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
