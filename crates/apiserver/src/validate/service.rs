//! Rules for services.
//!
//! Source: Kubernetes pkg/apis/core/validation, `ValidateServiceCreate`, `ValidateServiceUpdate`.
use std::net::IpAddr;

use serde_json::{Value, json};

use super::name;
use super::value::{cidr, endpoint_ip, ip, labels, port, port_number};
use crate::refusal::Cause;

/// The longest that a client stays with its endpoint, in seconds: a day.
const LONGEST_AFFINITY: i64 = 86_400;

/// What is wrong with a service.
pub(super) fn causes(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut causes = of_type(spec);
    causes.extend(ports(spec));
    causes.extend(labels("spec.selector", &spec["selector"]));
    let seconds = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    if seconds.as_i64().is_some_and(|seconds| !(1..=LONGEST_AFFINITY).contains(&seconds)) {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        let detail = format!("must be greater than 0 and less than {LONGEST_AFFINITY}");
        causes.push(Cause::invalid(field, seconds, &detail));
    }
    if !is_external_name(spec) {
        causes.extend(addresses(spec));
    }
    for (n, address) in list(&spec["externalIPs"]).iter().enumerate() {
        causes.extend(endpoint_ip(&format!("spec.externalIPs[{n}]"), address));
    }
    causes.extend(balancer(spec));
    causes.extend(traffic(spec));
    causes
}

/// What is wrong with turning `old` into `new`.
pub(super) fn update_causes(new: &Value, old: &Value) -> Vec<Cause> {
    let (new, old) = (&new["spec"], &old["spec"]);
    let mut causes = Vec::new();
    let both_headless = is_headless(new) && is_headless(old);
    if !is_external_name(new) && !is_external_name(old) && !both_headless {
        causes.extend(kept(new, old, "clusterIPs", "primary clusterIP can not be unset"));
        let detail = "primary ipFamily can not be unset";
        causes.extend(kept(new, old, "ipFamilies", detail));
    }
    let class = "loadBalancerClass";
    if is_balancer(new) && is_balancer(old) && new[class] != old[class] {
        causes.push(Cause::invalid(
            "spec.loadBalancerClass",
            &new[class],
            "may not change once set",
        ));
    }
    let check = "healthCheckNodePort";
    let checked = has_health_check(new) && has_health_check(old) && number(&old[check]) != 0;
    if checked && number(&new[check]) != number(&old[check]) {
        causes.push(Cause::forbidden("spec.healthCheckNodePort", "field is immutable"));
    }
    causes
}

/// The list `field` may grow and lose its second value, but keep its first.
fn kept(new: &Value, old: &Value, field: &str, unset: &str) -> Vec<Cause> {
    let (now, before) = (list(&new[field]), list(&old[field]));
    let Some(first) = before.first() else { return Vec::new() };
    let path = format!("spec.{field}");
    let mut causes = Vec::new();
    match now.first() {
        None => causes.push(Cause::invalid(format!("{path}[0]"), &new[field], unset)),
        Some(other) if other != first => {
            let detail = "may not change once set";
            causes.push(Cause::invalid(format!("{path}[0]"), &new[field], detail));
        }
        Some(_) => {}
    }
    if now.len() == before.len() && now.get(1) != before.get(1) {
        let detail = "may not change once set";
        causes.push(Cause::invalid(format!("{path}[1]"), &new[field], detail));
    }
    if before.len() > now.len() && now.len() == 1 && new["ipFamilyPolicy"] != "SingleStack" {
        let what = if field == "clusterIPs" { "clusterIP" } else { "ipFamily" };
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        causes.push(Cause::invalid("spec.ipFamilyPolicy", &new["ipFamilyPolicy"], &detail));
    }
    causes
}

