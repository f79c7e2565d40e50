//! A container's environment, command and arguments, as kubelet works them out.
//!
//! Source: kubelet `makeEnvironmentVariables`; Container API `env`, `envFrom`, `command`, `args`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod};

use super::fields;

/// The entries of ConfigMaps and Secrets of the pod's namespace, as far as its containers use them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, BTreeMap<String, ByteString>>,
    /// What tells where Services are, for every container of the pod.
    pub services: Vec<(String, String)>,
}

/// What is only known where and when the pod runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Of the node the pod runs on.
    pub host_ips: Vec<IpAddr>,
    /// Of the pod, in the order the network plugin gave them.
    pub pod_ips: Vec<IpAddr>,
}

/// A container whose configuration asks for something that isn't there. Kubelet's reason for it is
/// `CreateContainerConfigError`, and creating what is missing mends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    /// No such object.
    #[error("{kind} {name:?} not found")]
    Object { kind: &'static str, name: String },
    /// The object has no such key.
    #[error("couldn't find key {key} in {kind} {name}")]
    Key { kind: &'static str, name: String, key: String },
    /// A source the API does not have, or that the lab does not offer.
    #[error("env {variable}: {field}: not supported")]
    Field { variable: String, field: String },
    /// A resource that the container does not have.
    #[error("env {variable}: {why}")]
    Resource { variable: String, why: String },
}

/// Names of the ConfigMaps and of the Secrets that `container` uses in its environment.
pub(crate) fn references(container: &Container) -> (Vec<&str>, Vec<&str>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    for from in container.env_from.iter().flatten() {
        config_maps.extend(from.config_map_ref.as_ref().map(|source| source.name.as_str()));
        secrets.extend(from.secret_ref.as_ref().map(|source| source.name.as_str()));
    }
    for source in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.as_ref().map(|key| key.name.as_str()));
        secrets.extend(source.secret_key_ref.as_ref().map(|key| key.name.as_str()));
    }
    (config_maps, secrets)
}

/// The environment of `container`: where Services are, then `envFrom`, then `env`, where a later value of a name wins
/// and `$(NAME)` stands for what has been set before it.
///
/// # Errors
/// What the manifest asks for and isn't there.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    sources: &Sources,
) -> Result<Vec<(String, String)>, Missing> {
    let mut env = Environment::default();
    for (name, value) in &sources.services {
        env.set(name.clone(), value.clone());
    }
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(source) = &from.config_map_ref {
            let found = sources.config_map(&source.name, source.optional)?;
            env.set_all(prefix, found);
        }
        if let Some(source) = &from.secret_ref {
            let found = sources.secret(&source.name, source.optional)?;
            env.set_all(prefix, found);
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand(value, |name| env.get(name))),
            (None, Some(source)) => value_from(variable, source, (pod, container), facts, sources)?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            env.set(variable.name.clone(), value);
        }
    }
    Ok(env.0)
}

/// `words` with every `$(NAME)` replaced from `env`.
pub(crate) fn expand_all(words: &[String], env: &[(String, String)]) -> Vec<String> {
    let get = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    words.iter().map(|word| expand(word, get)).collect()
}

