//! A network's configuration: a list of plugins, and what each of them is given of it.
//!
//! Source: CNI specification 1.1.0 §1, §3; `libcni` (`conf.go`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Join;

/// A configuration list as libcni reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Network {
    name: String,
    cni_version: String,
    /// CHECK is not to be called.
    pub(super) disable_check: bool,
    /// The plugins' own configurations, in order.
    pub(super) plugins: Vec<Map<String, Value>>,
}

impl Network {
    /// Reads a list, or a single plugin's configuration as a list of one.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let conf: Map<String, Value> =
            serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let text = |field: &str| conf.get(field).and_then(Value::as_str);
        let name = text("name").filter(|name| !name.is_empty()).ok_or("name: required")?.to_owned();
        let cni_version = text("cniVersion").unwrap_or("0.2.0").to_owned();
        let disable_check = conf.get("disableCheck") == Some(&Value::Bool(true));
        let plugins = match conf.get("plugins") {
            None => vec![conf.clone()],
            Some(plugins) => serde_json::from_value(plugins.clone())
                .map_err(|error| format!("plugins: {error}"))?,
        };
        if plugins.is_empty() {
            return Err("plugins: no plugins in list".to_owned());
        }
        for (index, plugin) in plugins.iter().enumerate() {
            let kind: &Map<String, Value> = plugin;
            // A path here would let a configuration execute anything (CVE-2021-20206).
            match kind.get("type").and_then(Value::as_str) {
                Some(kind) if !kind.is_empty() && !kind.contains('/') => {}
                _ => return Err(format!("plugins[{index}].type: not the name of a plugin")),
            }
        }
        Ok(Self { name, cni_version, disable_check, plugins })
    }

    /// What a plugin is given: its part of the list, the list's name and version, the result so
    /// far, and those capability arguments it declares.
    pub(super) fn conf(
        &self,
        plugin: &Map<String, Value>,
        join: Option<&Join>,
        previous: Option<&Value>,
    ) -> Value {
        let mut conf = plugin.clone();
        conf.insert("name".to_owned(), json!(self.name));
        conf.insert("cniVersion".to_owned(), json!(self.cni_version));
        if let Some(previous) = previous {
            conf.insert("prevResult".to_owned(), previous.clone());
        }
        let declares = |name: &str| plugin.get("capabilities").is_some_and(|all| all[name] == true);
        let offered = join.map(|join| &join.capabilities).into_iter().flatten();
        let wanted: Map<String, Value> = offered
            .filter(|(name, _)| declares(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !wanted.is_empty() {
            conf.insert("runtimeConfig".to_owned(), Value::Object(wanted));
        }
        Value::Object(conf)
    }

    /// Whether the list's version is that one or a later one.
    pub(super) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut parts = self.cni_version.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (major, minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_is_none_is_refused_by_name() {
        let cases = [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{}", "name: required"),
            (r#"{"name": "n"}"#, "plugins[0].type: not the name of a plugin"),
            (r#"{"name": "n", "plugins": []}"#, "plugins: no plugins in list"),
            (r#"{"name": "n", "type": "../x"}"#, "plugins[0].type: not the name of a plugin"),
        ];
        for (text, expected) in cases {
            assert_eq!(Network::parse(text.as_bytes()).unwrap_err(), expected, "{text}");
        }
        assert!(Network::parse(br#"{"name": "n", "type": "bridge"}"#).is_ok());
    }
}
