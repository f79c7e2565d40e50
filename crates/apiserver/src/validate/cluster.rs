//! Rules for roles, classes and leases.
//!
//! Source: Kubernetes pkg/apis/rbac/validation, pkg/apis/scheduling/validation,
//! pkg/apis/coordination/validation.
use std::net::IpAddr;

use serde_json::Value;

use super::name;
use super::value::all_non_negative;
use crate::refusal::Cause;

/// The highest priority that is not the system's.
const HIGHEST: i64 = 1_000_000_000;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role(value: &Value) -> Vec<Cause> {
    let namespaced = value["metadata"]["namespace"].is_string();
    let empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    let mut causes = Vec::new();
    for (n, rule) in value["rules"].as_array().into_iter().flatten().enumerate() {
        let path = format!("rules[{n}]");
        if empty(&rule["verbs"]) {
            let detail = "verbs must contain at least one value";
            causes.push(Cause::required(format!("{path}.verbs"), detail));
        }
        if !empty(&rule["nonResourceURLs"]) {
            let urls = &rule["nonResourceURLs"];
            let detail = if namespaced {
                "namespaced rules cannot apply to non-resource URLs"
            } else if !empty(&rule["apiGroups"]) || !empty(&rule["resources"]) {
                "rules cannot apply to both regular resources and non-resource URLs"
            } else {
                continue;
            };
            causes.push(Cause::invalid(format!("{path}.nonResourceURLs"), urls, detail));
            continue;
        }
        if empty(&rule["apiGroups"]) {
            let detail = "resource rules must supply at least one api group";
            causes.push(Cause::required(format!("{path}.apiGroups"), detail));
        }
        if empty(&rule["resources"]) {
            let detail = "resource rules must supply at least one resource";
            causes.push(Cause::required(format!("{path}.resources"), detail));
        }
    }
    causes
}

pub(super) fn role_binding(value: &Value) -> Vec<Cause> {
    let role = &value["roleRef"];
    let namespaced = value["metadata"]["namespace"].is_string();
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    let mut causes = Vec::new();
    if role["apiGroup"] != GROUP {
        causes.push(Cause::not_supported("roleRef.apiGroup", &role["apiGroup"], &[GROUP]));
    }
    let kind = role["kind"].as_str().filter(|kind| !kind.is_empty());
    if kind.is_some_and(|kind| !kinds.contains(&kind)) {
        causes.push(Cause::not_supported("roleRef.kind", &role["kind"], kinds));
    }
    for (n, subject) in value["subjects"].as_array().into_iter().flatten().enumerate() {
        let path = format!("subjects[{n}]");
        let text = |field: &str| subject[field].as_str().unwrap_or("");
        match text("kind") {
            "ServiceAccount" => {
                if let Some(problem) =
                    Some(text("name")).filter(|n| !n.is_empty()).and_then(name::subdomain)
                {
                    causes.push(Cause::invalid(format!("{path}.name"), &subject["name"], &problem));
                }
                if !text("apiGroup").is_empty() {
                    let field = format!("{path}.apiGroup");
                    causes.push(Cause::not_supported(field, &subject["apiGroup"], &[""]));
                }
                if text("namespace").is_empty() && !namespaced {
                    causes.push(Cause::required(format!("{path}.namespace"), ""));
                }
            }
            "User" | "Group" if text("apiGroup") != GROUP => {
                let field = format!("{path}.apiGroup");
                causes.push(Cause::not_supported(field, &subject["apiGroup"], &[GROUP]));
            }
            "" | "User" | "Group" => {}
            _ => {
                let known = ["ServiceAccount", "User", "Group"];
                let field = format!("{path}.kind");
                causes.push(Cause::not_supported(field, &subject["kind"], &known));
            }
        }
    }
    causes
}

pub(super) fn priority_class(value: &Value) -> Vec<Cause> {
    let given = value["metadata"]["name"].as_str().unwrap_or("");
    let system = crate::http::admit::PRIORITIES.iter().any(|(name, _)| *name == given);
    let mut causes = Vec::new();
    if system {
        return causes;
    }
    if given.starts_with("system-") {
        let detail = "priority class names with 'system-' prefix are reserved for system use only. \
                      error: only predefined system priorities may have it";
        causes.push(Cause::forbidden("metadata.name", detail));
    }
    if value["value"].as_i64().is_some_and(|number| number > HIGHEST) {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
        causes.push(Cause::forbidden("value", &detail));
    }
    causes
}

pub(super) fn lease(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut causes = all_non_negative("spec", spec, &["leaseTransitions"]);
    let duration = &spec["leaseDurationSeconds"];
    if duration.as_i64().is_some_and(|seconds| seconds <= 0) {
        causes.push(Cause::invalid(
            "spec.leaseDurationSeconds",
            duration,
            "must be greater than 0",
        ));
    }
    causes
}

/// An address object is called as the address is written.
pub(super) fn ip_address(value: &Value) -> Vec<Cause> {
    let given = &value["metadata"]["name"];
    let text = given.as_str().unwrap_or("");
    let good = text.parse::<IpAddr>().is_ok_and(|address| address.to_string() == text);
    let detail = "must be an IP address in canonical form (such as 10.9.8.7 or 2001:db8::ffff)";
    if good { Vec::new() } else { vec![Cause::invalid("metadata.name", given, detail)] }
}
