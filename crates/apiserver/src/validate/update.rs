//! What an update may not change.
use serde_json::Value;

use crate::crd;
use crate::refusal::Cause;
use crate::resource::{Resource, Rules};

/// What is wrong with turning `old` into `new`.
pub(super) fn causes(resource: &Resource, new: &Value, old: &Value) -> Vec<Cause> {
    let check = CHECKS.iter().find(|(rules, _)| *rules == resource.rules);
    check.map_or_else(Vec::new, |(_, check)| check(new, old))
}

/// What is wrong with a change: of what, from what.
type Check = fn(&Value, &Value) -> Vec<Cause>;

const CHECKS: &[(Rules, Check)] = &[
    (Rules::ConfigMap, immutable_content),
    (Rules::ControllerRevision, |new, old| unchanged("data", new, old)),
    (Rules::DaemonSet, |new, old| unchanged("spec.selector", new, old)),
    (Rules::Definition, crd::definition::update_causes),
    (Rules::Deployment, |new, old| unchanged("spec.selector", new, old)),
    (Rules::EndpointSlice, |new, old| unchanged("addressType", new, old)),
    (Rules::IngressClass, |new, old| unchanged("spec.controller", new, old)),
    (Rules::IpAddress, |new, old| unchanged("spec.parentRef", new, old)),
    (Rules::Job, job),
    (Rules::Node, |new, old| node(&new["spec"], &old["spec"])),
    (Rules::PersistentVolumeClaim, claim),
    (Rules::Pod, |new, old| pod(&new["spec"], &old["spec"])),
    (Rules::PriorityClass, priority_class),
    (Rules::ReplicaSet, |new, old| unchanged("spec.selector", new, old)),
    (Rules::RoleBinding, role_binding),
    (Rules::RuntimeClass, |new, old| unchanged("handler", new, old)),
    (Rules::Secret, |new, old| [immutable_content(new, old), unchanged("type", new, old)].concat()),
    (Rules::Service, super::service::update_causes),
    (Rules::ServiceCidr, service_cidr),
    (Rules::StatefulSet, stateful_set),
    (Rules::StorageClass, storage_class),
];

/// The field at a path with dots stays as it is.
fn unchanged(path: &str, new: &Value, old: &Value) -> Vec<Cause> {
    let now = path.split('.').fold(new, |value, part| &value[part]);
    let before = path.split('.').fold(old, |value, part| &value[part]);
    if now == before {
        return Vec::new();
    }
    vec![Cause::invalid(path, now, "field is immutable")]
}

/// What a job runs and how it counts is given once; where its pods may go, until it starts.
///
/// Source: pkg/apis/batch/validation, `ValidateJobSpecUpdate`.
fn job(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let fields = [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ];
    for field in fields {
        causes.extend(unchanged(&format!("spec.{field}"), new, old));
    }
    let elastic = new["spec"]["completionMode"] == "Indexed"
        && new["spec"]["completions"] == new["spec"]["parallelism"];
    if !elastic {
        causes.extend(unchanged("spec.completions", new, old));
    }
    let (mut now, mut before) = (new["spec"]["template"].clone(), old["spec"]["template"].clone());
    if old["spec"]["suspend"] == true && old["status"]["startTime"].is_null() {
        for template in [&mut now, &mut before] {
            let place = ["nodeSelector", "affinity", "tolerations", "schedulingGates"];
            for (part, fields) in [("spec", &place[..]), ("metadata", &["labels", "annotations"])] {
                let Some(part) = template[part].as_object_mut() else { continue };
                part.retain(|field, _| !fields.contains(&field.as_str()));
            }
        }
    }
    if now != before {
        let template = &new["spec"]["template"];
        causes.push(Cause::invalid("spec.template", template, "field is immutable"));
    }
    causes
}

/// Source: pkg/apis/apps/validation, `ValidateStatefulSetUpdate`.
fn stateful_set(new: &Value, old: &Value) -> Vec<Cause> {
    let fixed = ["selector", "serviceName", "volumeClaimTemplates", "podManagementPolicy"];
    if fixed.iter().all(|field| new["spec"][*field] == old["spec"][*field]) {
        return Vec::new();
    }
    let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', \
                  'template', 'updateStrategy', 'revisionHistoryLimit', \
                  'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    vec![Cause::forbidden("spec", detail)]
}

