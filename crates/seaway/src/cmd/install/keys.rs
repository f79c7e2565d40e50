//! What can be set. Nearly every key is a flag of `seaway agent`, which has its default, its description and
//! its checks: there is no second list of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;

use anyhow::{bail, ensure};
use clap::{Arg, ArgAction};

use crate::cmd::agent;

/// The flags of the agent that can be set for a cluster. What a node needs other values of than its
/// neighbors, or nobody ever needs, is none of them.
const FLAGS: [&str; 19] = [
    "api-server",
    "cluster-domain",
    "pod-cidrs",
    "routing",
    "mtu",
    "vxlan-port",
    "pod-link",
    "no-masquerade",
    "non-masquerade-cidrs",
    "nodeport-addresses",
    "external-ips",
    "masquerade-all",
    "no-dns",
    "dns-local-addresses",
    "acknowledge-drains",
    "log-format",
    "state-dir",
    "cni-conf-dir",
    "cni-bin-dir",
];

/// The image, by its key.
pub(super) const IMAGE: &str = "image";

/// What DNS asks of other servers, by its key.
pub(super) const DNS: &str = "dnsSettings";

/// Something that can be set.
#[derive(Debug)]
pub(super) struct Key {
    /// `camelCase`.
    pub(super) name: String,
    /// What it is, in one paragraph.
    pub(super) about: String,
    /// What holds when nothing is set; empty when that is found out.
    pub(super) default: String,
    /// Its flag; `None` for what is the manifest's own.
    flag: Option<Flag>,
}

/// A flag of the agent.
#[derive(Debug)]
struct Flag {
    name: &'static str,
    /// The variable that says the same.
    variable: String,
    /// Whether it is on or off.
    is_switch: bool,
}

impl Key {
    /// The variable of the agents' environment that has it.
    pub(super) fn variable(&self) -> Option<&str> {
        self.flag.as_ref().map(|flag| flag.variable.as_str())
    }

    /// What is wrong with a value, if anything is.
    fn check(&self, value: &str) -> anyhow::Result<()> {
        let Some(flag) = &self.flag else {
            if self.name == DNS {
                value.parse::<model::forwarding::Forwarding>()?;
            } else {
                let is_word = !value.is_empty() && !value.contains(char::is_whitespace);
                ensure!(is_word, "a name like {}", self.default);
            }
            return Ok(());
        };
        if flag.is_switch {
            ensure!(value == "true" || value == "false", "true or false");
            return Ok(());
        }
        if flag.name.ends_with("-dir") {
            // It stands in the manifest without quotes.
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            let is_path = Path::new(value).is_absolute() && value.chars().all(is_plain);
            ensure!(is_path, "a path like {}, from the root", self.default);
        }
        agent::check(&format!("--{}={value}", flag.name))
    }
}

/// All of them, in the order in which they are shown.
pub(super) fn all() -> &'static [Key] {
    static ALL: LazyLock<Vec<Key>> = LazyLock::new(|| {
        let own = |name: &str, about: &str, default: String| Key {
            name: name.to_owned(),
            about: about.to_owned(),
            default,
            flag: None,
        };
        let image = format!("localhost/seaway/seaway:{}", env!("CARGO_PKG_VERSION"));
        let dns = "Document that says what DNS asks of other servers, and what it knows by itself, as `seaway migrate \
                   corefile` writes it. Agents read it again when it changes.";
        let agent = agent::command();
        let mut all = vec![own(IMAGE, "Container image of the agent.", image)];
        all.extend(FLAGS.into_iter().map(|flag| {
            let arg = agent.get_arguments().find(|arg| arg.get_long() == Some(flag));
            of_flag(flag, arg.expect("the test of all keys has found every flag"))
        }));
        all.push(own(DNS, dns, String::new()));
        all
    });
    &ALL
}

fn of_flag(name: &'static str, arg: &Arg) -> Key {
    let text = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string);
    let about = text(arg.get_long_help()).or_else(|| text(arg.get_help())).unwrap_or_default();
    let values = arg.get_value_names().unwrap_or_default();
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    let possible: Vec<String> =
        arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let kind = match values.first() {
        _ if is_switch => "true|false".to_owned(),
        _ if !possible.is_empty() => possible.join("|"),
        name => name.map_or(String::new(), |name| name.to_string()),
    };
    let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy());
    let default = match is_switch {
        true => "false".to_owned(),
        false => defaults.collect::<Vec<_>>().join(","),
    };
    let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
    let about = format!("{} ({kind})", about.trim_end_matches('.'));
    let variable = arg.get_env().unwrap_or_default().to_string_lossy().into_owned();
    Key { name: camel_case(name), about, default, flag: Some(Flag { name, variable, is_switch }) }
}

fn camel_case(flag: &str) -> String {
    let mut words = flag.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(1);
        name + &initial.to_uppercase() + rest
    })
}

