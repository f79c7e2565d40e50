//! Rules for policies, ingresses, endpoints and addresses.
//!
//! Source: Kubernetes pkg/apis/networking/validation, pkg/apis/discovery/validation and
//! pkg/apis/core/validation (`ValidateEndpoints`).
use std::net::IpAddr;

use serde_json::{Value, json};

use super::name;
use super::value::{cidr, endpoint_ip, is_strict_subset, parse_cidr, port, port_number, selector};
use crate::refusal::Cause;

/// The most endpoints of a slice, addresses of an endpoint, and ports of a slice.
const ENDPOINTS: u64 = 1000;
const ADDRESSES: u64 = 100;
const PORTS: u64 = 20_000;

pub(super) fn policy(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut causes = selector("spec.podSelector", &spec["podSelector"]);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (n, rule) in list(&spec[direction]).iter().enumerate() {
            let path = format!("spec.{direction}[{n}]");
            for (n, port) in list(&rule["ports"]).iter().enumerate() {
                causes.extend(policy_port(port, &format!("{path}.ports[{n}]")));
            }
            for (n, peer) in list(&rule[peers]).iter().enumerate() {
                causes.extend(self::peer(peer, &format!("{path}.{peers}[{n}]")));
            }
        }
    }
    let types = list(&spec["policyTypes"]);
    if types.len() > 2 {
        let detail = "may not specify more than two policyTypes";
        causes.push(Cause::invalid("spec.policyTypes", &spec["policyTypes"], detail));
        return causes;
    }
    for (n, of) in types.iter().enumerate().filter(|(_, of)| *of != "Ingress" && *of != "Egress") {
        let field = format!("spec.policyTypes[{n}]");
        causes.push(Cause::not_supported(field, of, &["Ingress", "Egress"]));
    }
    causes
}

fn policy_port(one: &Value, path: &str) -> Vec<Cause> {
    let (given, end) = (&one["port"], &one["endPort"]);
    let field = format!("{path}.endPort");
    let mut causes = Vec::new();
    if !given.is_null() {
        causes.extend(port(format!("{path}.port"), given));
    }
    let Some(last) = end.as_i64() else { return causes };
    match given.as_i64() {
        None if given.is_null() => {
            let detail = "may not be specified when `port` is not specified";
            causes.push(Cause::invalid(field, end, detail));
        }
        None => {
            let detail = "may not be specified when `port` is non-numeric";
            causes.push(Cause::invalid(field, end, detail));
        }
        Some(first) => {
            if last < first {
                let detail = "must be greater than or equal to `port`";
                causes.push(Cause::invalid(field.clone(), given, detail));
            }
            if let Some(problem) = port_number(end) {
                causes.push(Cause::invalid(field, end, problem));
            }
        }
    }
    causes
}

fn peer(peer: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["podSelector", "namespaceSelector"] {
        causes.extend(selector(&format!("{path}.{field}"), &peer[field]));
    }
    let others = peer["podSelector"].is_object() || peer["namespaceSelector"].is_object();
    let block = &peer["ipBlock"];
    match (block.is_object(), others) {
        (false, false) => causes.push(Cause::required(path, "must specify a peer")),
        (true, true) => {
            let detail = "may not specify both ipBlock and another peer";
            causes.push(Cause::forbidden(path, detail));
        }
        _ => {}
    }
    let Some(text) = block["cidr"].as_str().filter(|text| !text.is_empty()) else { return causes };
    causes.extend(cidr(&format!("{path}.ipBlock.cidr"), &block["cidr"]));
    for (n, except) in list(&block["except"]).iter().enumerate() {
        let field = format!("{path}.ipBlock.except[{n}]");
        let parsed = (except.as_str().and_then(parse_cidr), parse_cidr(text));
        match parsed {
            (Some(inner), Some(outer)) if !is_strict_subset(inner, outer) => {
                let detail = "must be a strict subset of `cidr`";
                causes.push(Cause::invalid(field, except, detail));
            }
            _ => causes.extend(cidr(&field, except)),
        }
    }
    causes
}

pub(super) fn ingress(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut causes = Vec::new();
    if list(&spec["rules"]).is_empty() && spec["defaultBackend"].is_null() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        causes.push(Cause::invalid("spec", &json!([]), detail));
    }
    if spec["defaultBackend"].is_object() {
        causes.extend(backend(&spec["defaultBackend"], "spec.defaultBackend"));
    }
    for (n, rule) in list(&spec["rules"]).iter().enumerate() {
        let path = format!("spec.rules[{n}]");
        causes.extend(host(&rule["host"], &format!("{path}.host")));
        for (n, one) in list(&rule["http"]["paths"]).iter().enumerate() {
            causes.extend(http_path(one, &format!("{path}.http.paths[{n}]")));
        }
    }
    for (n, tls) in list(&spec["tls"]).iter().enumerate() {
        let path = format!("spec.tls[{n}]");
        for (n, one) in list(&tls["hosts"]).iter().enumerate() {
            causes.extend(domain(one, &format!("{path}.hosts[{n}]")));
        }
        let secret = tls["secretName"].as_str().filter(|secret| !secret.is_empty());
        if let Some(problem) = secret.and_then(name::subdomain) {
            causes.push(Cause::invalid(format!("{path}.secretName"), &tls["secretName"], &problem));
        }
    }
    let class = spec["ingressClassName"].as_str();
    if let Some(problem) = class.and_then(name::subdomain) {
        let class = &spec["ingressClassName"];
        causes.push(Cause::invalid("spec.ingressClassName", class, &problem));
    }
    causes
}

