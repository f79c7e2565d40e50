//! `/etc/resolv.conf` of a pod: how it resolves names.
//!
//! Source: kubelet `dns.Configurer`, with its limits and its words; DNS-50 to DNS-55.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::files::line;

/// Most servers that C libraries ask.
const MOST_SERVERS: usize = 3;
/// Most domains that names are searched in.
const MOST_SEARCHES: usize = 32;
/// Longest domain: with a longer one some C libraries abort.
const LONGEST_SEARCH: usize = 253;
/// Longest list of domains, in characters.
const LONGEST_LINE: usize = 2048;

/// How names are resolved in this cluster.
#[derive(Clone, Debug)]
pub struct Dns {
    /// Addresses of the cluster's DNS servers; none when it has no DNS.
    pub servers: Vec<IpAddr>,
    /// The cluster's domain, without a leading or trailing dot.
    pub domain: String,
}

/// A pod's `/etc/resolv.conf`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resolv {
    /// What is in the file.
    pub text: String,
    /// The same as network plugins are told it, in the words of containerd (`toCNIDNS`).
    pub capability: Value,
    /// What was left out of it, for events.
    pub warnings: Vec<String>,
}

/// `/etc/resolv.conf` of a pod, by its `dnsPolicy` and `dnsConfig`; `node` is its node's own.
///
/// A pod on its node's network resolves like the node unless it says `ClusterFirstWithHostNet`, and so
/// does every pod of a cluster without DNS servers.
pub(crate) fn resolv_conf(pod: &Pod, dns: &Dns, node: &str) -> Resolv {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let host_network = spec.and_then(|spec| spec.host_network) == Some(true);
    let mut conf = match policy {
        "None" => Resolver::default(),
        _ if dns.servers.is_empty() => Resolver::parse(node),
        "ClusterFirst" if !host_network => Resolver::cluster(pod, dns, node),
        "ClusterFirstWithHostNet" => Resolver::cluster(pod, dns, node),
        _ => Resolver::parse(node),
    };
    if let Some(own) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        add(&mut conf.servers, own.nameservers.as_deref());
        add(&mut conf.searches, own.searches.as_deref());
        for option in own.options.iter().flatten() {
            conf.set(option.name.as_deref().unwrap_or_default(), option.value.as_deref());
        }
    }
    let warnings = conf.limit();
    Resolv { text: conf.print(), capability: conf.capability(), warnings }
}

#[derive(Default)]
struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<(String, Option<String>)>,
}

impl Resolver {
    fn cluster(pod: &Pod, dns: &Dns, node: &str) -> Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let domain = &dns.domain;
        let mut searches =
            vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        add(&mut searches, Some(&Self::parse(node).searches));
        let servers = dns.servers.iter().map(IpAddr::to_string).collect();
        Self { servers, searches, options: vec![("ndots".to_owned(), Some("5".to_owned()))] }
    }

    fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().map(str::to_owned)),
                // The last one counts, as in the C library. The root is no domain to search in.
                Some("search" | "domain") => {
                    let domains = words.filter(|domain| *domain != ".");
                    let bare = |domain: &str| domain.trim_end_matches('.').to_owned();
                    conf.searches = domains.map(bare).collect();
                }
                Some("options") => words.for_each(|word| match word.split_once(':') {
                    Some((name, value)) => conf.set(name, Some(value)),
                    None => conf.set(word, None),
                }),
                _ => {}
            }
        }
        conf
    }

    fn set(&mut self, name: &str, value: Option<&str>) {
        self.options.retain(|(known, _)| known != name);
        self.options.push((name.to_owned(), value.map(str::to_owned)));
    }

    /// Leaves out what C libraries don't take; what the pod's owner should know of it.
    fn limit(&mut self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.servers.len() > MOST_SERVERS {
            self.servers.truncate(MOST_SERVERS);
            let applied = self.servers.join(" ");
            warnings.push(format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied \
                 nameserver line is: {applied}"
            ));
        }
        let asked = self.searches.len();
        self.searches.truncate(MOST_SEARCHES);
        self.searches.retain(|search| search.len() <= LONGEST_SEARCH);
        while self.searches.join(" ").len() > LONGEST_LINE {
            self.searches.pop();
        }
        if self.searches.len() < asked {
            let applied = self.searches.join(" ");
            warnings.push(format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied \
                 search line is: {applied}"
            ));
        }
        warnings
    }

    fn print(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            line(&mut text, &format!("search {}", self.searches.join(" ")));
        }
        for server in &self.servers {
            line(&mut text, &format!("nameserver {server}"));
        }
        if !self.options.is_empty() {
            line(&mut text, &format!("options {}", self.options().join(" ")));
        }
        text
    }

    fn capability(&self) -> Value {
        json!({"Servers": self.servers, "Searches": self.searches, "Options": self.options()})
    }

    fn options(&self) -> Vec<String> {
        let print = |(name, value): &(String, Option<String>)| match value {
            Some(value) => format!("{name}:{value}"),
            None => name.clone(),
        };
        self.options.iter().map(print).collect()
    }
}