/// What only some types have, or have not.
fn of_type(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if list(&spec["ports"]).is_empty() && !is_external_name(spec) && !is_headless(spec) {
        causes.push(Cause::required("spec.ports", ""));
    }
    let of = spec["type"].as_str().unwrap_or("");
    if matches!(of, "LoadBalancer" | "NodePort") && is_headless(spec) {
        let detail = format!("may not be set to 'None' for {of} services");
        causes.push(Cause::invalid("spec.clusterIPs[0]", &json!("None"), &detail));
    }
    if !is_external_name(spec) {
        return causes;
    }
    for field in ["clusterIPs", "ipFamilies"] {
        if !list(&spec[field]).is_empty() {
            let detail = "may not be set for ExternalName services";
            causes.push(Cause::forbidden(format!("spec.{field}"), detail));
        }
    }
    if !spec["ipFamilyPolicy"].is_null() {
        let detail = "may not be set for ExternalName services";
        causes.push(Cause::forbidden("spec.ipFamilyPolicy", detail));
    }
    let alias = spec["externalName"].as_str().unwrap_or("");
    let alias = alias.strip_suffix('.').unwrap_or(alias);
    if alias.is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    } else if let Some(problem) = name::subdomain(alias) {
        causes.push(Cause::invalid("spec.externalName", &json!(alias), &problem));
    }
    causes
}

