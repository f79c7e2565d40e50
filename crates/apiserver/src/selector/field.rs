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
    "status.podIPs",
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
    (Rules::Job, &["status.successful"]),
    (Rules::Namespace, &["status.phase"]),
    (Rules::Node, &["spec.unschedulable"]),
    (Rules::Pod, POD),
    (Rules::ReplicationController, &["status.replicas"]),
    (Rules::Secret, &["type"]),
    (Rules::Service, &["spec.clusterIP", "spec.type"]),
];

impl FieldSelector {
    /// Reads `a=b,c!=d` for objects of `resource`. In values, a backslash goes before commas,
    /// equals signs and backslashes.
    ///
    /// # Errors
    /// A sentence about a part that can't be read or a field that can't be selected by.
    pub(crate) fn parse(text: &str, resource: &Resource) -> Result<Self, String> {
        let mut parts = split(text);
        parts.sort_unstable();
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        let terms: Vec<(&str, &str, bool)> = parts
            .map(|part| {
                term(part)
                    .ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{part}'"))
            })
            .collect::<Result<_, _>>()?;
        let read = |(path, value, equal): (&str, &str, bool)| {
            let value = unescape(value)?;
            Ok(Requirement { path: selectable(path, resource)?, value, equal })
        };
        terms.into_iter().map(read).collect::<Result<_, _>>().map(Self)
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

/// The parts between commas.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        if !escaped && letter == ',' {
            parts.push(&text[start..at]);
            start = at + 1;
        }
        escaped = !escaped && letter == '\\';
    }
    parts.push(&text[start..]);
    parts
}

/// A part's field, its value, and whether they shall be equal.
fn term(part: &str) -> Option<(&str, &str, bool)> {
    let at = part.find("!=").into_iter().chain(part.find('=')).min()?;
    let (path, rest) = part.split_at(at);
    let sign = ["!=", "==", "="].into_iter().find(|sign| rest.starts_with(sign))?;
    Some((path, &rest[sign.len()..], sign != "!="))
}

/// A value without its backslashes.
///
/// Source: k8s.io/apimachinery `fields.UnescapeValue`.
fn unescape(value: &str) -> Result<String, String> {
    let wrong = |what: &str| format!("invalid field selector: {what}");
    let mut letters = value.chars();
    let mut plain = String::new();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => escaped,
                other => {
                    let sequence: String = ['\\'].into_iter().chain(other).collect();
                    return Err(wrong(&format!("invalid escape sequence: {sequence}")));
                }
            },
            ',' | '=' => {
                let code = u32::from(letter);
                return Err(wrong(&format!("unescaped character in value: {code}")));
            }
            letter => letter,
        });
    }
    Ok(plain)
}

/// The path in storage of a field that objects can be selected by.
///
/// Source: the functions that Kubernetes registers by `AddFieldLabelConversionFunc`, each with words
/// of its own.
fn selectable(path: &str, resource: &Resource) -> Result<String, String> {
    let stored = stored_path(path, resource);
    if is_selectable(&stored, resource) {
        return Ok(stored);
    }
    // As old clients say it.
    if resource.rules == Rules::Pod && path == "spec.host" {
        return Ok("spec.nodeName".to_owned());
    }
    if resource.rules == Rules::Job {
        return Err(format!("field label {path:?} not supported for Job"));
    }
    let of_kind = SELECTABLE.iter().any(|(rules, _)| *rules == resource.rules);
    if of_kind || resource.rules == Rules::Custom {
        return Err(format!("field label not supported: {path}"));
    }
    if path == "metadata.namespace" {
        return Ok(stored);
    }
    Err(format!(
        "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    ))
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
    }

    #[test]
    fn values_are_unescaped_and_what_can_not_be_selected_by_is_refused_in_kubernetes_words() {
        let registry = Registry::builtin();
        let of = |group: &str, plural: &str| registry.get(group, "v1", plural).unwrap();
        let (pods, maps) = (of("", "pods"), of("", "configmaps"));
        let named = |name: &str| json!({"metadata": {"name": name}});
        let selector = FieldSelector::parse(r"metadata.name=a\,b\=c\\", pods).unwrap();
        assert!(selector.matches(&named(r"a,b=c\")) && !selector.matches(&named("a")));
        let cases = [
            (
                pods,
                "spec.nodeName",
                "invalid selector: 'spec.nodeName'; can't understand 'spec.nodeName'",
            ),
            (pods, "spec.nope=1", "field label not supported: spec.nope"),
            (
                maps,
                "data.a=1",
                "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            ),
            (
                of("batch", "jobs"),
                "status.failed=1",
                "field label \"status.failed\" not supported for Job",
            ),
            (
                of("", "nodes"),
                "metadata.namespace=a",
                "field label not supported: metadata.namespace",
            ),
            (pods, "spec.nodeName=a=b", "invalid field selector: unescaped character in value: 61"),
            (pods, r"spec.nodeName=\a", r"invalid field selector: invalid escape sequence: \a"),
            (pods, r"spec.nodeName=\", r"invalid field selector: invalid escape sequence: \"),
        ];
        for (resource, text, why) in cases {
            assert_eq!(FieldSelector::parse(text, resource), Err(why.to_owned()), "{text}");
        }
        assert!(FieldSelector::parse("spec.host=a", pods).is_ok());
        assert!(FieldSelector::parse("metadata.namespace=", of("", "persistentvolumes")).is_ok());
    }
}
