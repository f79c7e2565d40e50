//! Rules for pods.
//!
//! Source: Kubernetes pkg/apis/core/validation/validation.go, `ValidatePodSpec`.
use serde_json::{Value, json};

use super::name;
use crate::refusal::Cause;

/// What is wrong with a pod's specification.
pub(super) fn causes(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if spec.is_null() {
        causes.push(Cause::required("spec.containers", ""));
        return causes;
    }
    for field in ["hostname", "subdomain"] {
        if let Some(text) = spec[field].as_str().filter(|text| !text.is_empty())
            && let Some(problem) = name::label(text)
        {
            causes.push(Cause::invalid(format!("spec.{field}"), &spec[field], &problem));
        }
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64().filter(|seconds| *seconds < 1) {
        let detail = "must be between 1 and 2147483647, inclusive";
        causes.push(Cause::invalid("spec.activeDeadlineSeconds", &json!(seconds), detail));
    }
    if let Some(seconds) = spec["terminationGracePeriodSeconds"].as_i64().filter(|s| *s < 0) {
        let detail = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.terminationGracePeriodSeconds", &json!(seconds), detail));
    }
    causes.extend(volumes(spec));
    let mut names = Vec::new();
    for list in ["initContainers", "containers"] {
        for (n, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let path = format!("spec.{list}[{n}]");
            causes.extend(self::container(spec, container, &path));
            // Within a list the schema finds a name that is there twice.
            let name = &container["name"];
            if list == "containers" && names.contains(&name) {
                causes.push(Cause::duplicate(format!("{path}.name"), name));
            }
            if list == "initContainers" {
                names.push(name);
            }
        }
    }
    causes.extend(host_ports(spec));
    causes.extend(dns(spec));
    causes
}

fn volumes(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (n, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.volumes[{n}]");
        if let Some(problem) = volume["name"].as_str().and_then(name::label) {
            causes.push(Cause::invalid(format!("{path}.name"), &volume["name"], &problem));
        }
        let sources = volume.as_object().map_or(0, |v| v.keys().filter(|k| *k != "name").count());
        match sources {
            0 => causes.push(Cause::required(path, "must specify a volume type")),
            1 => {}
            _ => causes.push(Cause::forbidden(path, "may not specify more than 1 volume type")),
        }
    }
    causes
}

fn container(spec: &Value, container: &Value, path: &str) -> Vec<Cause> {
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
    for (n, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let known = |volume: &Value| volume["name"] == mount["name"];
        if !spec["volumes"].as_array().is_some_and(|volumes| volumes.iter().any(known)) {
            let path = format!("{path}.volumeMounts[{n}].name");
            causes.push(Cause::not_found(path, &mount["name"]));
        }
        let before = container["volumeMounts"].as_array().into_iter().flatten().take(n);
        if before.into_iter().any(|other| other["mountPath"] == mount["mountPath"]) {
            let path = format!("{path}.volumeMounts[{n}].mountPath");
            causes.push(Cause::invalid(path, &mount["mountPath"], "must be unique"));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        causes.extend(self::probe(&container[probe], &format!("{path}.{probe}")));
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

fn probe(probe: &Value, path: &str) -> Vec<Cause> {
    let Some(fields) = probe.as_object() else { return Vec::new() };
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
    let mut causes = match handlers.iter().filter(|handler| fields.contains_key(**handler)).count()
    {
        0 => vec![Cause::required(path, "must specify a handler type")],
        1 => Vec::new(),
        _ => vec![Cause::forbidden(path, "may not specify more than 1 handler type")],
    };
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        if probe[field].as_i64().is_some_and(|number| number < 0) {
            let detail = "must be greater than or equal to 0";
            causes.push(Cause::invalid(format!("{path}.{field}"), &probe[field], detail));
        }
    }
    causes
}

/// A port of the node can be taken once.
fn host_ports(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut taken: Vec<(&Value, &Value, &Value)> = Vec::new();
    for (c, container) in spec["containers"].as_array().into_iter().flatten().enumerate() {
        for (p, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
            let path = format!("spec.containers[{c}].ports[{p}]");
            if port["hostPort"].as_i64().unwrap_or(0) == 0 {
                continue;
            }
            if spec["hostNetwork"] == true && port["hostPort"] != port["containerPort"] {
                let detail = "must match `hostPort` when `hostNetwork` is true";
                let field = format!("{path}.containerPort");
                causes.push(Cause::invalid(field, &port["containerPort"], detail));
            }
            let claim = (&port["protocol"], &port["hostIP"], &port["hostPort"]);
            if taken.contains(&claim) {
                causes.push(Cause::duplicate(format!("{path}.hostPort"), &port["hostPort"]));
            }
            taken.push(claim);
        }
    }
    causes
}

fn dns(spec: &Value) -> Vec<Cause> {
    let servers = spec["dnsConfig"]["nameservers"].as_array().map_or(0, Vec::len);
    let mut causes = Vec::new();
    if spec["dnsPolicy"] == "None" && servers == 0 {
        let field = "spec.dnsConfig.nameservers";
        causes.push(Cause::required(
            field,
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        ));
    }
    for (n, server) in spec["dnsConfig"]["nameservers"].as_array().into_iter().flatten().enumerate()
    {
        if server.as_str().unwrap_or("").parse::<std::net::IpAddr>().is_err() {
            let field = format!("spec.dnsConfig.nameservers[{n}]");
            causes.push(Cause::invalid(
                field,
                server,
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ));
        }
    }
    causes
}

/// What is wrong with a port's number.
pub(super) fn port_number(number: &Value) -> Option<&'static str> {
    let good = number.as_i64().is_some_and(|number| (1..=65_535).contains(&number));
    (!good).then_some("must be between 1 and 65535, inclusive")
}
