//! What a pod is called, by itself and by its `/etc/hosts` and `/etc/hostname`.
//!
//! Source: kubelet `managedHostsFileContent`, `GeneratePodHostNameAndDomain`.

use std::fmt::Write;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

/// Longest host name a pod gets: a DNS label.
const LONGEST_HOST_NAME: usize = 63;
/// Longest name that Linux keeps for a machine.
const LONGEST_KERNEL_NAME: usize = 64;

/// The pod's host name, and the domain it is in if it has a subdomain.
pub(crate) fn host_name(pod: &Pod, domain: &str) -> (String, Option<String>) {
    let spec = pod.spec.as_ref();
    let named = spec.and_then(|spec| spec.hostname.as_deref()).filter(|name| !name.is_empty());
    let own = pod.metadata.name.as_deref().unwrap_or_default();
    let host = named.unwrap_or(own);
    let host = &host[..host.floor_char_boundary(LONGEST_HOST_NAME)];
    let host = host.trim_end_matches(['-', '.']).to_owned();
    let subdomain = spec.and_then(|spec| spec.subdomain.as_deref()).filter(|sub| !sub.is_empty());
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    (host, subdomain.map(|sub| format!("{sub}.{namespace}.svc.{domain}")))
}

/// The name the pod's kernel gives: its host name, or with its domain if it asks for that.
///
/// Source: Pod API `setHostnameAsFQDN`; kubelet `GeneratePodHostNameAndDomain`.
pub(crate) fn kernel_name(pod: &Pod, domain: &str) -> Result<String, String> {
    let as_fqdn = pod.spec.as_ref().and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    match host_name(pod, domain) {
        (host, Some(domain)) if as_fqdn => {
            let name = format!("{host}.{domain}");
            if name.len() > LONGEST_KERNEL_NAME {
                return Err(format!(
                    "Failed to construct FQDN from Pod hostname and cluster domain, FQDN {name} is \
                     too long ({LONGEST_KERNEL_NAME} characters is the max, {} characters requested)",
                    name.len()
                ));
            }
            Ok(name)
        }
        (host, _) => Ok(host),
    }
}

/// `/etc/hosts` of a pod with its own network.
pub(crate) fn hosts(pod: &Pod, ips: &[IpAddr], domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let (host, domain) = host_name(pod, domain);
    for ip in ips {
        match &domain {
            Some(domain) => line(&mut text, &format!("{ip}\t{host}.{domain}\t{host}")),
            None => line(&mut text, &format!("{ip}\t{host}")),
        }
    }
    text + &aliases(pod)
}

/// `/etc/hosts` of a pod on its node's network: `node`, the node's own, and the aliases.
pub(crate) fn node_hosts(pod: &Pod, node: &str) -> String {
    let end = if node.is_empty() || node.ends_with('\n') { "" } else { "\n" };
    format!("# Kubernetes-managed hosts file (host network).\n{node}{end}{}", aliases(pod))
}

fn aliases(pod: &Pod) -> String {
    let mut text = String::new();
    let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_deref());
    let Some(aliases) = aliases.filter(|aliases| !aliases.is_empty()) else { return text };
    line(&mut text, "\n# Entries added by HostAliases.");
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        line(&mut text, &format!("{}\t{names}", alias.ip));
    }
    text
}

/// Appends a line.
pub(super) fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a String can't fail");
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A pod of which nothing else matters.
    pub(in crate::pod) fn pod(spec: &Value) -> Pod {
        let mut pod: Value = json!({"metadata": {"name": "web-0", "namespace": "shop"}});
        pod["spec"] = spec.clone();
        pod["spec"]["containers"] = json!([]);
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn the_manifest_decides_a_pods_name() {
        let long = "a".repeat(62) + "-bc";
        let cases = [
            (json!({}), ("web-0", None)),
            (json!({"hostname": "db"}), ("db", None)),
            (json!({"subdomain": "peers"}), ("web-0", Some("peers.shop.svc.cluster.local"))),
            (
                json!({"hostname": "db", "subdomain": "peers"}),
                ("db", Some("peers.shop.svc.cluster.local")),
            ),
            (json!({"hostname": long}), (&long[..62], None)),
        ];
        for (spec, (host, domain)) in cases {
            let expected = (host.to_owned(), domain.map(str::to_owned));
            assert_eq!(host_name(&pod(&spec), "cluster.local"), expected, "{spec}");
        }
    }

    #[test]
    fn a_pod_that_asks_for_it_has_its_whole_name() {
        let subdomain = "s".repeat(40);
        let cases = [
            (json!({"subdomain": "peers"}), Ok("web-0")),
            (json!({"setHostnameAsFQDN": true}), Ok("web-0")),
            (
                json!({"subdomain": "peers", "setHostnameAsFQDN": true}),
                Ok("web-0.peers.shop.svc.cluster.local"),
            ),
            (json!({"subdomain": subdomain, "setHostnameAsFQDN": true}), Err(())),
        ];
        for (spec, expected) in cases {
            let found = kernel_name(&pod(&spec), "cluster.local").map_err(drop);
            assert_eq!(found, expected.map(str::to_owned), "{spec}");
        }
    }

    #[test]
    fn hosts_names_every_address_of_the_pod_and_its_aliases() {
        let ips: Vec<IpAddr> = vec!["10.244.1.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let spec = json!({"subdomain": "peers",
            "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a", "b"]}]});
        let text = hosts(&pod(&spec), &ips, "cluster.local");
        let tail = text.split_once("ip6-allrouters\n").unwrap().1;
        assert_eq!(
            tail,
            "10.244.1.2\tweb-0.peers.shop.svc.cluster.local\tweb-0\n\
             fd00::2\tweb-0.peers.shop.svc.cluster.local\tweb-0\n\
             \n# Entries added by HostAliases.\n192.0.2.1\ta\tb\n"
        );
    }
}