/// Appends what `list` doesn't have yet.
fn add(list: &mut Vec<String>, more: Option<&[String]>) {
    for word in more.unwrap_or_default() {
        if !list.contains(word) {
            list.push(word.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::files::tests::pod;

    #[test]
    fn policy_and_config_decide_how_a_pod_resolves_names() {
        let servers = vec!["10.96.0.10".parse().unwrap()];
        let dns = Dns { servers, domain: "cluster.local".to_owned() };
        let node = "search corp\nnameserver 192.0.2.53\noptions timeout:1 edns0\n";
        let cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local corp\n\
                       nameserver 10.96.0.10\noptions ndots:5\n";
        let one_dot = cluster.replace("ndots:5", "ndots:1");
        let alone = "search x\nnameserver 192.0.2.1\noptions ndots:2 edns0\n";
        let own = json!({"nameservers": ["192.0.2.1"], "searches": ["x"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        let cases = [
            (json!({}), cluster),
            (json!({"dnsPolicy": "ClusterFirst"}), cluster),
            (json!({"hostNetwork": true}), node),
            (json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}), cluster),
            (json!({"dnsPolicy": "Default"}), node),
            (json!({"dnsPolicy": "None", "dnsConfig": own}), alone),
            (json!({"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}}), &one_dot),
        ];
        for (spec, expected) in cases {
            let found = resolv_conf(&pod(&spec), &dns, node);
            assert_eq!((&*found.text, found.warnings), (expected, vec![]), "{spec}");
        }
        let told = json!({"Servers": ["10.96.0.10"], "Options": ["ndots:5"],
            "Searches": ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp"]});
        assert_eq!(resolv_conf(&pod(&json!({})), &dns, node).capability, told);
        let none = Dns { servers: Vec::new(), ..dns };
        assert_eq!(resolv_conf(&pod(&json!({})), &none, node).text, node);
    }

    #[test]
    fn dns51_what_c_libraries_do_not_take_is_left_out_and_told() {
        let servers = vec!["10.96.0.10".parse().unwrap()];
        let dns = Dns { servers, domain: "cluster.local".to_owned() };
        let searches = |count: usize, length: usize| -> Vec<String> {
            (0..count).map(|n| format!("{n:0length$}")).collect()
        };
        let own = |own: Value| {
            let found = resolv_conf(&pod(&json!({"dnsConfig": own})), &dns, "search corp. .\n");
            let search = found.text.lines().next().unwrap_or_default().to_owned();
            let servers = found.text.lines().filter(|line| line.starts_with("nameserver")).count();
            // The word "search" is the first.
            (search.split_whitespace().count() - 1, search.len() - 7, servers, found.warnings.len())
        };
        let servers = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
        let three = "shop.svc.cluster.local svc.cluster.local cluster.local corp".len();
        let cases = [
            (json!({}), (4, three, 1, 0)),
            (json!({"nameservers": servers}), (4, three, 3, 1)),
            (json!({"searches": searches(28, 10)}), (32, three + 28 * 11, 1, 0)),
            (json!({"searches": searches(29, 10)}), (32, three + 28 * 11, 1, 1)),
            (json!({"searches": searches(2, 253)}), (6, three + 2 * 254, 1, 0)),
            (json!({"searches": searches(2, 254)}), (4, three, 1, 1)),
            (json!({"searches": searches(9, 250)}), (11, three + 7 * 251, 1, 1)),
        ];
        for (spec, expected) in cases {
            assert_eq!(own(spec.clone()), expected, "{spec}");
        }
    }
}
