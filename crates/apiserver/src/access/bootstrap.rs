//! The roles and bindings every cluster has.
//!
//! The text is part of the program: what is wrong in it is a defect, found by the test that reads
//! it.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::rbac::GROUP;

const TEXT: &str = include_str!("roles.txt");

/// The cluster roles and the bindings, as objects without kind.
///
/// # Panics
/// On a line that can't be read.
pub(crate) fn objects() -> (Vec<Value>, Vec<Value>) {
    let (mut roles, mut bindings): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(rest) = line.strip_prefix("role ") {
            roles.push(role(rest));
        } else if let Some(rest) = line.strip_prefix("bind ") {
            bindings.push(binding(rest));
        } else {
            let role = roles.last_mut().expect("a rule stands below its role");
            let rules = role["rules"].as_array_mut().expect("every role has a list of rules");
            rules.extend(rule(line));
        }
    }
    (roles, bindings)
}

fn named(name: &str) -> Value {
    json!({
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
    })
}

fn role(line: &str) -> Value {
    let mut words = line.split_whitespace();
    let name = words.next().expect("a role has a name");
    let mut role = named(name);
    role["rules"] = json!([]);
    while let Some(word) = words.next() {
        let gatherer = if word == "into" { words.next().expect("into names a role") } else { name };
        let label = format!("{GROUP}/aggregate-to-{gatherer}");
        if word == "into" {
            role["metadata"]["labels"][label] = json!("true");
        } else {
            role["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
    }
    role
}

/// The rules of a line: one for each group of resources.
fn rule(line: &str) -> Vec<Value> {
    let (verbs, objects) = line.split_once(" : ").expect("verbs and objects are parted");
    let verbs: Vec<&str> = verbs
        .split_whitespace()
        .flat_map(|verb| match verb {
            "read" => vec!["get", "list", "watch"],
            "write" => vec!["create", "delete", "deletecollection", "patch", "update"],
            verb => vec![verb],
        })
        .collect();
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut paths = Vec::new();
    for object in objects.split_whitespace() {
        if object.starts_with('/') || object == "*" {
            paths.push(object);
        } else {
            let (group, resource) = object.split_once(':').unwrap_or(("", object));
            groups.entry(group).or_default().push(resource);
        }
    }
    let of_group = |(group, resources): (&str, Vec<&str>)| json!({"verbs": verbs, "apiGroups": [group], "resources": resources});
    let mut rules: Vec<Value> = groups.into_iter().map(of_group).collect();
    if !paths.is_empty() {
        rules.push(json!({"verbs": verbs, "nonResourceURLs": paths}));
    }
    rules
}

fn binding(line: &str) -> Value {
    let (role, subjects) = line.split_once(" : ").expect("role and subjects are parted");
    let mut words = subjects.split_whitespace();
    let mut all = Vec::new();
    while let (Some(kind), Some(name)) = (words.next(), words.next()) {
        let kind = if kind == "user" { "User" } else { "Group" };
        all.push(json!({"kind": kind, "apiGroup": GROUP, "name": name}));
    }
    let mut binding = named(role);
    binding["subjects"] = json!(all);
    binding["roleRef"] = json!({"kind": "ClusterRole", "apiGroup": GROUP, "name": role});
    binding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roles_every_cluster_has_are_read_to_the_end() {
        let (roles, bindings) = objects();
        let of = |name: &str| roles.iter().find(|role| role["metadata"]["name"] == name).unwrap();
        assert_eq!(of("cluster-admin")["rules"].as_array().unwrap().len(), 2);
        let label = "rbac.authorization.k8s.io/aggregate-to-admin";
        assert_eq!(of("edit")["metadata"]["labels"][label], "true");
        let dns = json!([
            {"verbs": ["list", "watch"], "apiGroups": [""], "resources": ["endpoints", "services"]},
        ]);
        assert_eq!(of("system:kube-dns")["rules"], dns);
        for binding in &bindings {
            let role = binding["roleRef"]["name"].as_str().unwrap();
            assert_eq!(of(role)["metadata"], binding["metadata"]);
        }
    }
}
