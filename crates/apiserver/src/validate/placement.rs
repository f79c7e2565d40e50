//! Rules for where pods may go: tolerations, affinity and spread.
//!
//! Source: Kubernetes pkg/apis/core/validation, `ValidateTolerations`, `validateAffinity`,
//! `validateTopologySpreadConstraints`.
use serde_json::{Value, json};

use super::name;
use super::value::selector;
use crate::refusal::Cause;

pub(super) fn causes(spec: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (n, one) in list(&spec["tolerations"]).iter().enumerate() {
        causes.extend(toleration(one, &format!("{path}.tolerations[{n}]")));
    }
    for (n, constraint) in list(&spec["topologySpreadConstraints"]).iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{n}]");
        let skew = constraint["maxSkew"].as_i64().unwrap_or(0);
        if skew <= 0 {
            let detail = "must be greater than zero";
            causes.push(Cause::invalid(format!("{path}.maxSkew"), &json!(skew), detail));
        }
        causes.extend(selector(&format!("{path}.labelSelector"), &constraint["labelSelector"]));
    }
    let (affinity, path) = (&spec["affinity"], format!("{path}.affinity"));
    causes.extend(node_affinity(&affinity["nodeAffinity"], &format!("{path}.nodeAffinity")));
    for field in ["podAffinity", "podAntiAffinity"] {
        causes.extend(pod_affinity(&affinity[field], &format!("{path}.{field}")));
    }
    causes
}

fn toleration(one: &Value, path: &str) -> Vec<Cause> {
    let text = |field: &str| one[field].as_str().unwrap_or("");
    let mut causes = Vec::new();
    if let Some(problem) =
        Some(text("key")).filter(|key| !key.is_empty()).and_then(name::qualified_name)
    {
        causes.push(Cause::invalid(format!("{path}.key"), &one["key"], &problem));
    }
    if text("key").is_empty() && text("operator") != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values \
                      and all keys\"";
        causes.push(Cause::invalid(format!("{path}.operator"), &json!(text("operator")), detail));
    }
    if !one["tolerationSeconds"].is_null() && text("effect") != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        causes.push(Cause::invalid(format!("{path}.effect"), &json!(text("effect")), detail));
    }
    if text("operator") == "Exists" && !text("value").is_empty() {
        let detail = "value must be empty when `operator` is 'Exists'";
        causes.push(Cause::invalid(format!("{path}.operator"), one, detail));
    }
    causes
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn node_affinity(affinity: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let terms = list(&affinity[REQUIRED]["nodeSelectorTerms"]);
    for (n, term) in terms.iter().enumerate() {
        causes.extend(node_term(term, &format!("{path}.{REQUIRED}.nodeSelectorTerms[{n}]")));
    }
    for (n, preferred) in list(&affinity[PREFERRED]).iter().enumerate() {
        let path = format!("{path}.{PREFERRED}[{n}]");
        causes.extend(weight(preferred, &path));
        causes.extend(node_term(&preferred["preference"], &format!("{path}.preference")));
    }
    causes
}

fn node_term(term: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (n, one) in list(&term["matchExpressions"]).iter().enumerate() {
        let field = format!("{path}.matchExpressions[{n}].values");
        let values = list(&one["values"]).len();
        match one["operator"].as_str() {
            Some("In" | "NotIn") if values == 0 => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(Cause::required(field, detail));
            }
            Some("Exists" | "DoesNotExist") if values > 0 => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(Cause::forbidden(field, detail));
            }
            Some("Gt" | "Lt") if values != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                causes.push(Cause::required(field, detail));
            }
            _ => {}
        }
    }
    causes
}

fn pod_affinity(affinity: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (n, term) in list(&affinity[REQUIRED]).iter().enumerate() {
        causes.extend(pod_term(term, &format!("{path}.{REQUIRED}[{n}]")));
    }
    for (n, preferred) in list(&affinity[PREFERRED]).iter().enumerate() {
        let path = format!("{path}.{PREFERRED}[{n}]");
        causes.extend(weight(preferred, &path));
        causes.extend(pod_term(&preferred["podAffinityTerm"], &format!("{path}.podAffinityTerm")));
    }
    causes
}

fn pod_term(term: &Value, path: &str) -> Vec<Cause> {
    let mut causes = selector(&format!("{path}.labelSelector"), &term["labelSelector"]);
    causes.extend(selector(&format!("{path}.namespaceSelector"), &term["namespaceSelector"]));
    let key = term["topologyKey"].as_str().filter(|key| !key.is_empty());
    if let Some(problem) = key.and_then(name::qualified_name) {
        causes.push(Cause::invalid(format!("{path}.topologyKey"), &term["topologyKey"], &problem));
    }
    causes
}

fn weight(preferred: &Value, path: &str) -> Option<Cause> {
    let weight = preferred["weight"].as_i64().unwrap_or(0);
    let detail = "must be in the range 1-100";
    let good = (1..=100).contains(&weight);
    (!good).then(|| Cause::invalid(format!("{path}.weight"), &json!(weight), detail))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
