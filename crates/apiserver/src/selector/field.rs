//! Field selectors: equality on the few fields a kind offers.
use serde_json::Value;

use crate::resource::{Resource, Rules};

/// Requirements on fields, all of which must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    path: String,
    value: String,
    equal: bool,
}

/// What pods can be selected by.
///
/// Source: Kubernetes "Field Selectors"; pkg/registry/core/pod `ToSelectableFields`.
const POD: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];
const EVENT: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// What objects of each kind can be selected by, besides name and namespace.
const SELECTABLE: &[(Rules, &[&str])] = &[
    (Rules::Event, EVENT),
    (Rules::IpAddress, &["spec.parentRef.name"]),
    (Rules::Job, &["status.successful"]),
    (Rules::Namespace, &["status.phase"]),
    (Rules::Node, &["spec.unschedulable"]),
    (Rules::Pod, POD),
    (Rules::ReplicaSet, &["status.replicas"]),
    (Rules::ReplicationController, &["status.replicas"]),
    (Rules::Secret, &["type"]),
    (Rules::Service, &["spec.clusterIP", "spec.type"]),
];

impl FieldSelector {
    /// Reads `a=b,c!=d` for objects of `resource`.
    ///
    /// # Errors
    /// A sentence about a part that can't be read or a field that can't be selected by.
    pub(crate) fn parse(text: &str, resource: &Resource) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| Requirement::parse(part, resource)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nothing is required.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A selector for the one object named `name`.
    pub(crate) fn with_name(mut self, name: &str) -> Self {
        let path = "metadata.name".to_owned();
        self.0.push(Requirement { path, value: name.to_owned(), equal: true });
        self
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|r| (field(object, &r.path) == r.value) == r.equal)
    }
}

impl Requirement {
    fn parse(part: &str, resource: &Resource) -> Result<Self, String> {
        let split = part.split_once("!=").map(|(path, value)| (path, value, false));
        let split = split
            .or_else(|| part.split_once("==").map(|(path, value)| (path, value, true)))
            .or_else(|| part.split_once('=').map(|(path, value)| (path, value, true)));
        let Some((path, value, equal)) = split else {
            return Err(format!("invalid selector: '{part}'; can't understand '{part}'"));
        };
        let path = stored_path(path, resource);
        if !is_selectable(&path, resource) {
            return Err(format!("field label not supported: {path}"));
        }
        Ok(Self { path, value: value.to_owned(), equal })
    }
}

/// The path in storage of a field that the served version names otherwise.
fn stored_path(path: &str, resource: &Resource) -> String {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    match resource.renamed.iter().find(|(served, _)| *served == first) {
        Some((_, stored)) if rest.is_empty() => (*stored).to_owned(),
        Some((_, stored)) => format!("{stored}.{rest}"),
        None => path.to_owned(),
    }
}

fn is_selectable(path: &str, resource: &Resource) -> bool {
    let of_kind = SELECTABLE.iter().find(|(rules, _)| *rules == resource.rules);
    let of_all =
        path == "metadata.name" || (path == "metadata.namespace" && resource.is_namespaced());
    let of_custom = resource
        .custom
        .as_ref()
        .is_some_and(|custom| custom.selectable.iter().any(|selectable| selectable == path));
    of_all || of_custom || of_kind.is_some_and(|(_, paths)| paths.contains(&path))
}

/// The field at `path` as a string; what is missing is empty, a missing truth value false.
fn field(object: &Value, path: &str) -> String {
    let at = |path: &str| path.split('.').fold(object, |value, part| &value[part]).clone();
    match path {
        // The pod's first address; the event's component, wherever it was written.
        "source" => return text(&at("source.component"), &at("reportingComponent")),
        "reportingComponent" => return text(&at("reportingComponent"), &at("source.component")),
        "spec.unschedulable" | "spec.hostNetwork" => {
            return at(path).as_bool().unwrap_or(false).to_string();
        }
        _ => {}
    }
    // Of custom kinds, numbers and truth values can be selected by too.
    let value = at(path);
    if value.is_boolean() || value.is_number() {
        value.to_string()
    } else {
        text(&value, &Value::Null)
    }
}

fn text(value: &Value, otherwise: &Value) -> String {
    [value, otherwise].into_iter().find_map(Value::as_str).unwrap_or("").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::Registry;

    #[test]
    fn pods_are_selected_by_node_and_phase() {
        let registry = Registry::builtin();
        let pods = registry.get("", "v1", "pods").unwrap();
        let pod = json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"nodeName": "a"}, "status": {"phase": "Running"},
        });
        let cases = "
            spec.nodeName=a | yes
            spec.nodeName==a,status.phase!=Failed | yes
            spec.nodeName= | no
            spec.hostNetwork=false | yes
            metadata.name=web,metadata.namespace=shop | yes
            metadata.name!=web | no";
        for line in cases.lines().skip(1) {
            let (text, verdict) = line.rsplit_once('|').unwrap();
            let selector = FieldSelector::parse(text.trim(), pods).unwrap();
            assert_eq!(selector.matches(&pod), verdict.trim() == "yes", "{text}");
        }
        assert!(FieldSelector::parse("spec.nope=1", pods).is_err());
        assert!(FieldSelector::parse("spec.nodeName", pods).is_err());
    }
}
