//! The manifests, with what is set in its places. A template has `@NAME@` where something belongs.

use std::path::Path;

use anyhow::{bail, ensure};
use lab::manifest::parse;
use serde_json::{Value, json};

use super::keys::{self, DNS, IMAGE, Key, Settings};

pub(super) const INSTALL: &str = include_str!("manifest.yaml");
const CLEANUP: &str = include_str!("cleanup.yaml");

/// Which nodes a DaemonSet is for, in both templates.
const LINUX: &str = "        kubernetes.io/os: linux\n";

/// Keys whose values stand in the manifest itself.
pub(super) const PLACES: [&str; 4] = [IMAGE, "stateDir", "cniConfDir", "cniBinDir"];

/// Lines of the template around what narrows the agents' rights.
pub(super) const NARROWED: [&str; 2] = ["@narrowed@\n", "@end@\n"];

/// What installs Seaway, with an admission policy that says what roles can't if `is_narrowed`.
pub(super) fn install(settings: &Settings, is_narrowed: bool) -> String {
    let template = match (is_narrowed, INSTALL.split_once(NARROWED[0])) {
        (false, Some((before, rest))) => {
            let after = rest.split_once(NARROWED[1]).map_or("", |(_, after)| after);
            [before, after].concat()
        }
        _ => NARROWED.iter().fold(INSTALL.to_owned(), |text, line| text.replace(line, "")),
    };
    let variables = keys::all().iter().filter_map(|key| {
        let (variable, value) = (key.variable()?, settings.of(&key.name)?);
        Some(format!("\n  {variable}: {}", quoted(value)))
    });
    let variables = format!("data:{}", variables.collect::<String>());
    let dns = format!("data:\n  dns.yaml: {}", quoted(settings.of(DNS).unwrap_or_default()));
    let text = template
        .replace(
            "@made@",
            "Printed by `seaway install`, which has settings: `seaway install --help`.",
        )
        .replace("@settings@", &variables)
        .replace("@dns@", &dns)
        .replace("@digest@", &digest(settings));
    placed(&text, settings)
}

/// What takes it away.
pub(super) fn cleanup(settings: &Settings) -> String {
    let state = value(settings, key("stateDir"));
    let parent = Path::new(state).parent().unwrap_or(Path::new("/")).display().to_string();
    let server = settings
        .of("apiServer")
        .map(|value| format!("        - {{name: SEAWAY_API_SERVER, value: {}}}\n", quoted(value)));
    let text = CLEANUP
        .replace("@made@", "Printed by `seaway install --cleanup`.")
        .replace("@stateParent@", &parent)
        .replace("        @apiServer@\n", &server.unwrap_or_default());
    placed(&text, settings)
}

/// A manifest for those nodes alone that have all of these labels.
///
/// # Errors
/// What is no label with a value.
pub(super) fn selecting(text: &str, labels: &[String]) -> anyhow::Result<String> {
    let mut selector = LINUX.to_owned();
    for label in labels {
        let Some((name, value)) = label.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            bail!("--node-selector {label}: LABEL=VALUE is wanted");
        };
        selector += &format!("        {}: {}\n", quoted(name), quoted(value));
    }
    Ok(text.replace(LINUX, &selector))
}

/// The objects of a manifest as one List, as kubectl prints and takes it.
///
/// # Errors
/// What is no object.
pub(super) fn list(text: &str) -> anyhow::Result<Value> {
    let (objects, problems) = parse("manifest", text);
    ensure!(problems.is_empty(), "{problems:?}");
    let items: Vec<Value> = objects.into_iter().map(|object| object.value).collect();
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": items }))
}

fn placed(text: &str, settings: &Settings) -> String {
    let text = text.replace("@version@", env!("CARGO_PKG_VERSION"));
    PLACES
        .into_iter()
        .fold(text, |text, name| text.replace(&format!("@{name}@"), value(settings, key(name))))
}

fn value<'a>(settings: &'a Settings, key: &'a Key) -> &'a str {
    settings.of(&key.name).unwrap_or(&key.default)
}

pub(super) fn key(name: &str) -> &'static Key {
    let key = keys::all().iter().find(|key| key.name == name);
    key.expect("a test renders all of them")
}

/// All that agents read when they start. A template of pods that says something else makes other pods.
fn digest(settings: &Settings) -> String {
    let set = keys::all().iter().filter(|key| key.variable().is_some());
    let set = set.filter_map(|key| Some(format!("{}={} ", key.name, settings.of(&key.name)?)));
    let text = quoted(&set.collect::<String>());
    text.trim_matches('"').to_owned()
}

