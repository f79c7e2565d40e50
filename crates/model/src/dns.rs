//! Settings of DNS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZero;
use std::str::FromStr;

use ipnet::IpNet;

use crate::{DomainName, ServiceName};

/// The port of DNS.
pub const DNS_PORT: u16 = 53;

/// How the cluster's objects are named in DNS, and where the node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Whether the node answers at all.
    pub is_served: bool,
    /// The zone that every name is under.
    pub domain: DomainName,
    /// How long others may remember an answer, in seconds.
    pub ttl: u32,
    /// Which names stand for pods' addresses (DNS-29, DNS-45).
    pub pods: PodRecords,
    /// Whether an endpoint without a hostname is called as its pod (DNS-27).
    pub endpoint_pod_names: bool,
    /// Whether a Service without a ready endpoint has no names at all (DNS-24).
    pub hides_empty: bool,
    /// The Service that clients ask: the zone's name server (DNS-36). The node answers at its cluster
    /// IPs in the place of its endpoints.
    pub service: ServiceName,
    /// Addresses at which every node answers for itself, beside the Service's.
    pub local_addrs: Vec<IpAddr>,
    /// Port at the nodes' own addresses, where one node asks another: the Service's endpoints.
    pub node_port: u16,
    /// Who is answered there, beside pods and nodes. Nobody else is: a server that answers everybody
    /// is one that attacks are relayed by.
    pub clients: Vec<IpNet>,
    /// Whether the node goes along its pods' search lists in their place (DNS-102).
    pub autopath: bool,
    /// Packets that a client may send each second where DNS is answered, if that is bounded.
    pub client_rate: Option<NonZero<u32>>,
    /// Which questions are logged, unless the document about other servers says otherwise.
    pub log: QueryLog,
}

impl Dns {
    /// Longest zone, in bytes of its wire form, in which every endpoint of every Service has a name:
    /// three labels and `svc` come before it.
    pub const LONGEST_DOMAIN: usize = 255 - 3 * (1 + 63) - 4;

    /// Packets that a client may send each second, unless settings say otherwise: more than any resolver
    /// of one pod asks, and a fraction of what a core answers.
    pub const CLIENT_RATE: NonZero<u32> = NonZero::new(50_000).expect("not none");

    /// Whether the endpoint at `addr` and `port` of `service` is the server of the node that has
    /// `node_addrs`.
    pub fn is_own_endpoint(
        &self,
        service: &ServiceName,
        node_addrs: &[IpAddr],
        (addr, port): (IpAddr, u16),
    ) -> bool {
        self.is_served
            && port == self.node_port
            && *service == self.service
            && node_addrs.contains(&addr)
    }
}

impl Default for Dns {
    fn default() -> Self {
        Dns {
            is_served: true,
            domain: DomainName::CLUSTER_LOCAL,
            ttl: 5,
            pods: PodRecords::Verified,
            endpoint_pod_names: false,
            hides_empty: false,
            service: ServiceName::new("kube-system", "kube-dns"),
            // NodeLocal DNSCache's.
            local_addrs: vec![Ipv4Addr::new(169, 254, 20, 10).into()],
            node_port: 10053,
            clients: Vec::new(),
            autopath: true,
            client_rate: Some(Dns::CLIENT_RATE),
            log: QueryLog::Off,
        }
    }
}

/// Which questions a line is logged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryLog {
    /// None.
    Off,
    /// One of so many; all, when it is one.
    OneOf(NonZero<u32>),
}

impl QueryLog {
    /// Every question.
    pub const ALL: QueryLog = QueryLog::OneOf(NonZero::<u32>::MIN);
}

/// `off`, `all`, or `1/100`.
impl FromStr for QueryLog {
    type Err = NoQueryLog;

    fn from_str(text: &str) -> Result<Self, NoQueryLog> {
        match text {
            "off" => Ok(QueryLog::Off),
            "all" => Ok(QueryLog::ALL),
            _ => {
                let many = text.strip_prefix("1/").and_then(|many| many.parse().ok());
                many.map(QueryLog::OneOf).ok_or(NoQueryLog)
            }
        }
    }
}

impl fmt::Display for QueryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            QueryLog::Off => f.write_str("off"),
            QueryLog::ALL => f.write_str("all"),
            QueryLog::OneOf(many) => write!(f, "1/{many}"),
        }
    }
}

/// Text that says of no questions whether they are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("off, all, or one of so many: 1/100")]
pub struct NoQueryLog;

/// Which names like `10-0-0-1.NAMESPACE.pod.cluster.local` there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodRecords {
    /// None.
    Disabled,
    /// Those of addresses that a pod of the namespace has.
    Verified,
    /// All, in namespaces that exist: whoever asks gets the address that he wrote. As CoreDNS can;
    /// with a wildcard certificate for the zone it lets any pod be anybody (T33).
    Insecure,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_is_written_as_it_is_read() {
        for (text, read) in [
            ("off", Ok(QueryLog::Off)),
            ("all", Ok(QueryLog::ALL)),
            ("1/100", Ok(QueryLog::OneOf(NonZero::new(100).unwrap()))),
            ("1/0", Err(NoQueryLog)),
            ("2/3", Err(NoQueryLog)),
            ("", Err(NoQueryLog)),
        ] {
            let log: Result<QueryLog, NoQueryLog> = text.parse();
            assert_eq!(log, read, "{text:?}");
            if let Ok(log) = log {
                assert_eq!(log.to_string(), text);
            }
        }
    }
}
