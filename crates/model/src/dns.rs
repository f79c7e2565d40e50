//! Settings of DNS.

use crate::{DomainName, ServiceName};

/// How the cluster's objects are named in DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
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
    /// The Service that clients ask: the zone's name server (DNS-36).
    pub service: ServiceName,
}

impl Default for Dns {
    fn default() -> Self {
        Dns {
            domain: DomainName::CLUSTER_LOCAL,
            ttl: 5,
            pods: PodRecords::Verified,
            endpoint_pod_names: false,
            hides_empty: false,
            service: ServiceName::new("kube-system", "kube-dns"),
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
