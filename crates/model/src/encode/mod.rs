//! Model → Kubernetes' wire shapes: the other direction of [`decode`](crate::decode), for what keeps
//! objects outside of the process.
//!
//! An object holds what Seaway reads and nothing else, in the fields of its API. What is read of it is
//! the object it was made from, except that moments are kept to the microsecond, and that a policy's faults
//! have other reasons.

mod cluster_policy;
mod condition;
mod network_policy;
mod pod;
mod selector;
mod service;
mod slice;

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::decode::{TERMINATING, TO_BE_DELETED, ZONE};
use crate::{AUDIT, Audit, Family, Labels, Namespace, Node, Protocol, ServiceCidr};

pub use cluster_policy::cluster_policy;
pub use condition::condition;
pub use network_policy::network_policy;
pub use pod::pod;
pub use service::service;
pub use slice::endpoint_slice;

/// A Node.
pub fn node(node: &Node) -> Value {
    let mut object = json!({ "metadata": { "name": node.name.as_str() } });
    let metadata = &mut object["metadata"];
    if !node.uid.is_empty() {
        metadata["uid"] = node.uid.to_string().into();
    }
    put_labels(metadata, &node.labels);
    if let Some(zone) = &node.zone {
        metadata["labels"][ZONE] = zone.as_str().into();
    }
    if node.is_leaving {
        object["spec"]["taints"] = json!([{ "key": TO_BE_DELETED }]);
    }
    if !node.pod_cidrs.is_empty() {
        object["spec"]["podCIDRs"] = nets(&node.pod_cidrs);
    }
    let addr = |kind: &'static str| move |addr| json!({ "type": kind, "address": addr });
    let internal = node.internal_ips.iter().map(addr("InternalIP"));
    let others = node.other_ips.iter().map(addr("ExternalIP"));
    object["status"]["addresses"] = internal.chain(others).collect();
    object
}

/// A Namespace.
pub fn namespace(namespace: &Namespace) -> Value {
    let mut metadata = json!({ "name": &*namespace.name });
    put_labels(&mut metadata, &namespace.labels);
    let mut object = json!({ "metadata": metadata });
    if namespace.is_terminating {
        object["status"]["phase"] = TERMINATING.into();
    }
    object
}

/// A ServiceCIDR.
pub fn service_cidr(cidr: &ServiceCidr) -> Value {
    json!({ "metadata": { "name": &*cidr.name }, "spec": { "cidrs": nets(&cidr.cidrs) } })
}

/// A policy's `rule` that nobody can read, so that it stays closed.
fn unreadable(mut rule: Value) -> Value {
    rule["unreadable"] = true.into();
    rule
}

/// What a policy says of its audit.
fn put_audit(metadata: &mut Value, audit: &Audit) {
    if let Some(value) = audit.value() {
        metadata["annotations"] = json!({ AUDIT: value });
    }
}

fn put_labels(metadata: &mut Value, labels: &Labels) {
    for (key, value) in labels.iter() {
        metadata["labels"][key] = value.into();
    }
}

fn nets(nets: &[IpNet]) -> Value {
    nets.iter().map(ToString::to_string).collect()
}

fn ips(ips: &[IpAddr]) -> Value {
    ips.iter().map(ToString::to_string).collect()
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

fn family(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

#[cfg(test)]
mod tests;
