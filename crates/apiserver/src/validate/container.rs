//! Rules for containers.
//!
//! Source: Kubernetes pkg/apis/core/validation/validation.go, `validateContainerCommon`.
use serde_json::{Value, json};

use super::value::{all_non_negative, port, port_number};
use super::{name, resources};
use crate::refusal::Cause;

/// What is wrong with a container of any sort.
pub(super) fn causes(spec: &Value, container: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let given = text(&container["name"]);
    if let Some(problem) = name::label(&given).filter(|_| !given.is_empty()) {
        causes.push(Cause::invalid(format!("{path}.name"), &container["name"], &problem));
    }
    let image = text(&container["image"]);
    if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        causes.push(Cause::invalid(format!("{path}.image"), &container["image"], detail));
    }
    causes.extend(ports(container, path));
    causes.extend(env(container, path));
    causes.extend(mounts(spec, container, path));
    for probe in PROBES {
        causes.extend(self::probe(probe, &container[probe], &format!("{path}.{probe}")));
    }
    for hook in ["postStart", "preStop"] {
        let path = format!("{path}.lifecycle.{hook}");
        causes.extend(action(&container["lifecycle"][hook], &path));
    }
    causes.extend(users(&container["securityContext"], &format!("{path}.securityContext")));
    causes.extend(resources::causes(&container["resources"], &format!("{path}.resources")));
    causes
}

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// An init container that is not a sidecar is done before anyone could ask how it is.
pub(super) fn init_causes(container: &Value, path: &str) -> Vec<Cause> {
    let sidecar = container["restartPolicy"] == "Always";
    let fields = PROBES.iter().chain(&["lifecycle"]);
    let set = fields.filter(|field| !sidecar && !container[**field].is_null());
    let detail = "may not be set for init containers without restartPolicy=Always";
    set.map(|field| Cause::forbidden(format!("{path}.{field}"), detail)).collect()
}

