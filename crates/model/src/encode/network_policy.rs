//! `networking.k8s.io/v1/NetworkPolicy`.

use serde_json::{Value, json};

use super::selector::selector;
use super::{protocol, put_audit, unreadable};
use crate::{IpBlock, Namespaces, NetworkPolicy, Peer, PodSelector, PortMatch, Rule};

/// A NetworkPolicy. A rule that could not be read is one that can't be read, for another reason.
pub fn network_policy(policy: &NetworkPolicy) -> Value {
    let mut spec = json!({ "podSelector": selector(&policy.subject.pods) });
    let mut types = Vec::new();
    if let Some(rules) = &policy.ingress {
        types.push("Ingress");
        spec["ingress"] = rules.iter().map(|it| rule("from", it)).collect();
    }
    if let Some(rules) = &policy.egress {
        types.push("Egress");
        spec["egress"] = rules.iter().map(|it| rule("to", it)).collect();
    }
    spec["policyTypes"] = types.into();
    let name = &policy.name;
    let mut metadata = json!({ "namespace": &*name.namespace, "name": &*name.name });
    put_audit(&mut metadata, &policy.audit);
    json!({ "metadata": metadata, "spec": spec })
}

fn rule(way: &str, rule: &Rule) -> Value {
    let mut object = json!({});
    match &rule.peers {
        Some(peers) if peers.is_empty() => return unreadable(object),
        Some(peers) => object[way] = peers.iter().map(peer).collect(),
        None => {}
    }
    if let Some(ports) = &rule.ports {
        object["ports"] = ports.iter().map(port).collect();
    }
    object
}

/// A peer. What only a cluster's policies have is none that can be read.
fn peer(peer: &Peer) -> Value {
    match peer {
        Peer::Pods(PodSelector { namespaces: Namespaces::Only(_), pods }) => {
            json!({ "podSelector": selector(pods) })
        }
        Peer::Pods(PodSelector { namespaces: Namespaces::Matching(namespaces), pods }) => {
            json!({ "namespaceSelector": selector(namespaces), "podSelector": selector(pods) })
        }
        Peer::Block(IpBlock { cidr, except }) => {
            json!({ "ipBlock": { "cidr": cidr.to_string(), "except": super::nets(except) } })
        }
        Peer::Nodes(_) | Peer::Names(_) => json!({}),
    }
}

fn port(port: &PortMatch) -> Value {
    match port {
        PortMatch::Numbers { protocol: of, first: 0, last: _ } => {
            json!({ "protocol": protocol(*of) })
        }
        PortMatch::Numbers { protocol: of, first, last } => {
            json!({ "protocol": protocol(*of), "port": first, "endPort": last })
        }
        PortMatch::Named { name, protocol: of } => {
            json!({ "protocol": of.map(protocol), "port": &**name })
        }
    }
}