/// `text` with every `$(NAME)` that `get` knows replaced. One it doesn't know stays as it is;
/// `$$` is one `$` and hides what follows it.
///
/// Source: `k8s.io/kubernetes/third_party/forked/golang/expansion`.
fn expand<'a>(text: &str, get: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(hidden) = after.strip_prefix('$') {
            out.push('$');
            rest = hidden;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|s| s.split_once(')')) {
            match get(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Variables in the order they were first set.
#[derive(Default)]
struct Environment(Vec<(String, String)>);

impl Environment {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|(key, _)| *key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    fn set_all(&mut self, prefix: &str, entries: BTreeMap<String, String>) {
        for (key, value) in entries {
            self.set(format!("{prefix}{key}"), value);
        }
    }
}

impl Sources {
    fn config_map(&self, name: &str, optional: Option<bool>) -> Found {
        found("configmap", name, self.config_maps.get(name).cloned(), optional)
    }

    fn secret(&self, name: &str, optional: Option<bool>) -> Found {
        let text = |bytes: &ByteString| String::from_utf8_lossy(&bytes.0).into_owned();
        let entries = self
            .secrets
            .get(name)
            .map(|entries| entries.iter().map(|(key, bytes)| (key.clone(), text(bytes))).collect());
        found("secret", name, entries, optional)
    }
}

type Found = Result<BTreeMap<String, String>, Missing>;

fn found(
    kind: &'static str,
    name: &str,
    entries: Option<BTreeMap<String, String>>,
    optional: Option<bool>,
) -> Found {
    match entries {
        None if optional == Some(true) => Ok(BTreeMap::new()),
        None => Err(Missing::Object { kind, name: name.to_owned() }),
        Some(entries) => Ok(entries),
    }
}

/// The value a variable takes from elsewhere; `None` if it is optional and not there.
fn value_from(
    variable: &EnvVar,
    source: &EnvVarSource,
    (pod, container): (&Pod, &Container),
    facts: &Facts,
    sources: &Sources,
) -> Result<Option<String>, Missing> {
    let unsupported =
        |field: &str| Missing::Field { variable: variable.name.clone(), field: field.to_owned() };
    let pick =
        |entries: &BTreeMap<String, String>, kind, name: &str, key: &str, optional| match entries
            .get(key)
        {
            None if optional != Some(true) => {
                Err(Missing::Key { kind, name: name.to_owned(), key: key.to_owned() })
            }
            value => Ok(value.cloned()),
        };
    if let Some(field) = &source.field_ref {
        let value = field_value(&field.field_path, pod, facts);
        return value.map(Some).ok_or_else(|| unsupported(&field.field_path));
    }
    if let Some(wanted) = &source.config_map_key_ref {
        let entries = sources.config_map(&wanted.name, wanted.optional)?;
        return pick(&entries, "configmap", &wanted.name, &wanted.key, wanted.optional);
    }
    if let Some(wanted) = &source.secret_key_ref {
        let entries = sources.secret(&wanted.name, wanted.optional)?;
        return pick(&entries, "secret", &wanted.name, &wanted.key, wanted.optional);
    }
    if let Some(wanted) = &source.resource_field_ref {
        let value = fields::resource(wanted, pod, Some(container));
        let variable = variable.name.clone();
        return value.map(Some).map_err(|why| Missing::Resource { variable, why });
    }
    Err(unsupported("valueFrom"))
}

/// What the downward API offers a variable; `None` for a path it doesn't have.
fn field_value(path: &str, pod: &Pod, facts: &Facts) -> Option<String> {
    let join = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
    let first = |ips: &[IpAddr]| ips.first().map(IpAddr::to_string).unwrap_or_default();
    match path {
        "status.hostIP" => Some(first(&facts.host_ips)),
        "status.hostIPs" => Some(join(&facts.host_ips)),
        "status.podIP" => Some(first(&facts.pod_ips)),
        "status.podIPs" => Some(join(&facts.pod_ips)),
        // All of them at once are for files.
        "metadata.labels" | "metadata.annotations" => None,
        _ => fields::of_pod(path, pod),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn references_in_words_are_replaced_as_kubelet_does() {
        let env = vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())];
        let cases = [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(NOPE)", "$(NOPE)"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("$A", "$A"),
            ("$()", "$()"),
            ("$(B)", "$(A)"),
            ("a$", "a$"),
            ("ü$(A)ü", "ü1ü"),
        ];
        for (word, expected) in cases {
            assert_eq!(expand_all(&[word.to_owned()], &env), [expected], "{word}");
        }
    }

    fn resolve(container: Value) -> Result<Vec<(String, String)>, String> {
        let pod = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "labels": {"app": "x"}},
            "spec": {"nodeName": "node-1", "containers": []}
        });
        let facts = Facts {
            host_ips: vec!["10.80.1.11".parse().unwrap()],
            pod_ips: vec!["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()],
        };
        let entry = ("k".to_owned(), "v".to_owned());
        let hidden = ("k".to_owned(), ByteString(b"hi".to_vec()));
        let sources = Sources {
            config_maps: [("m".to_owned(), [entry].into())].into(),
            secrets: [("s".to_owned(), [hidden].into())].into(),
            services: Vec::new(),
        };
        let pod = serde_json::from_value(pod).unwrap();
        let container = serde_json::from_value(container).unwrap();
        environment(&pod, &container, &facts, &sources).map_err(|missing| missing.to_string())
    }

    #[test]
    fn every_source_of_a_variable_gives_its_value() {
        let from = |source: Value| json!({"name": "V", "valueFrom": source});
        let field = |path: &str| from(json!({"fieldRef": {"fieldPath": path}}));
        let key = |of: &str, name: &str, key: &str, optional: bool| {
            from(json!({of: {"name": name, "key": key, "optional": optional}}))
        };
        let cases = [
            (json!({"name": "V", "value": "x"}), Ok(Some("x"))),
            (json!({"name": "V"}), Ok(Some(""))),
            (field("metadata.name"), Ok(Some("web"))),
            (field("metadata.namespace"), Ok(Some("shop"))),
            (field("metadata.uid"), Ok(Some("u1"))),
            (field("metadata.labels['app']"), Ok(Some("x"))),
            (field("metadata.labels['none']"), Ok(Some(""))),
            (field("spec.nodeName"), Ok(Some("node-1"))),
            (field("spec.serviceAccountName"), Ok(Some("default"))),
            (field("status.podIP"), Ok(Some("10.244.1.2"))),
            (field("status.podIPs"), Ok(Some("10.244.1.2,fd00::2"))),
            (field("status.hostIP"), Ok(Some("10.80.1.11"))),
            (field("status.phase"), Err("env V: status.phase: not supported")),
            (key("configMapKeyRef", "m", "k", false), Ok(Some("v"))),
            (key("configMapKeyRef", "m", "z", true), Ok(None)),
            (key("configMapKeyRef", "m", "z", false), Err("couldn't find key z in configmap m")),
            (key("configMapKeyRef", "no", "k", false), Err("configmap \"no\" not found")),
            (key("configMapKeyRef", "no", "k", true), Ok(None)),
            (key("secretKeyRef", "s", "k", false), Ok(Some("hi"))),
            (key("secretKeyRef", "no", "k", false), Err("secret \"no\" not found")),
        ];
        for (variable, expected) in cases {
            let env = resolve(json!({"name": "c", "env": [variable]}));
            let value = env.map(|env| env.into_iter().next().map(|(_, value)| value));
            let expected = expected.map(|value| value.map(str::to_owned)).map_err(str::to_owned);
            assert_eq!(value, expected, "{variable}");
        }
    }

    #[test]
    fn a_later_value_wins_and_sees_the_earlier_ones() {
        let env = resolve(json!({"name": "c",
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(P_k)$(C)"},
                    {"name": "A", "value": "$(A)2"}]}));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(env.unwrap(), [pair("P_k", "v"), pair("A", "12"), pair("B", "1v$(C)")]);
    }
}
