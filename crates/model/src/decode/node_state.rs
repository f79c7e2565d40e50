//! `v1/Node`, as whoever leads sees it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::node_wire::WireNode;
use super::{DecodeError, read};
use crate::{GIVEN_BY, NodeState, SEAWAY};

/// Key of the taint of a Node that a cloud has yet to complete.
const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";

/// Reads a Node from its JSON. What is no CIDR or no address is left out and the Node is not: who gives others
/// theirs has to know of it.
///
/// # Errors
/// [`DecodeError`] when the JSON is no Node.
///
/// Source: Node API; well-known taints.
pub fn node_state(json: &[u8]) -> Result<NodeState, DecodeError> {
    let wire: WireNode = read("Node", json)?;
    let (is_ready, is_incomplete) = (wire.is("Ready"), wire.has_taint(UNINITIALIZED));
    let WireNode { metadata, spec, status } = wire;
    let texts = || std::iter::once(&spec.pod_cidr).chain(&spec.pod_cidrs);
    let mut pod_cidrs: Vec<IpNet> = texts().filter_map(|text| text.parse().ok()).collect();
    pod_cidrs.dedup();
    let internal = status.addresses.iter().filter(|address| address.is_internal());
    let internal_ips = internal.filter_map(|address| address.address.parse::<IpAddr>().ok());
    Ok(NodeState {
        is_ready,
        is_leaving: metadata.deletion_timestamp.is_some(),
        is_incomplete,
        internal_ips: internal_ips.collect(),
        has_pod_cidrs: texts().any(|text| !text.is_empty()),
        pod_cidrs,
        is_ours: metadata.annotations.get(GIVEN_BY).is_some_and(|by| by == SEAWAY),
        uid: metadata.uid.as_str().into(),
        name: metadata.name.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_known_whatever_is_wrong_with_its_cidrs() {
        let read = |spec: &str| {
            let json = format!(r#"{{"metadata":{{"name":"a","uid":"u"}},"spec":{{{spec}}}}}"#);
            let state = node_state(json.as_bytes()).unwrap();
            let nets: Vec<String> = state.pod_cidrs.iter().map(ToString::to_string).collect();
            (nets.join(" "), state.has_pod_cidrs)
        };
        let cases = [
            ("", ("", false)),
            (r#""podCIDR":"","podCIDRs":[]"#, ("", false)),
            (r#""podCIDR":"10.1.0.0/24""#, ("10.1.0.0/24", true)),
            (
                r#""podCIDR":"10.1.0.0/24","podCIDRs":["10.1.0.0/24","fd00::/64"]"#,
                ("10.1.0.0/24 fd00::/64", true),
            ),
            (r#""podCIDRs":["nonsense"]"#, ("", true)),
        ];
        for (spec, (nets, has)) in cases {
            assert_eq!(read(spec), (nets.to_owned(), has), "{spec}");
        }
    }

    #[test]
    fn what_is_said_of_a_node_beside_its_network() {
        let json = br#"{"metadata":{"name":"a","uid":"u","annotations":{"seaway.io/pod-cidrs-by":"seaway"},
            "deletionTimestamp":"2026-01-01T00:00:00Z"},
            "spec":{"taints":[{"key":"node.cloudprovider.kubernetes.io/uninitialized","effect":"NoSchedule"}]},
            "status":{"addresses":[{"type":"Hostname","address":"a"},{"type":"InternalIP","address":"fd00::1"},
            {"type":"InternalIP","address":"?"},{"type":"InternalIP","address":"192.0.2.1"}],
            "conditions":[{"type":"DiskPressure","status":"False"},{"type":"Ready","status":"True"}]}}"#;
        let state = node_state(json).unwrap();
        assert!(state.is_ours && state.is_leaving && state.is_incomplete && state.is_ready);
        assert_eq!(state.internal_ips.len(), 2);
        let plain = node_state(br#"{"metadata":{"name":"a"}}"#).unwrap();
        assert!(!(plain.is_ours || plain.is_leaving || plain.is_incomplete || plain.is_ready));
    }
}
