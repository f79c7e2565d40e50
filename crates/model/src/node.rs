//! Nodes of the cluster.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::{Family, Labels, NodeName, Uid};

/// The part of a Node object the pod network follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`.
    pub name: NodeName,
    /// `metadata.uid`: another Node of the same name has another one.
    pub uid: Uid,
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

/// Value of the annotation [`GIVEN_BY`] of Nodes whose pod CIDRs are Seaway's to give.
pub const SEAWAY: &str = "seaway";

/// Annotation that says who has given a Node its pod CIDRs, where it was not the control plane.
pub const GIVEN_BY: &str = "seaway.io/pod-cidrs-by";

/// A Node as whoever leads sees it: what it has been given, and how it is. Unlike [`Node`], it changes without any
/// packet going another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// `metadata.name`.
    pub name: NodeName,
    /// `metadata.uid`: another Node of the same name has another one.
    pub uid: Arc<str>,
    /// Whether condition `Ready` is True.
    pub is_ready: bool,
    /// Whether it is being deleted.
    pub is_leaving: bool,
    /// Whether a cloud has yet to complete it: taint `node.cloudprovider.kubernetes.io/uninitialized`.
    pub is_incomplete: bool,
    /// `status.addresses` of type InternalIP, in their order; what is no address is left out.
    pub internal_ips: Vec<IpAddr>,
    /// `spec.podCIDRs`; what is no CIDR is left out.
    pub pod_cidrs: Vec<IpNet>,
    /// Whether `spec.podCIDRs` says anything, readable or not: then it can't be given any.
    pub has_pod_cidrs: bool,
    /// Whether they are Seaway's to give, by annotation [`GIVEN_BY`].
    pub is_ours: bool,
}

impl NodeState {
    /// Its first address of `family`.
    pub fn internal_ip(&self, family: Family) -> Option<IpAddr> {
        self.internal_ips.iter().copied().find(|ip| Family::of(*ip) == family)
    }
}

impl Node {
    /// A node of which nothing but its name is known.
    pub fn new(name: NodeName) -> Self {
        Node {
            name,
            uid: "".into(),
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