fn role_binding(new: &Value, old: &Value) -> Vec<Cause> {
    if new["roleRef"] == old["roleRef"] {
        return Vec::new();
    }
    vec![Cause::invalid("roleRef", &new["roleRef"], "cannot change roleRef")]
}

fn priority_class(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = unchanged("preemptionPolicy", new, old);
    if new["value"] != old["value"] {
        causes.push(Cause::forbidden("value", "may not be changed in an update."));
    }
    causes
}

fn storage_class(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = unchanged("volumeBindingMode", new, old);
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        if new[field] != old[field] {
            let detail = format!("updates to {field} are forbidden.");
            causes.push(Cause::forbidden(field, &detail));
        }
    }
    causes
}

/// Of a claim, the size it asks for may change.
fn claim(new: &Value, old: &Value) -> Vec<Cause> {
    let mut comparable = new["spec"].clone();
    for field in ["resources", "volumeAttributesClassName"] {
        comparable[field] = old["spec"][field].clone();
    }
    if let Some(fields) = comparable.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    if comparable == old["spec"] {
        return Vec::new();
    }
    let detail = "spec is immutable after creation except resources.requests and \
                  volumeAttributesClassName for bound claims";
    vec![Cause::forbidden("spec", detail)]
}

/// A range of the other family may be added.
///
/// Source: pkg/apis/networking/validation, `ValidateServiceCIDRUpdate`.
fn service_cidr(new: &Value, old: &Value) -> Vec<Cause> {
    let list = |value: &Value| value["spec"]["cidrs"].as_array().cloned().unwrap_or_default();
    let (now, before) = (list(new), list(old));
    if now.len() == before.len() || (before.len() == 1 && now.len() == 2) {
        let changed = before.iter().enumerate().filter(|(n, one)| now[*n] != **one);
        let field = |n: usize| format!("spec.cidrs[{n}]");
        return changed
            .map(|(n, _)| Cause::invalid(field(n), &now[n], "field is immutable"))
            .collect();
    }
    vec![Cause::invalid("spec.cidrs", &new["spec"]["cidrs"], "field is immutable")]
}

/// A pod's specification is what it runs as. Images, a nearer deadline, more tolerations and fewer
/// scheduling gates are the exceptions.
///
/// Source: pkg/apis/core/validation, `ValidatePodUpdate`.
fn pod(new: &Value, old: &Value) -> Vec<Cause> {
    let mut comparable = new.clone();
    for list in ["initContainers", "containers"] {
        let (Some(now), Some(before)) = (comparable[list].as_array_mut(), old[list].as_array())
        else {
            continue;
        };
        if now.len() != before.len() {
            let detail = "pod updates may not add or remove containers";
            return vec![Cause::forbidden(format!("spec.{list}"), detail)];
        }
        for (now, before) in now.iter_mut().zip(before) {
            now["image"] = before["image"].clone();
        }
    }
    let mut causes = Vec::new();
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        causes.extend(pod_exception(field, &new[field], &old[field]));
        comparable[field] = old[field].clone();
    }
    let grace = "terminationGracePeriodSeconds";
    if old[grace].as_i64().is_some_and(|seconds| seconds < 0) && new[grace] == 1 {
        comparable[grace] = old[grace].clone();
    }
    let without_nulls = |spec: &Value| -> Vec<(String, Value)> {
        let fields = spec.as_object().into_iter().flatten();
        fields.filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    if without_nulls(&comparable) != without_nulls(old) {
        let detail = "pod updates may not change fields other than \
            `spec.containers[*].image`,`spec.initContainers[*].image`,\
            `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
            tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
            previously negative)";
        causes.push(Cause::forbidden("spec", detail));
    }
    causes
}

