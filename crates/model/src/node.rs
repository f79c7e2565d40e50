//! Nodes of the cluster.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Family, NodeName};

/// The part of a Node object the pod network follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`.
    pub name: NodeName,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// Whether it is about to go: it is being deleted, or the cluster autoscaler has tainted it for that.
    /// Load balancers should send it nothing new (KEP-3836).
    pub is_leaving: bool,
    /// `status.addresses` of type InternalIP, in their order.
    pub internal_ips: Vec<IpAddr>,
    /// `spec.podCIDRs`: at most one per family.
    pub pod_cidrs: Vec<IpNet>,
}

impl Node {
    /// The node's first address of `family`.
    pub fn internal_ip(&self, family: Family) -> Option<IpAddr> {
        self.internal_ips.iter().copied().find(|ip| Family::of(*ip) == family)
    }

    /// The node's pod CIDR of `family`.
    pub fn pod_cidr(&self, family: Family) -> Option<IpNet> {
        self.pod_cidrs.iter().copied().find(|net| Family::of(net.addr()) == family)
    }
}