/// An ephemeral container is for looking: nothing may come to rely on it.
pub(super) fn ephemeral_causes(spec: &Value, container: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let empty = |value: &Value| {
        value.is_null()
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    let detail = "cannot be set for an Ephemeral Container";
    for field in PROBES.iter().chain(&["ports", "resources", "lifecycle", "resizePolicy"]) {
        if !empty(&container[*field]) {
            causes.push(Cause::forbidden(format!("{path}.{field}"), detail));
        }
    }
    let target = &container["targetContainerName"];
    let lists = ["containers", "initContainers"].iter();
    let mut others = lists.filter_map(|list| spec[*list].as_array()).flatten();
    let named = target.as_str().is_some_and(|target| !target.is_empty());
    if named && !others.any(|other| other["name"] == *target) {
        causes.push(Cause::not_found(format!("{path}.targetContainerName"), target));
    }
    causes
}

fn mounts(spec: &Value, container: &Value, path: &str) -> Vec<Cause> {
    let mounts = container["volumeMounts"].as_array().map_or(&[][..], Vec::as_slice);
    let mut causes = Vec::new();
    for (n, mount) in mounts.iter().enumerate() {
        let path = format!("{path}.volumeMounts[{n}]");
        let known = |volume: &Value| volume["name"] == mount["name"];
        let named = mount["name"].as_str().is_some_and(|name| !name.is_empty());
        if named && !spec["volumes"].as_array().is_some_and(|volumes| volumes.iter().any(known)) {
            causes.push(Cause::not_found(format!("{path}.name"), &mount["name"]));
        }
        let place = &mount["mountPath"];
        if mounts[..n].iter().any(|other| other["mountPath"] == *place) {
            causes.push(Cause::invalid(format!("{path}.mountPath"), place, "must be unique"));
        }
        for field in ["subPath", "subPathExpr"] {
            let inside = mount[field].as_str().unwrap_or("");
            let detail = if inside.starts_with('/') {
                "must be a relative path"
            } else if inside.split('/').any(|part| part == "..") {
                "must not contain '..'"
            } else {
                continue;
            };
            causes.push(Cause::invalid(format!("{path}.{field}"), &mount[field], detail));
        }
    }
    causes
}

fn ports(container: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut names: Vec<&Value> = Vec::new();
    for (n, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.ports[{n}]");
        for field in ["containerPort", "hostPort"] {
            let number = &port[field];
            let unset = number.is_null() || (field == "hostPort" && number.as_i64() == Some(0));
            if !unset && let Some(problem) = port_number(number) {
                causes.push(Cause::invalid(format!("{path}.{field}"), number, problem));
            }
        }
        let Some(given) = port["name"].as_str().filter(|given| !given.is_empty()) else {
            continue;
        };
        if let Some(problem) = name::port_name(given) {
            causes.push(Cause::invalid(format!("{path}.name"), &port["name"], &problem));
        }
        if names.contains(&&port["name"]) {
            causes.push(Cause::duplicate(format!("{path}.name"), &port["name"]));
        }
        names.push(&port["name"]);
    }
    causes
}

fn env(container: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (n, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.env[{n}]");
        let given = variable["name"].as_str().unwrap_or("");
        if let Some(problem) = name::env_name(given).filter(|_| !given.is_empty()) {
            causes.push(Cause::invalid(format!("{path}.name"), &variable["name"], &problem));
        }
        let Some(from) = variable["valueFrom"].as_object() else { continue };
        let path = format!("{path}.valueFrom");
        if !variable["value"].as_str().unwrap_or("").is_empty() {
            let detail = "may not be specified when `value` is not empty";
            causes.push(Cause::invalid(path, &json!(""), detail));
        } else if from.len() != 1 {
            let detail = "must specify exactly one of: `fieldRef`, `resourceFieldRef`, \
                          `configMapKeyRef` or `secretKeyRef`";
            causes.push(Cause::invalid(path, &json!(""), detail));
        }
    }
    causes
}

fn probe(of: &str, probe: &Value, path: &str) -> Vec<Cause> {
    if probe.is_null() {
        return Vec::new();
    }
    let mut causes = action(probe, path);
    let fields = [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ];
    causes.extend(all_non_negative(path, probe, &fields));
    let grace = &probe["terminationGracePeriodSeconds"];
    let field = format!("{path}.terminationGracePeriodSeconds");
    if of == "readinessProbe" {
        if !grace.is_null() {
            let detail = "must not be set for readinessProbes";
            causes.push(Cause::invalid(field, grace, detail));
        }
        return causes;
    }
    if grace.as_i64().is_some_and(|seconds| seconds <= 0) {
        causes.push(Cause::invalid(field, grace, "must be greater than 0"));
    }
    let successes = &probe["successThreshold"];
    if successes.as_i64().is_some_and(|number| number != 1) {
        causes.push(Cause::invalid(format!("{path}.successThreshold"), successes, "must be 1"));
    }
    causes
}

/// What a probe or a hook does: one thing.
fn action(of: &Value, path: &str) -> Vec<Cause> {
    let Some(fields) = of.as_object() else { return Vec::new() };
    let known = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
    let mut given = known.iter().filter(|action| fields.contains_key(**action));
    let Some(first) = given.next() else {
        return vec![Cause::required(path, "must specify a handler type")];
    };
    let mut causes = Vec::new();
    for more in given {
        let detail = "may not specify more than 1 handler type";
        causes.push(Cause::forbidden(format!("{path}.{more}"), detail));
    }
    let (action, path) = (&of[*first], format!("{path}.{first}"));
    match *first {
        "exec" if action["command"].as_array().is_none_or(Vec::is_empty) => {
            causes.push(Cause::required(format!("{path}.command"), ""));
        }
        "httpGet" | "tcpSocket" | "grpc" => {
            let number = if action["port"].is_null() { &json!(0) } else { &action["port"] };
            causes.extend(port(format!("{path}.port"), number));
        }
        _ => {}
    }
    causes
}

/// Identities that processes may have.
pub(super) fn users(context: &Value, path: &str) -> Vec<Cause> {
    let good = |id: &Value| id.as_i64().is_none_or(|id| (0..=i64::from(i32::MAX)).contains(&id));
    let detail = "must be between 0 and 2147483647, inclusive";
    let mut causes = Vec::new();
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        if !good(&context[field]) {
            causes.push(Cause::invalid(format!("{path}.{field}"), &context[field], detail));
        }
    }
    let groups = context["supplementalGroups"].as_array().into_iter().flatten().enumerate();
    for (n, group) in groups.filter(|(_, group)| !good(group)) {
        causes.push(Cause::invalid(format!("{path}.supplementalGroups[{n}]"), group, detail));
    }
    let privileged = context["privileged"] == true;
    if privileged && context["allowPrivilegeEscalation"] == false {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        causes.push(Cause::invalid(path, context, detail));
    }
    causes
}