fn host(host: &Value, field: &str) -> Vec<Cause> {
    let given = host.as_str().unwrap_or("");
    let mut causes = Vec::new();
    if given.parse::<IpAddr>().is_ok() {
        causes.push(Cause::invalid(field, host, "must be a DNS name, not an IP address"));
    }
    if !given.is_empty() {
        causes.extend(domain(host, field));
    }
    causes
}

/// A domain, whose first label may be `*`.
fn domain(value: &Value, field: &str) -> Option<Cause> {
    let given = value.as_str().unwrap_or("");
    let problem = match given.strip_prefix("*.") {
        _ if !given.contains('*') => name::subdomain(given)?,
        Some(rest) if name::subdomain(rest).is_none() => return None,
        _ => "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS \
              subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and \
              end with an alphanumeric character (e.g. '*.example.com', regex used for validation \
              is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            .to_owned(),
    };
    Some(Cause::invalid(field, value, &problem))
}

fn http_path(one: &Value, path: &str) -> Vec<Cause> {
    let (field, given) = (format!("{path}.path"), one["path"].as_str().unwrap_or(""));
    let shown = json!(given);
    let mut causes = Vec::new();
    let exact = matches!(one["pathType"].as_str(), Some("Exact" | "Prefix"));
    if (exact || !given.is_empty()) && !given.starts_with('/') {
        causes.push(Cause::invalid(field.clone(), &shown, "must be an absolute path"));
    }
    if exact {
        let inside = ["//", "/./", "/../", "%2f", "%2F"];
        for part in inside.iter().filter(|part| given.contains(**part)) {
            let detail = format!("must not contain '{part}'");
            causes.push(Cause::invalid(field.clone(), &shown, &detail));
        }
        for end in ["/..", "/."].iter().filter(|end| given.ends_with(**end)) {
            let detail = format!("cannot end with '{end}'");
            causes.push(Cause::invalid(field.clone(), &shown, &detail));
        }
    }
    causes.extend(backend(&one["backend"], &format!("{path}.backend")));
    causes
}

fn backend(backend: &Value, path: &str) -> Vec<Cause> {
    let none = json!("");
    let service = &backend["service"];
    match (service.is_object(), backend["resource"].is_object()) {
        (true, true) => {
            let detail = "cannot set both resource and service backends";
            return vec![Cause::invalid(path, &none, detail)];
        }
        (false, false) => {
            let detail = "resource or service backend is required";
            return vec![Cause::invalid(path, &none, detail)];
        }
        (false, true) => return Vec::new(),
        (true, false) => {}
    }
    let mut causes = Vec::new();
    let given = service["name"].as_str().filter(|given| !given.is_empty());
    if let Some(problem) = given.and_then(name::label_1035) {
        causes.push(Cause::invalid(format!("{path}.service.name"), &service["name"], &problem));
    }
    let by_name = service["port"]["name"].as_str().is_some_and(|name| !name.is_empty());
    let by_number = service["port"]["number"].as_i64().unwrap_or(0) != 0;
    match (by_name, by_number) {
        (true, true) => {
            causes.push(Cause::invalid(path, &none, "cannot set both port name & port number"));
        }
        (false, false) => causes.push(Cause::required(path, "port name or number is required")),
        (true, false) => {
            causes.extend(port(format!("{path}.service.port.name"), &service["port"]["name"]));
        }
        (false, true) => {
            causes.extend(port(format!("{path}.service.port.number"), &service["port"]["number"]));
        }
    }
    causes
}

pub(super) fn ingress_class(value: &Value) -> Vec<Cause> {
    let spec = &value["spec"];
    let mut causes = Vec::new();
    let controller = spec["controller"].as_str().unwrap_or("");
    if controller.is_empty() {
        causes.push(Cause::required("spec.controller", ""));
    } else if !controller.contains('/') {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        causes.push(Cause::invalid("spec.controller", &spec["controller"], detail));
    }
    let parameters = &spec["parameters"];
    let field = "spec.parameters.namespace";
    let has = parameters["namespace"].is_string();
    if parameters["scope"] == "Namespace" && !has {
        causes.push(Cause::required(field, "`parameters.scope` is set to 'Namespace'"));
    } else if parameters["scope"] == "Cluster" && has {
        causes.push(Cause::forbidden(field, "`parameters.scope` is set to 'Cluster'"));
    }
    causes
}

