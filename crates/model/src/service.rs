//! Services and the endpoints behind them, as far as packets and names care.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::{Family, Interner, NodeName, Protocol, Rfc3339};

/// Namespace and name of a Service. It orders by namespace, then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl ServiceName {
    /// The Service `name` of `namespace`.
    pub fn new(namespace: &str, name: &str) -> Self {
        ServiceName { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Service, with the defaults of its API filled in.
///
/// Source: `v1/Service`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ServiceName,
    /// `metadata.creationTimestamp`, if it says one.
    pub created: Option<Rfc3339>,
    /// Label `service.kubernetes.io/service-proxy-name`: who else serves this Service (KEP-2447).
    pub proxy: Option<String>,
    /// `spec.type`.
    pub kind: ServiceKind,
    /// `spec.clusterIPs`; empty for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// Whether `spec.clusterIPs` says None: its names stand for its endpoints.
    pub is_headless: bool,
    /// `spec.externalName`, of type ExternalName.
    pub external_name: Option<Box<str>>,
    /// `spec.publishNotReadyAddresses`.
    pub publishes_not_ready: bool,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// How long a client stays with its endpoint, under `spec.sessionAffinity: ClientIP`.
    pub affinity: Option<Duration>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of `status.loadBalancer.ingress` that nodes capture: those whose `ipMode` is VIP.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`.
    pub source_ranges: Vec<IpNet>,
    /// `spec.healthCheckNodePort`.
    pub health_check_node_port: Option<u16>,
}

/// A Service that Seaway has made: what its endpoints follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeService {
    /// Namespace and name.
    pub name: ServiceName,
    /// `metadata.uid`: another Service of the same name has another one.
    pub uid: Arc<str>,
    /// Whether `spec.selector` says who its endpoints are.
    pub has_selector: bool,
    /// Whether it is being deleted.
    pub is_leaving: bool,
    /// Families of its cluster IPs.
    pub families: BTreeSet<Family>,
}

impl Service {
    /// Has what others have as well in memory once: what `interner` knows.
    pub fn share(&mut self, _neighbor: Option<&Service>, interner: &mut Interner) {
        interner.share(&mut self.name.namespace);
        self.ports.iter_mut().for_each(|port| interner.share(&mut port.name));
    }

    /// Whether it can have frontends besides its cluster IPs, which is when `spec.externalTrafficPolicy`
    /// means anything.
    pub fn is_external(&self) -> bool {
        match self.kind {
            ServiceKind::NodePort | ServiceKind::LoadBalancer => true,
            ServiceKind::ClusterIp => !self.external_ips.is_empty(),
            ServiceKind::ExternalName => false,
        }
    }
}

/// `spec.type` of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// An address inside of the cluster, or none (headless).
    ClusterIp,
    /// The same, and a port of every node.
    NodePort,
    /// The same, and addresses of a load balancer.
    LoadBalancer,
    /// A name in DNS, and nothing that packets meet.
    ExternalName,
}

/// One of a Service's ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`, empty for an only port without one. EndpointSlices call it the same.
    pub name: Arc<str>,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`.
    pub port: u16,
    /// `nodePort`.
    pub node_port: Option<u16>,
}

/// Which endpoints a node may choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Those of the whole cluster.
    Cluster,
    /// Those on the node itself.
    Local,
}

/// Key of an EndpointSlice: all slices of a Service stand together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceKey {
    /// The Service, by label `kubernetes.io/service-name`.
    pub service: ServiceName,
    /// `metadata.name` of the slice, in the Service's namespace.
    pub slice: Arc<str>,
}

/// Some of a Service's endpoints, all of one family and with the same ports.
///
/// Source: `discovery.k8s.io/v1/EndpointSlice`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The Service and the slice's own name.
    pub key: SliceKey,
    /// `addressType`.
    pub family: Family,
    /// `ports` that have a name and a number.
    pub ports: Vec<EndpointPort>,
    /// `endpoints` that have an address.
    pub endpoints: Vec<Endpoint>,
    /// When what it shows began to be so, if its writer says: the moment a pod became ready, say.
    pub triggered: Option<Rfc3339>,
    /// Whether it is labeled as one of a headless Service: for names, and for no packet (S-2).
    pub is_headless: bool,
}

impl EndpointSlice {
    /// Has what others have as well in memory once: what `interner` knows.
    pub fn share(&mut self, _neighbor: Option<&EndpointSlice>, interner: &mut Interner) {
        interner.share(&mut self.key.service.namespace);
        self.ports.iter_mut().for_each(|port| interner.share(&mut port.name));
        self.endpoints.iter_mut().for_each(|endpoint| interner.share_node(&mut endpoint.node));
    }
}

/// A port of every endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointPort {
    /// `name`, as the Service's port is called; empty for an only port.
    pub name: Arc<str>,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`.
    pub port: u16,
}

/// One endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `addresses[0]`: the others are never used (KEP-752).
    pub addr: IpAddr,
    /// `nodeName`.
    pub node: Option<NodeName>,
    /// `conditions`.
    pub conditions: Conditions,
    /// `hints`, when there are any.
    pub hints: Option<Box<Hints>>,
    /// `hostname`.
    pub hostname: Option<Arc<str>>,
    /// The pod that `targetRef` names, in the slice's namespace.
    pub pod: Option<Arc<str>>,
}

/// What is known of an endpoint's life. The three are independent: with `publishNotReadyAddresses`
/// an endpoint is ready while it terminates, and who writes slices by hand may say anything.
///
/// Source: KEP-1672.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// It takes new connections.
    pub ready: bool,
    /// It answers, whether or not it is about to go.
    pub serving: bool,
    /// It is about to go.
    pub terminating: bool,
}

/// For whom an endpoint is meant first.
///
/// Source: KEP-2433 (zones), KEP-3015 (nodes).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Hints {
    /// `forZones`.
    pub zones: Vec<String>,
    /// `forNodes`.
    pub nodes: Vec<NodeName>,
}

/// Ranges that cluster IPs are given from.
///
/// Source: `networking.k8s.io/v1/ServiceCIDR` (KEP-1880).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCidr {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `spec.cidrs`.
    pub cidrs: Vec<IpNet>,
}