/// Ephemeral containers are added, never changed or removed.
///
/// Source: pkg/apis/core/validation, `ValidatePodEphemeralContainersUpdate`.
pub(super) fn ephemeral(new: &Value, old: &Value) -> Vec<Cause> {
    let list = |pod: &Value| pod["spec"]["ephemeralContainers"].as_array().cloned();
    let now = list(new).unwrap_or_default();
    let mut causes = Vec::new();
    for before in list(old).unwrap_or_default() {
        let problem = match now.iter().find(|container| container["name"] == before["name"]) {
            Some(container) if *container == before => continue,
            Some(_) => "changed",
            None => "removed",
        };
        let detail =
            format!("existing ephemeral containers {} may not be {problem}", before["name"]);
        causes.push(Cause::forbidden("spec.ephemeralContainers", &detail));
    }
    causes
}

/// Whether one of the fields that may change did so in the way it may.
fn pod_exception(field: &str, new: &Value, old: &Value) -> Option<Cause> {
    let path = format!("spec.{field}");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    match field {
        "activeDeadlineSeconds" => {
            let later = match (new.as_i64(), old.as_i64()) {
                (Some(new), Some(old)) => new > old,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            let detail = "must be less than or equal to previous value";
            later.then(|| Cause::invalid(path, new, detail))
        }
        "tolerations" => {
            let now = list(new);
            let lost = list(old).iter().any(|toleration| !now.contains(toleration));
            let detail = "existing toleration can not be modified except its tolerationSeconds";
            lost.then(|| Cause::forbidden(path, detail))
        }
        _ => {
            let before = list(old);
            let added = list(new).iter().any(|gate| !before.contains(gate));
            let detail = "only deletion is allowed, but found new scheduling gate";
            added.then(|| Cause::forbidden(path, detail))
        }
    }
}

/// A node's addresses for pods are given once.
fn node(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["podCIDRs", "providerID"] {
        let before = &old[field];
        let given = before.as_array().map_or(before.is_string(), |list| !list.is_empty());
        if given && new[field] != *before {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            causes.push(Cause::forbidden(format!("spec.{field}"), detail));
        }
    }
    causes
}

fn immutable_content(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if old["immutable"] == true {
        for field in ["data", "binaryData", "immutable"] {
            if new[field] != old[field] {
                causes.push(Cause::forbidden(field, "field is immutable when `immutable` is set"));
            }
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_pods_specification_only_the_exceptions_may_change() {
        let old = json!({
            "containers": [{"name": "a", "image": "1"}], "activeDeadlineSeconds": 60,
            "tolerations": [{"key": "x"}], "schedulingGates": [{"name": "g"}], "nodeName": "n",
        });
        let cases = [
            ("nothing", json!({}), ""),
            ("an image", json!({"containers": [{"name": "a", "image": "2"}]}), ""),
            ("a nearer deadline", json!({"activeDeadlineSeconds": 30}), ""),
            (
                "a later deadline",
                json!({"activeDeadlineSeconds": 90}),
                "spec.activeDeadlineSeconds",
            ),
            ("one more toleration", json!({"tolerations": [{"key": "x"}, {"key": "y"}]}), ""),
            ("one toleration less", json!({"tolerations": []}), "spec.tolerations"),
            ("one gate less", json!({"schedulingGates": []}), ""),
            (
                "one more gate",
                json!({"schedulingGates": [{"name": "g"}, {"name": "h"}]}),
                "spec.schedulingGates",
            ),
            (
                "a command",
                json!({"containers": [{"name": "a", "image": "1", "command": ["x"]}]}),
                "spec",
            ),
            ("a container", json!({"containers": []}), "spec.containers"),
            ("the node", json!({"nodeName": "m"}), "spec"),
        ];
        for (claim, change, field) in cases {
            let mut new = old.clone();
            for (name, value) in change.as_object().unwrap() {
                new[name] = value.clone();
            }
            let lines: Vec<String> = pod(&new, &old).iter().map(Cause::line).collect();
            let fields: Vec<&str> =
                lines.iter().map(|line| line.split(':').next().unwrap()).collect();
            assert_eq!(fields.join(","), field, "{claim}: {lines:?}");
        }
    }
}