/// A text as YAML has it between quotes: as JSON has it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(set: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        set.iter().for_each(|(key, value)| settings.set(key, value).unwrap());
        settings
    }

    /// What installs Seaway with these settings.
    fn with(set: &[(&str, &str)]) -> String {
        install(&settings(set), true)
    }

    #[test]
    fn what_is_set_stands_where_it_counts() {
        let dns = "hosts:\n- {address: 192.0.2.1, names: [a.example]}\n";
        let text = with(&[
            ("routing", "vxlan"),
            ("mtu", "1400"),
            ("noMasquerade", "true"),
            ("masqueradeAll", "false"),
            ("stateDir", "/srv/seaway"),
            ("cniBinDir", "/usr/libexec/cni"),
            ("image", "registry.example/seaway@sha256:0"),
            ("dnsSettings", dns),
        ]);
        for wanted in [
            "\n  SEAWAY_ROUTING: \"vxlan\"\n",
            "\n  SEAWAY_MTU: \"1400\"\n",
            "\n  SEAWAY_NO_MASQUERADE: \"true\"\n",
            "\n  SEAWAY_STATE_DIR: \"/srv/seaway\"\n",
            "hostPath: {path: /srv/seaway, type",
            "mountPath: /srv/seaway}",
            "hostPath: {path: /usr/libexec/cni, type",
            "image: registry.example/seaway@sha256:0\n",
            "\n  dns.yaml: \"hosts:\\n- {address: 192.0.2.1, names: [a.example]}\\n\"\n",
            "seaway.io/settings: \"routing=vxlan mtu=1400 noMasquerade=true ",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(!text.contains("SEAWAY_MASQUERADE_ALL") && !text.contains("/var/lib/seaway"));
    }

    #[test]
    fn a_list_has_every_object_with_what_is_set() {
        for (text, last) in [
            (with(&[("mtu", "1400")]), "seaway"),
            (cleanup(&Settings::default()), "seaway-cleanup"),
        ] {
            let list = list(&text).unwrap();
            let items = list["items"].as_array().unwrap();
            assert_eq!(items.len(), text.matches("\nkind: ").count());
            let (Some(set), Some(object)) = (items.last(), items.first()) else { panic!("{list}") };
            assert_eq!(
                (&object["kind"], &set["kind"]),
                (&json!("ServiceAccount"), &json!("DaemonSet"))
            );
            assert_eq!(set["metadata"]["name"], last);
        }
        let list = list(&with(&[("mtu", "1400")])).unwrap();
        let mut items = list["items"].as_array().unwrap().iter();
        let config = items.find(|it| it["kind"] == "ConfigMap").unwrap();
        assert_eq!(config["data"], json!({ "SEAWAY_MTU": "1400" }));
    }

    /// The kinds, like `endpointslices`, that a rule of a role or of an admission policy is about.
    fn kinds(rule: &Value) -> Vec<&str> {
        rule["resources"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
    }

    #[test]
    fn what_agents_may_write_of_others_is_narrowed_unless_somebody_says_not_to() {
        let list = |is_narrowed| list(&install(&Settings::default(), is_narrowed)).unwrap();
        let all = list(true);
        let of_kind = |wanted: &'static str| {
            let items = all["items"].as_array().unwrap().iter();
            items.filter(move |it| it["kind"].as_str().is_some_and(|kind| kind.ends_with(wanted)))
        };
        let policy = of_kind("ValidatingAdmissionPolicy").next().unwrap();
        let narrowed = policy["spec"]["matchConstraints"]["resourceRules"].as_array().unwrap();
        let narrowed: Vec<&str> = narrowed.iter().flat_map(kinds).collect();
        let rules = of_kind("Role").flat_map(|role| role["rules"].as_array().unwrap());
        let writes = rules.filter(|rule| {
            let mut verbs = rule["verbs"].as_array().unwrap().iter();
            verbs.any(|verb| !["get", "list", "watch"].iter().any(|read| verb == read))
        });
        let wide: Vec<&str> =
            writes.flat_map(kinds).filter(|kind| !narrowed.contains(kind)).collect();
        // Conditions of policies, and what tells a person something.
        assert!(
            wide.iter().all(|kind| kind.ends_with("policies/status") || *kind == "events"),
            "{wide:?}"
        );
        let named = policy["spec"]["validations"].as_array().unwrap().iter();
        let named = named.filter_map(|rule| rule["expression"].as_str()).collect::<String>();
        for kind in narrowed.iter().filter(|kind| !kind.contains('/')) {
            assert!(named.contains(&format!("variables.kind != '{kind}'")), "{kind}");
        }
        let binding = of_kind("ValidatingAdmissionPolicyBinding").next().unwrap();
        assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
        let wide = list(false);
        assert_eq!(
            wide["items"].as_array().unwrap().len() + 2,
            all["items"].as_array().unwrap().len()
        );
        assert!(!wide.to_string().contains("Admission"));
    }

    #[test]
    fn nodes_are_chosen_by_all_labels_that_are_named() {
        for text in [with(&[]), cleanup(&Settings::default())] {
            assert_eq!(selecting(&text, &[]).unwrap(), text);
            let labels = ["seaway.io/network=seaway".to_owned(), "pool=".to_owned()];
            let chosen = selecting(&text, &labels).unwrap();
            let wanted = "      nodeSelector:\n        kubernetes.io/os: linux\n        \
                          \"seaway.io/network\": \"seaway\"\n        \"pool\": \"\"\n      tolerations:";
            assert!(chosen.contains(wanted), "{chosen}");
            assert!(selecting(&text, &["seaway".to_owned()]).is_err());
        }
    }

    #[test]
    fn no_place_of_a_template_stays_empty() {
        let all = settings(&[("stateDir", "/srv/seaway")]);
        for text in [with(&[]), cleanup(&Settings::default()), cleanup(&all)] {
            let digests = "@sha256";
            let left = text.lines().find(|line| line.contains('@') && !line.contains(digests));
            assert_eq!(left, None);
        }
        assert!(cleanup(&all).contains("{path: /srv, type: Directory}"));
        let elsewhere = cleanup(&settings(&[("apiServer", "https://192.0.2.1")]));
        assert!(elsewhere.contains("SEAWAY_API_SERVER, value: \"https://192.0.2.1\"}"));
    }
}