fn ports(spec: &Value) -> Vec<Cause> {
    let ports = list(&spec["ports"]);
    let mut causes = Vec::new();
    for (n, one) in ports.iter().enumerate() {
        let path = format!("spec.ports[{n}]");
        let before = &ports[..n];
        let given = one["name"].as_str().unwrap_or("");
        if given.is_empty() && ports.len() > 1 {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else if !given.is_empty() {
            if let Some(problem) = name::label(given) {
                causes.push(Cause::invalid(format!("{path}.name"), &one["name"], &problem));
            }
            if before.iter().any(|other| other["name"] == one["name"]) {
                causes.push(Cause::duplicate(format!("{path}.name"), &one["name"]));
            }
        }
        if let Some(problem) = port_number(&one["port"]) {
            let shown = json!(number(&one["port"]));
            causes.push(Cause::invalid(format!("{path}.port"), &shown, problem));
        }
        if number(&one["port"]) != 0 || !one["targetPort"].is_null() {
            causes.extend(port(format!("{path}.targetPort"), &one["targetPort"]));
        }
        let protocol = one["appProtocol"].as_str();
        if let Some(problem) = protocol.and_then(name::qualified_name) {
            causes.push(Cause::invalid(
                format!("{path}.appProtocol"),
                &one["appProtocol"],
                &problem,
            ));
        }
        let node_port = number(&one["nodePort"]);
        if node_port != 0 {
            if spec["type"] == "ClusterIP" {
                let detail = "may not be used when `type` is 'ClusterIP'";
                causes.push(Cause::forbidden(format!("{path}.nodePort"), detail));
            }
            if before.iter().any(|other| same(other, one, "nodePort")) {
                causes.push(Cause::duplicate(format!("{path}.nodePort"), &one["nodePort"]));
            }
        }
        if before.iter().any(|other| same(other, one, "port")) {
            let key = json!({"port": one["port"], "protocol": one["protocol"]});
            causes.push(Cause::duplicate(path, &key));
        }
    }
    causes
}

fn same(one: &Value, other: &Value, field: &str) -> bool {
    one["protocol"] == other["protocol"] && one[field] == other[field]
}

/// Cluster addresses, their families, and how they agree.
fn addresses(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (given, families) = (list(&spec["clusterIPs"]), list(&spec["ipFamilies"]));
    let single = spec["clusterIP"].as_str().unwrap_or("");
    match (single.is_empty(), given.first()) {
        (true, Some(_)) => {
            let detail = "must be empty when `clusterIP` is not specified";
            causes.push(Cause::invalid("spec.clusterIPs", &spec["clusterIPs"], detail));
        }
        (false, None) => causes.push(Cause::required("spec.clusterIPs", "")),
        (false, Some(first)) if first != single => {
            let detail = "first value must match `clusterIP`";
            causes.push(Cause::invalid("spec.clusterIPs", &spec["clusterIPs"], detail));
        }
        _ => {}
    }
    for (n, family) in families.iter().enumerate() {
        let field = format!("spec.ipFamilies[{n}]");
        if family != "IPv4" && family != "IPv6" {
            causes.push(Cause::not_supported(field, family, &["IPv4", "IPv6"]));
        } else if families[..n].contains(family) {
            causes.push(Cause::duplicate(field, family));
        }
    }
    if is_headless(spec) {
        if given.len() > 1 {
            let detail = "'None' must be the first and only value";
            causes.push(Cause::invalid("spec.clusterIPs", &spec["clusterIPs"], detail));
        }
        return causes;
    }
    let wrong = given.iter().enumerate();
    let wrong = wrong.filter_map(|(n, address)| ip(&format!("spec.clusterIPs[{n}]"), address));
    let wrong: Vec<Cause> = wrong.collect();
    if !wrong.is_empty() {
        causes.extend(wrong);
        return causes;
    }
    if given.len() > 2 {
        let detail = "may only hold up to 2 values";
        causes.push(Cause::invalid("spec.clusterIPs", &spec["clusterIPs"], detail));
    } else if given.len() == 2 && is_v6(&given[0]) == is_v6(&given[1]) {
        let detail = "may specify no more than one IP for each IP family";
        causes.push(Cause::invalid("spec.clusterIPs", &spec["clusterIPs"], detail));
    }
    for (n, (address, family)) in given.iter().zip(families).enumerate() {
        if is_v6(address) != (family == "IPv6") {
            let family = family.as_str().unwrap_or("");
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{n}]`");
            causes.push(Cause::invalid(format!("spec.clusterIPs[{n}]"), address, &detail));
        }
    }
    causes
}

fn balancer(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let only = "may only be used when `type` is 'LoadBalancer'";
    // Kubernetes writes this field's name with a capital in its causes.
    let ranges = list(&spec["loadBalancerSourceRanges"]);
    if !ranges.is_empty() && !is_balancer(spec) {
        causes.push(Cause::forbidden("spec.LoadBalancerSourceRanges", only));
    }
    for (n, range) in ranges.iter().enumerate() {
        let trimmed = json!(range.as_str().unwrap_or("").trim());
        causes.extend(cidr(&format!("spec.LoadBalancerSourceRanges[{n}]"), &trimmed));
    }
    for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if !spec[field].is_null() && !is_balancer(spec) {
            causes.push(Cause::forbidden(format!("spec.{field}"), only));
        }
    }
    let class = spec["loadBalancerClass"].as_str();
    if let Some(problem) = class.and_then(name::qualified_name) {
        let class = &spec["loadBalancerClass"];
        causes.push(Cause::invalid("spec.loadBalancerClass", class, &problem));
    }
    causes
}

fn traffic(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let external = matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer"))
        || (spec["type"] == "ClusterIP" && !list(&spec["externalIPs"]).is_empty());
    let policy = &spec["externalTrafficPolicy"];
    if !external && policy.as_str().is_some_and(|policy| !policy.is_empty()) {
        let detail = "may only be set for externally-accessible services";
        causes.push(Cause::invalid("spec.externalTrafficPolicy", policy, detail));
    }
    let check = &spec["healthCheckNodePort"];
    if number(check) != 0 {
        if !has_health_check(spec) {
            let detail = "may only be set when `type` is 'LoadBalancer' and \
                          `externalTrafficPolicy` is 'Local'";
            causes.push(Cause::invalid("spec.healthCheckNodePort", check, detail));
        } else if let Some(problem) = port_number(check) {
            causes.push(Cause::invalid("spec.healthCheckNodePort", check, problem));
        }
    }
    let spread = &spec["trafficDistribution"];
    let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    if spread.as_str().is_some_and(|spread| !known.contains(&spread)) {
        causes.push(Cause::not_supported("spec.trafficDistribution", spread, &known));
    }
    causes
}

fn is_headless(spec: &Value) -> bool {
    spec["clusterIPs"][0] == "None" || spec["clusterIP"] == "None"
}

fn is_external_name(spec: &Value) -> bool {
    spec["type"] == "ExternalName"
}

fn is_balancer(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer"
}

fn has_health_check(spec: &Value) -> bool {
    is_balancer(spec) && spec["externalTrafficPolicy"] == "Local"
}

fn is_v6(address: &Value) -> bool {
    address.as_str().and_then(|text| text.parse().ok()).is_some_and(|a: IpAddr| a.is_ipv6())
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
