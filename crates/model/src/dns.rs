//! Settings of DNS.

use std::net::{IpAddr, Ipv4Addr};

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
}

impl Dns {
    /// Longest zone, in bytes of its wire form, in which every endpoint of every Service has a name:
    /// three labels and `svc` come before it.
    pub const LONGEST_DOMAIN: usize = 255 - 3 * (1 + 63) - 4;

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
        }
    }
}

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
