//! `v1/Node`, as the pod network follows from it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::node_wire::WireNode;
use super::{DecodeError, Object, ip, net, read};
use crate::{Family, Node};

/// The zone a node is in.
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";

/// Key of the taint that the cluster autoscaler puts on a node before it removes it.
pub(crate) const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// Reads a Node from its JSON.
///
/// `spec.podCIDRs` wins over the older `spec.podCIDR`. Node addresses other than InternalIP are not
/// used for the pod network, and need not be addresses at all.
///
/// # Errors
/// [`DecodeError`] when the JSON is not a Node, a CIDR or address does not parse, or a family has
/// two pod CIDRs.
///
/// Source: Node API, `spec.podCIDRs`, `status.addresses`.
pub fn node(json: &[u8]) -> Result<Node, DecodeError> {
    let mut wire: WireNode = read("Node", json)?;
    let object = Object { kind: "Node", name: wire.metadata.full_name() };
    let cidrs = if wire.spec.pod_cidrs.is_empty() && !wire.spec.pod_cidr.is_empty() {
        std::slice::from_ref(&wire.spec.pod_cidr)
    } else {
        &wire.spec.pod_cidrs
    };
    let mut pod_cidrs: Vec<IpNet> = Vec::new();
    for (i, text) in cidrs.iter().enumerate() {
        let field = format!("spec.podCIDRs[{i}]");
        let cidr = net(&object, &field, text)?;
        if pod_cidrs.iter().any(|n| Family::of(n.addr()) == Family::of(cidr.addr())) {
            let why = format!("{cidr} is the second CIDR of its family");
            return Err(object.fail(&field, why));
        }
        pod_cidrs.push(cidr);
    }
    let (mut internal_ips, mut other_ips) = (Vec::new(), Vec::new());
    for (i, address) in wire.status.addresses.iter().enumerate() {
        if address.is_internal() {
            let field = format!("status.addresses[{i}].address");
            internal_ips.push(ip(&object, &field, &address.address)?);
        } else {
            other_ips.extend(address.address.parse::<IpAddr>());
        }
    }
    let zone = wire.metadata.labels.get(ZONE).filter(|zone| !zone.is_empty()).cloned();
    let is_leaving = wire.has_taint(TO_BE_DELETED) || wire.metadata.deletion_timestamp.is_some();
    Ok(Node {
        uid: wire.metadata.uid.as_str().into(),
        labels: wire.metadata.take_labels(),
        name: wire.metadata.name.into(),
        zone,
        is_leaving,
        internal_ips,
        other_ips,
        pod_cidrs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_read_with_both_families() {
        let json = br#"{"metadata":{"name":"a","labels":{"role":"edge"}},
            "spec":{"podCIDRs":["10.244.1.0/24","fd00::/64"]},
            "status":{"addresses":[{"type":"Hostname","address":"a"},
            {"type":"ExternalIP","address":"203.0.113.1"},
            {"type":"InternalIP","address":"192.0.2.1"}]}}"#;
        let node = node(json).unwrap();
        assert_eq!(node.pod_cidrs.len(), 2);
        assert_eq!(node.internal_ip(Family::V4), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(node.internal_ip(Family::V6), None);
        assert_eq!(node.zone, None);
        assert_eq!(node.labels.get("role"), Some("edge"));
        let ips = ["192.0.2.1", "203.0.113.1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(node.ips().collect::<Vec<_>>(), ips);
    }

    #[test]
    fn a_zone_is_a_label_that_is_not_empty() {
        for (label, zone) in [("east", Some("east".to_owned())), ("", None)] {
            let json = format!(
                r#"{{"metadata":{{"name":"a","labels":{{"topology.kubernetes.io/zone":"{label}"}}}}}}"#
            );
            assert_eq!(node(json.as_bytes()).unwrap().zone, zone);
        }
    }

    #[test]
    fn a_node_leaves_when_it_is_deleted_or_the_autoscaler_is_about_to() {
        let cases = [
            (r#""metadata":{"name":"a"}"#, false),
            (
                r#""metadata":{"name":"a"},"spec":{"taints":[{"key":"x","effect":"NoExecute"}]}"#,
                false,
            ),
            (
                r#""metadata":{"name":"a"},"spec":{"taints":[{"key":"x"},{"key":"ToBeDeletedByClusterAutoscaler"}]}"#,
                true,
            ),
            (r#""metadata":{"name":"a","deletionTimestamp":"2026-05-01T00:00:00Z"}"#, true),
        ];
        for (fields, is_leaving) in cases {
            let node = node(format!("{{{fields}}}").as_bytes()).unwrap();
            assert_eq!(node.is_leaving, is_leaving, "{fields}");
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        let cases = [
            (r#"{"metadata":{"name":"a"},"spec":{"podCIDR":"10.0.0/24"}}"#, "spec.podCIDRs[0]"),
            (
                r#"{"metadata":{"name":"a"},"spec":{"podCIDRs":["10.0.0.0/24","10.1.0.0/24"]}}"#,
                "spec.podCIDRs[1]",
            ),
            (
                r#"{"metadata":{"name":"a"},"status":{"addresses":[{"type":"InternalIP","address":"x"}]}}"#,
                "status.addresses[0].address",
            ),
        ];
        for (json, field) in cases {
            let error = node(json.as_bytes()).unwrap_err();
            assert_eq!((error.object.as_str(), error.field.as_str()), ("Node a", field));
        }
    }
}
