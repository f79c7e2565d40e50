//! Rules for the smaller kinds.
use serde_json::{Value, json};

use super::name;
use super::pod::port_number;
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

/// What is wrong with a service.
pub(super) fn service(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut causes = Vec::new();
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    if ports.is_empty() && spec["type"] != "ExternalName" && spec["clusterIP"] != "None" {
        causes.push(Cause::required("spec.ports", ""));
    }
    if spec["type"] == "ExternalName" && spec["externalName"].as_str().unwrap_or("").is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    }
    for (n, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{n}]");
        if ports.len() > 1 && port["name"].as_str().unwrap_or("").is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
        }
        if let Some(problem) = port_number(&port["port"]).filter(|_| !port["port"].is_null()) {
            causes.push(Cause::invalid(format!("{path}.port"), &port["port"], problem));
        }
        let same = |other: &Value, fields: [&str; 2]| fields.iter().all(|f| other[f] == port[f]);
        let before = &ports[..n];
        if before.iter().any(|other| same(other, ["port", "protocol"])) {
            causes.push(Cause::duplicate(path.clone(), port));
        }
        let named = !port["name"].is_null();
        if named && before.iter().any(|other| other["name"] == port["name"]) {
            causes.push(Cause::duplicate(format!("{path}.name"), &port["name"]));
        }
    }
    causes
}

/// What is wrong with an endpoint slice.
pub(super) fn endpoint_slice(value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (n, endpoint) in value["endpoints"].as_array().into_iter().flatten().enumerate() {
        for (m, address) in endpoint["addresses"].as_array().into_iter().flatten().enumerate() {
            let text = address.as_str().unwrap_or("");
            let problem = match value["addressType"].as_str() {
                Some("IPv4") if text.parse::<std::net::Ipv4Addr>().is_err() => {
                    "must be a valid IPv4 address"
                }
                Some("IPv6") if text.parse::<std::net::Ipv6Addr>().is_err() => {
                    "must be a valid IPv6 address"
                }
                _ => continue,
            };
            let field = format!("endpoints[{n}].addresses[{m}]");
            causes.push(Cause::invalid(field, address, problem));
        }
    }
    causes
}
