//! Flags of `seaway agent` about DNS.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::ensure;
use clap::ValueEnum;
use ipnet::IpNet;
use model::{Config, Dns, DomainName, PodRecords, QueryLog, ServiceName};

/// Longest time that others may remember an answer for, in seconds, as in CoreDNS.
const LONGEST_TTL: u32 = 3600;

#[derive(clap::Args)]
#[group(id = "dns")]
pub(crate) struct Flags {
    /// Zone that the names of Services and pods are under. When left out, the one that the node's kubelet goes
    /// by, should that be known; else cluster.local.
    #[arg(long = "cluster-domain", env = "SEAWAY_CLUSTER_DOMAIN", value_name = "DOMAIN")]
    domain: Option<DomainName>,
    /// Service whose cluster IPs clients ask; its endpoints are asked where no agent answers.
    #[arg(
        long = "dns-service",
        env = "SEAWAY_DNS_SERVICE",
        default_value = "kube-system/kube-dns",
        value_parser = service,
        value_name = "NAMESPACE/NAME"
    )]
    service: ServiceName,
    /// Further addresses at which every node answers for itself, or "none".
    #[arg(
        long = "dns-local-addresses",
        env = "SEAWAY_DNS_LOCAL_ADDRESSES",
        default_value = "169.254.20.10",
        value_name = "IP,…|none"
    )]
    local_addresses: String,
    /// Port at the nodes' own addresses at which one node asks another: the Service's endpoints.
    #[arg(
        long = "dns-node-port",
        env = "SEAWAY_DNS_NODE_PORT",
        default_value_t = Config::default().dns.node_port,
        value_name = "PORT"
    )]
    node_port: u16,
    /// Who is answered there beside pods and nodes.
    #[arg(
        long = "dns-clients",
        env = "SEAWAY_DNS_CLIENTS",
        value_delimiter = ',',
        value_name = "CIDR,…"
    )]
    clients: Vec<IpNet>,
    /// How many packets of one client may come each second, or "none" for as many as it likes; what is
    /// more is dropped, so that nobody else has to wait for it.
    #[arg(
        long = "dns-client-rate",
        env = "SEAWAY_DNS_CLIENT_RATE",
        default_value_t = Rate(Some(Dns::CLIENT_RATE)),
        value_name = "PACKETS|none"
    )]
    client_rate: Rate,
    /// How long others may remember an answer, in seconds.
    #[arg(
        long = "dns-ttl",
        env = "SEAWAY_DNS_TTL",
        default_value_t = Config::default().dns.ttl,
        value_name = "SECONDS"
    )]
    ttl: u32,
    /// Which names like 10-0-0-1.NAMESPACE.pod.DOMAIN stand for addresses. With insecure, anybody with a
    /// name in a certificate for the zone can be anybody.
    #[arg(
        long = "dns-pods",
        env = "SEAWAY_DNS_PODS",
        default_value = "verified",
        value_enum,
        value_name = "disabled|verified|insecure"
    )]
    pods: Pods,
    /// Call endpoints without a hostname as their pods.
    #[arg(long = "dns-endpoint-pod-names", env = "SEAWAY_DNS_ENDPOINT_POD_NAMES")]
    endpoint_pod_names: bool,
    /// Services without a ready endpoint have no names.
    #[arg(long = "dns-ignore-empty-services", env = "SEAWAY_DNS_IGNORE_EMPTY_SERVICES")]
    ignore_empty_services: bool,
    /// Which questions are logged: off, all, or one of so many, like 1/100. The document of --dns-settings may
    /// say otherwise, and changes it while the agent runs.
    #[arg(
        long = "dns-log",
        env = "SEAWAY_DNS_LOG",
        default_value_t = QueryLog::Off,
        value_name = "off|all|1/N"
    )]
    log: QueryLog,
    /// Document with hosts, rewrites, servers by zone and the cache's bounds, as `seaway migrate corefile`
    /// writes it; read again when it changes. Without it the node's /etc/resolv.conf says whom to ask.
    #[arg(long = "dns-settings", env = "SEAWAY_DNS_SETTINGS", value_name = "FILE")]
    document: Option<PathBuf>,
    /// Let pods try each domain of their search list by themselves.
    #[arg(long = "no-dns-autopath", env = "SEAWAY_NO_DNS_AUTOPATH")]
    no_autopath: bool,
    /// Answer nobody: DNS is somebody else's on this node.
    #[arg(long = "no-dns", env = "SEAWAY_NO_DNS")]
    off: bool,
}

