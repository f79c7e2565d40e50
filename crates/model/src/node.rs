//! Nodes of the cluster.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Family, Labels, NodeName};

/// The part of a Node object the pod network follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`.
    pub name: NodeName,
    /// `metadata.labels`.
    pub labels: Labels,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// Whether it is about to go: it is being deleted, or the cluster autoscaler has tainted it for that.
    /// Load balancers should send it nothing new (KEP-3836).
    pub is_leaving: bool,
    /// `status.addresses` of type InternalIP, in their order.
    pub internal_ips: Vec<IpAddr>,
    /// `status.addresses` of any other type, where they are IP addresses.
    pub other_ips: Vec<IpAddr>,
    /// `spec.podCIDRs`: at most one per family.
    pub pod_cidrs: Vec<IpNet>,
}

impl Node {
    /// A node of which nothing but its name is known.
    pub fn new(name: NodeName) -> Self {
        Node {
            name,
            labels: Labels::default(),
            zone: None,
            is_leaving: false,
            internal_ips: Vec::new(),
            other_ips: Vec::new(),
            pod_cidrs: Vec::new(),
        }
    }

    /// Every address that the Node object names.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.internal_ips.iter().chain(&self.other_ips).copied()
    }

    /// The node's first address of `family`.
    pub fn internal_ip(&self, family: Family) -> Option<IpAddr> {
        self.internal_ips.iter().copied().find(|ip| Family::of(*ip) == family)
    }

    /// The node's pod CIDR of `family`.
    pub fn pod_cidr(&self, family: Family) -> Option<IpNet> {
        self.pod_cidrs.iter().copied().find(|net| Family::of(net.addr()) == family)
    }
}
