//! What the cluster asks for: [`World`], an immutable snapshot of every object Seaway reads.
//!
//! Nothing here acts. Objects come in through [`decode`] (Kubernetes' wire shapes), through CNI
//! requests ([`Attachment`]) and from the machine itself ([`Host`]); `compile` turns a `World` into
//! the tables one node should hold.

mod attachment;
mod audit;
mod chain;
mod condition;
mod config;
pub mod decode;
mod dns;
mod domain;
mod drop_reason;
mod edition;
pub mod encode;
pub mod forwarding;
mod host;
mod interner;
mod label;
mod name;
mod namespace;
mod net;
mod node;
mod packed;
mod pod;
mod policy;
mod rfc3339;
mod search;
mod service;
mod uid;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use attachment::{Attachment, AttachmentKey, PodRef, PortMapping};
pub use audit::{AUDIT, Audit};
pub use chain::chain;
pub use condition::{Condition, PolicyState};
pub use config::{Config, Conntrack, NodePortAddrs, PodLinkMode, Routing, UnknownValue, Vxlan};
pub use dns::{DNS_PORT, Dns, NoQueryLog, PodRecords, QueryLog};
pub use domain::{DomainName, InvalidDomainName};
pub use drop_reason::DropReason;
pub use edition::{Edition, NodeTold, REALISED, Realised};
pub use host::{Host, Uplink};
pub use imbl::OrdMap;
pub use imbl::ordmap::DiffItem;
pub use interner::Interner;
pub use label::{LabelSelector, LabelTest, Labels, Requirement};
pub use name::{IfName, InvalidIfName, NodeName};
pub use namespace::Namespace;
pub use net::{Family, InvalidMac, Mac, Protocol, fnv1a};
pub use node::{GIVEN_BY, Node, NodeState, SEAWAY};
pub use packed::{extend_packed, packed, packed_set};
pub use pod::{NamedPort, ObjectName, Pod};
pub use policy::{
    ClusterPolicy, ClusterPolicyKind, ClusterPolicyName, ClusterRule, ClusterTier, Direction,
    DomainPattern, InvalidDomainPattern, IpBlock, Namespaces, NetworkPolicy, Peer, PodSelector,
    PortMatch, Rule, RuleAction,
};
pub use rfc3339::Rfc3339;
pub use search::SearchList;
pub use service::{
    Conditions, Endpoint, EndpointPort, EndpointSlice, Hints, MadeService, Service, ServiceCidr,
    ServiceKind, ServiceName, ServicePort, SliceKey, TrafficPolicy,
};
pub use uid::Uid;

/// Version of a [`World`]: grows by one with every snapshot. A report names the generation it is
/// about, so a waiter knows when the network reflects what it asked for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Everything one node's network follows from, at one generation.
///
/// Objects are shared (`Arc`), and so is what two snapshots' maps have in common: one object more
/// among 10,000 costs its own place, and what differs is found without looking at the rest.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct World {
    /// Version of this snapshot.
    pub generation: Generation,
    /// The settings of this agent.
    pub config: Config,
    /// What the machine's own kernel shows and Seaway does not make: uplinks and their addresses.
    pub host: Host,
    /// Every node of the cluster, this one included.
    pub nodes: OrdMap<NodeName, Arc<Node>>,
    /// Every Service, headless ones and those that others serve included.
    pub services: OrdMap<ServiceName, Arc<Service>>,
    /// EndpointSlices, together by Service.
    pub slices: OrdMap<SliceKey, Arc<EndpointSlice>>,
    /// Every ServiceCIDR, by name.
    pub service_cidrs: OrdMap<Arc<str>, Arc<ServiceCidr>>,
    /// Every Namespace, by name.
    pub namespaces: OrdMap<Arc<str>, Arc<Namespace>>,
    /// Every Pod of every node.
    pub pods: OrdMap<ObjectName, Arc<Pod>>,
    /// Addresses that pods of this node have from another network, each with its pod, as long as that is
    /// there.
    pub others: OrdMap<(IpAddr, ObjectName), ()>,
    /// Every NetworkPolicy.
    pub policies: OrdMap<ObjectName, Arc<NetworkPolicy>>,
    /// Every policy of the cluster, of whatever kind.
    pub cluster_policies: OrdMap<ClusterPolicyName, Arc<ClusterPolicy>>,
    /// The containers this node joined to the network, from the journal.
    pub attachments: BTreeMap<AttachmentKey, Arc<Attachment>>,
}

impl World {
    /// The EndpointSlices of `service`, by name.
    pub fn slices_of<'a>(
        &'a self,
        service: &'a ServiceName,
    ) -> impl Iterator<Item = &'a Arc<EndpointSlice>> {
        let first = SliceKey { service: service.clone(), slice: "".into() };
        let all = self.slices.range(first..);
        all.take_while(move |(key, _)| key.service == *service).map(|(_, slice)| slice)
    }

    /// Those of them that packets follow (S-2).
    pub fn serving_slices_of<'a>(
        &'a self,
        service: &'a ServiceName,
    ) -> impl Iterator<Item = &'a EndpointSlice> {
        self.slices_of(service).map(|slice| &**slice).filter(|slice| !slice.is_headless)
    }

    /// Whether there is any policy: each pod may be meant by one then.
    pub fn has_policies(&self) -> bool {
        !self.policies.is_empty() || !self.cluster_policies.is_empty()
    }

    /// The pod that a runtime calls so, and not an earlier or later one of its name.
    pub fn pod_of(&self, named: &PodRef) -> Option<&Arc<Pod>> {
        let pod = self.pods.get(&ObjectName::new(&named.namespace, &named.name))?;
        Some(pod).filter(|pod| named.uid.is_empty() || pod.uid == *named.uid)
    }

    /// The addresses at which every node answers DNS for itself: those of the settings, and the cluster
    /// IPs of the Service that clients ask.
    pub fn dns_addrs(&self) -> impl Iterator<Item = IpAddr> {
        let dns = Some(&self.config.dns).filter(|dns| dns.is_served);
        let service = dns.and_then(|dns| self.services.get(&dns.service));
        let named = dns.into_iter().flat_map(|dns| dns.local_addrs.iter().copied());
        named.chain(service.into_iter().flat_map(|service| service.cluster_ips.iter().copied()))
    }

    /// The address that `me`, the node this world is of, speaks to pods from: its first InternalIP
    /// of `family` that the machine carries. There is none while the Node object still names an
    /// address that the machine has lost.
    pub fn own_source(&self, me: &NodeName, family: Family) -> Option<IpAddr> {
        let mut ips = self.nodes.get(me)?.internal_ips.iter().copied();
        ips.find(|ip| Family::of(*ip) == family && self.host.uplink_of(*ip).is_some())
    }
}