/// [`PodRecords`] by their names in a Corefile.
#[derive(Clone, Copy, ValueEnum)]
enum Pods {
    Disabled,
    Verified,
    Insecure,
}

/// A bound each second, if there is one.
#[derive(Clone, Copy)]
struct Rate(Option<NonZero<u32>>);

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Rate(None)),
            _ => text.parse().map(|rate| Rate(Some(rate))).map_err(|_| "a number above 0, or none"),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(rate) => rate.fmt(f),
            None => f.write_str("none"),
        }
    }
}

impl Flags {
    /// Where it is said what is asked of others.
    pub(crate) fn document(&self) -> Option<PathBuf> {
        self.document.clone()
    }

    /// What they come to, and from where the domain is known. The kubelet's has the file that says so.
    pub(crate) fn settings(
        &self,
        kubelets: Option<&(String, String)>,
    ) -> anyhow::Result<(Dns, String)> {
        let (domain, origin) = self.domain(kubelets);
        let domain = domain.lowered();
        let length = domain.as_wire().len();
        ensure!(length > 1, "--cluster-domain {domain}: a name of at least one label");
        ensure!(
            length <= Dns::LONGEST_DOMAIN,
            "--cluster-domain {domain}: at most {} letters, so that every endpoint's name is short enough for DNS",
            Dns::LONGEST_DOMAIN - 2
        );
        ensure!(self.node_port != 0, "--dns-node-port 0: between 1 and 65535");
        ensure!(
            self.ttl <= LONGEST_TTL,
            "--dns-ttl {}: between 0 and {LONGEST_TTL} seconds",
            self.ttl
        );
        let dns = Dns {
            is_served: !self.off,
            domain,
            ttl: self.ttl,
            pods: match self.pods {
                Pods::Disabled => PodRecords::Disabled,
                Pods::Verified => PodRecords::Verified,
                Pods::Insecure => PodRecords::Insecure,
            },
            endpoint_pod_names: self.endpoint_pod_names,
            hides_empty: self.ignore_empty_services,
            service: self.service.clone(),
            local_addrs: local_addresses(&self.local_addresses)?,
            node_port: self.node_port,
            clients: self.clients.clone(),
            autopath: !self.no_autopath,
            client_rate: self.client_rate.0,
            log: self.log,
        };
        Ok((dns, origin))
    }

    /// The domain that is said, else the kubelet's, else the usual one.
    fn domain(&self, kubelets: Option<&(String, String)>) -> (DomainName, String) {
        if let Some(domain) = self.domain {
            return (domain, "as --cluster-domain says".to_owned());
        }
        let read = kubelets.and_then(|(domain, file)| Some((domain.parse().ok()?, file)));
        match read {
            Some((domain, file)) => (domain, format!("as the kubelet's {file} says")),
            None => (Config::default().dns.domain, "nobody says otherwise".to_owned()),
        }
    }
}

fn local_addresses(text: &str) -> anyhow::Result<Vec<IpAddr>> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let read = |word: &str| {
        let addr: Option<IpAddr> = word.parse().ok().filter(is_for_hosts);
        let named = || format!("{word:?}: addresses like 169.254.20.10 or fd00::10, or none");
        addr.ok_or_else(|| anyhow::anyhow!("--dns-local-addresses {}", named()))
    };
    text.split(',').map(read).collect()
}

/// Whether a route can lead to it: not to what means something else on every link.
fn is_for_hosts(addr: &IpAddr) -> bool {
    let is_of_link = match addr {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    !(is_of_link || addr.is_loopback() || addr.is_unspecified() || addr.is_multicast())
}

fn service(text: &str) -> Result<ServiceName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(ServiceName::new(namespace, name))
        }
        Some(_) | None => Err("a Service, as NAMESPACE/NAME".to_owned()),
    }
}
