//! Rules for pods.
//!
//! Source: Kubernetes pkg/apis/core/validation/validation.go, `ValidatePodSpec`.
use serde_json::{Value, json};

use super::value::{all_non_negative, ip, labels};
use super::{container, name, placement};
use crate::refusal::Cause;

/// What is wrong with a pod template.
pub(super) fn template(template: &Value, path: &str) -> Vec<Cause> {
    let labels_path = format!("{path}.metadata.labels");
    let mut causes = labels(&labels_path, &template["metadata"]["labels"]);
    let path = format!("{path}.spec");
    if template["spec"].is_object() {
        causes.extend(self::causes(&template["spec"], &path));
        if !list(&template["spec"]["ephemeralContainers"]).is_empty() {
            let detail = "ephemeral containers not allowed in pod template";
            causes.push(Cause::forbidden(format!("{path}.ephemeralContainers"), detail));
        }
    } else {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    causes
}

/// What is wrong with a new pod only.
pub(super) fn create_causes(pod: &Value) -> Vec<Cause> {
    let spec = &pod["spec"];
    let mut causes = Vec::new();
    if !list(&spec["ephemeralContainers"]).is_empty() {
        let detail = "cannot be set on create";
        causes.push(Cause::forbidden("spec.ephemeralContainers", detail));
    }
    let gated = !list(&spec["schedulingGates"]).is_empty();
    if gated && spec["nodeName"].as_str().is_some_and(|node| !node.is_empty()) {
        let detail = "cannot be set until all schedulingGates have been cleared";
        causes.push(Cause::forbidden("spec.nodeName", detail));
    }
    causes
}

/// What is wrong with a pod's specification.
pub(super) fn causes(spec: &Value, path: &str) -> Vec<Cause> {
    if spec.is_null() {
        return vec![Cause::required(format!("{path}.containers"), "")];
    }
    let mut causes = names(spec, path);
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64().filter(|seconds| *seconds < 1) {
        let detail = "must be between 1 and 2147483647, inclusive";
        let field = format!("{path}.activeDeadlineSeconds");
        causes.push(Cause::invalid(field, &json!(seconds), detail));
    }
    causes.extend(all_non_negative(path, spec, &["terminationGracePeriodSeconds"]));
    causes.extend(volumes(spec, path));
    let mut names = Vec::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (n, one) in self::list(&spec[list]).iter().enumerate() {
            let path = format!("{path}.{list}[{n}]");
            causes.extend(container::causes(spec, one, &path));
            match list {
                "initContainers" => causes.extend(container::init_causes(one, &path)),
                "ephemeralContainers" => {
                    causes.extend(container::ephemeral_causes(spec, one, &path));
                }
                _ => {}
            }
            // Within a list the schema finds a name that is there twice.
            let name = &one["name"];
            if names.iter().any(|(other, from)| *other == name && *from != list) {
                causes.push(Cause::duplicate(format!("{path}.name"), name));
            }
            names.push((name, list));
        }
    }
    causes.extend(host_ports(spec, path));
    causes.extend(dns(spec, path));
    causes.extend(security(spec, path));
    causes.extend(placement::causes(spec, path));
    causes
}

/// Names of and in a pod.
fn names(spec: &Value, path: &str) -> Vec<Cause> {
    const FORMS: [(&str, name::Form); 5] = [
        ("hostname", name::label),
        ("subdomain", name::label),
        ("serviceAccountName", name::subdomain),
        ("nodeName", name::subdomain),
        ("priorityClassName", name::subdomain),
    ];
    let mut causes = Vec::new();
    for (field, form) in FORMS {
        if let Some(problem) = spec[field].as_str().filter(|text| !text.is_empty()).and_then(form) {
            causes.push(Cause::invalid(format!("{path}.{field}"), &spec[field], &problem));
        }
    }
    for (n, alias) in list(&spec["hostAliases"]).iter().enumerate() {
        let path = format!("{path}.hostAliases[{n}]");
        causes.extend(ip(&format!("{path}.ip"), &alias["ip"]));
        for (n, name) in list(&alias["hostnames"]).iter().enumerate() {
            if let Some(problem) = name::subdomain(name.as_str().unwrap_or("")) {
                causes.push(Cause::invalid(format!("{path}.hostnames[{n}]"), name, &problem));
            }
        }
    }
    causes
}

