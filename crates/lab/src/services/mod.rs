//! Addresses and ports of Services: what the API server hands out when a Service is made, as
//! Kubernetes' own does, before the client has its answer.
//!
//! ```text
//! write of a Service ─► families (which, and how many) ─► addresses (10.96.0.0/16, …) ─► ports (30000-32767)
//! ```
//!
//! Nothing here sends a packet: what a Service's address means is the agent's business.
//!
//! Source: Kubernetes, `pkg/registry/core/service/storage/alloc.go`; KEP-3070 and KEP-3668 (bands for
//! those who choose and those who don't), KEP-1880 (ServiceCIDR), KEP-563 (dual stack).

mod addresses;
mod allocator;
mod families;
mod ports;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::IpNet;
use model::Family;

use crate::spec::Spec;

pub use allocator::Allocator;

/// The name of the range a cluster starts with.
pub const DEFAULT_RANGE: &str = "kubernetes";

/// What is allocated from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    /// One CIDR per family of the cluster, the primary one first.
    pub cidrs: Vec<IpNet>,
}

impl Ranges {
    /// The cluster's families, primary first.
    fn families(&self) -> Vec<Family> {
        self.cidrs.iter().map(|cidr| Family::of(cidr.addr())).collect()
    }
}

/// The address of Service `default/kubernetes`: the first one of the primary range.
pub fn api_address(spec: &Spec) -> Option<IpAddr> {
    spec.service_cidrs
        .first()
        .and_then(|cidr| cidr.hosts().find(|address| *address != cidr.network()))
}

/// The addresses of Service `kube-system/kube-dns`: the tenth one of each range that has so many.
pub fn dns_addresses(spec: &Spec) -> Vec<IpAddr> {
    const NUMBER: u8 = 10;
    let tenth = |cidr: &IpNet| {
        let address = match cidr.network() {
            IpAddr::V4(network) => {
                IpAddr::V4(u32::from(network).checked_add(NUMBER.into())?.into())
            }
            IpAddr::V6(network) => {
                IpAddr::V6(u128::from(network).checked_add(NUMBER.into())?.into())
            }
        };
        (cidr.contains(&address) && address != cidr.broadcast()).then_some(address)
    };
    spec.service_cidrs.iter().filter_map(tenth).collect()
}

/// A field of a Service that can't be had.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    field: String,
    value: serde_json::Value,
    detail: String,
}

impl Refused {
    fn new(
        field: impl Into<String>,
        value: impl Into<serde_json::Value>,
        detail: impl Into<String>,
    ) -> Self {
        Refused { field: field.into(), value: value.into(), detail: detail.into() }
    }
}