/// The keys, as `--help` shows them.
pub(super) fn help() -> String {
    let mut text = "Keys, none of which is required:\n".to_owned();
    for key in all() {
        let default = match key.default.as_str() {
            "" => String::new(),
            default => format!(" [default: {default}]"),
        };
        writeln!(text, "  {}\n          {}{default}", key.name, key.about)
            .expect("writing to a String does not fail");
    }
    text
}

/// What is set: texts by key, each checked.
#[derive(Debug, Default)]
pub(super) struct Settings(BTreeMap<&'static str, String>);

impl Settings {
    /// Sets one. An empty text is as if it had not been set.
    ///
    /// # Errors
    /// There is no such key, or no such value of it; the error says what there is.
    pub(super) fn set(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        let Some(key) = all().iter().find(|key| key.name == name) else {
            let names: Vec<&str> = all().iter().map(|key| key.name.as_str()).collect();
            bail!("no key {name:?}; there are {}", names.join(", "));
        };
        if value.is_empty() {
            self.0.remove(key.name.as_str());
            return Ok(());
        }
        key.check(value).map_err(|error| error.context(format!("{name}: {value:?}")))?;
        let is_off = key.flag.as_ref().is_some_and(|flag| flag.is_switch) && value == "false";
        match is_off {
            true => self.0.remove(key.name.as_str()),
            false => self.0.insert(&key.name, value.to_owned()),
        };
        Ok(())
    }

    /// Sets all that a document says.
    ///
    /// # Errors
    /// As [`Settings::set`], and when it is no document of keys and values.
    pub(super) fn read(&mut self, text: &str) -> anyhow::Result<()> {
        for (name, values) in model::forwarding::flat_yaml(text)? {
            self.set(&name, &values.join(","))?;
        }
        Ok(())
    }

    /// What is set, of a key.
    pub(super) fn of(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_few_and_have_a_variable_a_description_and_nothing_required() {
        // Beside which program it is.
        let count = all().iter().filter(|key| key.name != IMAGE).count();
        assert!((10..=20).contains(&count), "{count} (I-1)");
        for key in all() {
            assert!(key.about.len() > 20, "{key:?}");
            if let Some(flag) = &key.flag {
                let variable = format!("SEAWAY_{}", flag.name.to_uppercase().replace('-', "_"));
                assert_eq!(key.variable(), Some(variable.as_str()));
                assert!(!flag.is_switch || key.default == "false");
            }
            assert!(help().contains(&format!("\n  {}\n", key.name)), "{}", help());
        }
    }

    #[test]
    fn what_can_not_be_set_is_named_with_what_can() {
        let cases = [
            (
                "rooting",
                "vxlan",
                "no key \"rooting\"; there are image, apiServer, clusterDomain, podCidrs, routing",
            ),
            ("routing", "ipsec", "auto, direct, vxlan"),
            ("podCidrs", "10.0.0.1/8", "has bits set behind its prefix, the network is 10.0.0.0/8"),
            ("mtu", "1279", "--mtu 1279: between 1280 (RFC 8200 §5) and 65535"),
            ("mtu", "large", "invalid digit"),
            ("vxlanPort", "0", "--vxlan-port 0"),
            ("masqueradeAll", "yes", "true or false"),
            ("apiServer", "10.0.0.1", "an address like https://192.0.2.1:6443"),
            ("nonMasqueradeCidrs", "10.0.0.0/8,10", "--non-masquerade-cidrs"),
            ("stateDir", "lib/seaway", "a path like /var/lib/seaway"),
            ("stateDir", "/var/lib/sea way", "a path like /var/lib/seaway"),
            ("image", "a b", "a name like localhost/seaway/seaway:"),
            ("dnsSettings", "forward: 1", "forward"),
        ];
        for (key, value, named) in cases {
            let error = format!("{:#}", Settings::default().set(key, value).unwrap_err());
            assert!(error.contains(named), "{key}={value}: {error}");
            assert!(error.contains(key), "{key}={value}: {error}");
        }
    }

    #[test]
    fn a_file_sets_what_the_flags_set() {
        let mut settings = Settings::default();
        let file = "routing: vxlan\nmtu: 1400\nnonMasqueradeCidrs: [192.0.2.0/24, 2001:db8::/32]\n\
                    masqueradeAll: true\nnoDns: false\ndnsSettings: |\n  hosts:\n  - {address: 192.0.2.1, names: [a.example]}\n";
        settings.read(file).unwrap();
        assert_eq!(settings.of("routing"), Some("vxlan"));
        assert_eq!(settings.of("mtu"), Some("1400"));
        assert_eq!(settings.of("nonMasqueradeCidrs"), Some("192.0.2.0/24,2001:db8::/32"));
        assert_eq!((settings.of("masqueradeAll"), settings.of("noDns")), (Some("true"), None));
        assert!(settings.of("dnsSettings").unwrap().starts_with("hosts:\n"));
        settings.set("mtu", "").unwrap();
        assert_eq!(settings.of("mtu"), None);
        let error = settings.read("routing:\n  mode: vxlan\n").unwrap_err().to_string();
        assert!(error.contains("routing: "), "{error}");
    }
}