fn volumes(spec: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (n, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.volumes[{n}]");
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

/// A port of the node can be taken once.
fn host_ports(spec: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut taken: Vec<(&Value, &Value, &Value)> = Vec::new();
    for (c, container) in spec["containers"].as_array().into_iter().flatten().enumerate() {
        for (p, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.containers[{c}].ports[{p}]");
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

/// The most name servers and search domains of a pod.
const SERVERS: usize = 3;
const SEARCHES: usize = 32;

fn dns(spec: &Value, path: &str) -> Vec<Cause> {
    let (config, path) = (&spec["dnsConfig"], format!("{path}.dnsConfig"));
    let (servers, searches) = (list(&config["nameservers"]), list(&config["searches"]));
    let mut causes = Vec::new();
    if spec["dnsPolicy"] == "None" && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        causes.push(Cause::required(format!("{path}.nameservers"), detail));
    }
    for (field, found, limit, what) in [
        ("nameservers", servers.len(), SERVERS, "nameservers"),
        ("searches", searches.len(), SEARCHES, "search paths"),
    ] {
        if found > limit {
            let detail = format!("must not have more than {limit} {what}");
            causes.push(Cause::invalid(format!("{path}.{field}"), &config[field], &detail));
        }
    }
    for (n, server) in servers.iter().enumerate() {
        causes.extend(ip(&format!("{path}.nameservers[{n}]"), server));
    }
    for (n, search) in searches.iter().enumerate() {
        let text = search.as_str().unwrap_or("");
        let text = text.strip_suffix('.').unwrap_or(text);
        // Underscores are allowed here, since KEP-4427.
        if let Some(problem) = name::subdomain(&text.replace('_', "a")).filter(|_| !text.is_empty())
        {
            causes.push(Cause::invalid(format!("{path}.searches[{n}]"), search, &problem));
        }
    }
    for (n, option) in list(&config["options"]).iter().enumerate() {
        if option["name"].as_str().unwrap_or("").is_empty() {
            let field = format!("{path}.options[{n}]");
            causes.push(Cause::required(field, "must not be empty"));
        }
    }
    causes
}

/// The security of a pod as a whole: users, and settings of its kernel.
fn security(spec: &Value, path: &str) -> Vec<Cause> {
    let (context, path) = (&spec["securityContext"], format!("{path}.securityContext"));
    let mut causes = container::users(context, &path);
    let sysctls = list(&context["sysctls"]);
    for (n, sysctl) in sysctls.iter().enumerate() {
        let field = format!("{path}.sysctls[{n}].name");
        let given = sysctl["name"].as_str().unwrap_or("");
        if given.is_empty() {
            continue;
        }
        let part = |part: &str| {
            let edge =
                |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
            edge(part.bytes().next()) && edge(part.bytes().last()) && part.bytes().all(inner)
        };
        if given.len() > 253 || !given.split(['.', '/']).all(part) {
            let detail = "must have at most 253 characters and match regex                           ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            causes.push(Cause::invalid(field.clone(), &sysctl["name"], detail));
        } else if sysctls[..n].iter().any(|other| other["name"] == sysctl["name"]) {
            causes.push(Cause::duplicate(field.clone(), &sysctl["name"]));
        }
        if spec["hostNetwork"] == true && given.replace('/', ".").starts_with("net.") {
            let detail = "may not be specified when 'hostNetwork' is true";
            causes.push(Cause::invalid(field, &sysctl["name"], detail));
        }
    }
    causes
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