pub(super) fn endpoints(value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (n, subset) in list(&value["subsets"]).iter().enumerate() {
        let path = format!("subsets[{n}]");
        let (ready, others) = (list(&subset["addresses"]), list(&subset["notReadyAddresses"]));
        if ready.is_empty() && others.is_empty() {
            let detail = "must specify `addresses` or `notReadyAddresses`";
            causes.push(Cause::required(path.clone(), detail));
        }
        for (field, addresses) in [("addresses", ready), ("notReadyAddresses", others)] {
            for (n, address) in addresses.iter().enumerate() {
                let path = format!("{path}.{field}[{n}]");
                let given = address["ip"].as_str().filter(|ip| !ip.is_empty());
                if given.is_some() {
                    causes.extend(endpoint_ip(&format!("{path}.ip"), &address["ip"]));
                }
                let host = address["hostname"].as_str().filter(|host| !host.is_empty());
                if let Some(problem) = host.and_then(name::label) {
                    let field = format!("{path}.hostname");
                    causes.push(Cause::invalid(field, &address["hostname"], &problem));
                }
            }
        }
        let ports = list(&subset["ports"]);
        for (n, one) in ports.iter().enumerate() {
            let path = format!("{path}.ports[{n}]");
            if ports.len() > 1 && one["name"].as_str().unwrap_or("").is_empty() {
                causes.push(Cause::required(format!("{path}.name"), ""));
            }
            if let Some(problem) = port_number(&one["port"]).filter(|_| !one["port"].is_null()) {
                causes.push(Cause::invalid(format!("{path}.port"), &one["port"], problem));
            }
        }
    }
    causes
}

pub(super) fn endpoint_slice(value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (all, ports) = (list(&value["endpoints"]), list(&value["ports"]));
    for (field, found, limit) in
        [("endpoints", all.len() as u64, ENDPOINTS), ("ports", ports.len() as u64, PORTS)]
    {
        if found > limit {
            causes.push(Cause::too_many(field, found, limit));
            return causes;
        }
    }
    let of = value["addressType"].as_str().unwrap_or("");
    for (n, endpoint) in all.iter().enumerate() {
        let path = format!("endpoints[{n}]");
        let addresses = list(&endpoint["addresses"]);
        let count = addresses.len() as u64;
        if count > ADDRESSES {
            causes.push(Cause::too_many(format!("{path}.addresses"), count, ADDRESSES));
        }
        for (n, address) in addresses.iter().enumerate() {
            causes.extend(slice_address(of, address, &format!("{path}.addresses"), n));
        }
        let host = endpoint["hostname"].as_str();
        if let Some(problem) = host.and_then(name::label) {
            let field = format!("{path}.hostname");
            causes.push(Cause::invalid(field, &endpoint["hostname"], &problem));
        }
    }
    for (n, one) in ports.iter().enumerate() {
        let field = format!("ports[{n}].name");
        let given = one["name"].as_str().filter(|name| !name.is_empty());
        if let Some(problem) = given.and_then(name::label) {
            causes.push(Cause::invalid(field.clone(), &one["name"], &problem));
        }
        if ports[..n].iter().any(|other| other["name"] == one["name"]) {
            causes.push(Cause::duplicate(field, &one["name"]));
        }
    }
    causes
}

fn slice_address(of: &str, address: &Value, path: &str, n: usize) -> Option<Cause> {
    let text = address.as_str().unwrap_or("");
    let field = format!("{path}[{n}]");
    if of == "FQDN" {
        let problem = if text.contains('.') {
            name::subdomain(text)
        } else {
            Some("should be a domain with at least two segments separated by dots".to_owned())
        };
        return problem.map(|problem| Cause::invalid(field, address, &problem));
    }
    match (of, text.parse::<IpAddr>()) {
        ("IPv4", Ok(ip)) if ip.is_ipv6() => {
            Some(Cause::invalid(path, address, "must be an IPv4 address"))
        }
        ("IPv6", Ok(ip)) if ip.is_ipv4() => {
            Some(Cause::invalid(path, address, "must be an IPv6 address"))
        }
        ("IPv4" | "IPv6", _) => endpoint_ip(&field, address),
        _ => None,
    }
}

pub(super) fn service_cidr(value: &Value) -> Vec<Cause> {
    let cidrs = list(&value["spec"]["cidrs"]);
    let mut causes = Vec::new();
    if cidrs.is_empty() {
        causes.push(Cause::required("spec.cidrs", "at least one CIDR required"));
    }
    for (n, one) in cidrs.iter().enumerate() {
        causes.extend(cidr(&format!("spec.cidrs[{n}]"), one));
    }
    let families: Vec<bool> = cidrs
        .iter()
        .filter_map(|one| one.as_str().and_then(parse_cidr))
        .map(|(address, _)| address.is_ipv6())
        .collect();
    if cidrs.len() > 2 {
        let detail = "may only hold up to 2 values";
        causes.push(Cause::invalid("spec.cidrs", &value["spec"]["cidrs"], detail));
    } else if families.len() == 2 && families[0] == families[1] {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and \
                      2001:db8::/96";
        causes.push(Cause::invalid("spec.cidrs", &value["spec"]["cidrs"], detail));
    }
    causes
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
