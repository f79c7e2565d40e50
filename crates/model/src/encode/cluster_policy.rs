//! The kinds of `policy.networking.k8s.io`.

use serde_json::{Value, json};

use super::selector::selector;
use super::{protocol, put_audit, unreadable};
use crate::{
    ClusterPolicy, ClusterPolicyKind, ClusterRule, ClusterTier, Edition, LabelSelector, Namespaces,
    Peer, PodSelector, PortMatch, Protocol, RuleAction,
};

/// A policy of the cluster, as its own kind has it. A rule that could not be read is one that can't be
/// read, for another reason.
pub fn cluster_policy(policy: &ClusterPolicy) -> Value {
    let is_old = policy.name.kind != ClusterPolicyKind::ClusterNetworkPolicy;
    let rules = |way: &'static str, rules: &[ClusterRule]| -> Value {
        rules.iter().map(|it| rule(is_old, way, it)).collect()
    };
    let mut spec = json!({
        "priority": policy.priority,
        "subject": { "pods": pods(&policy.subject) },
        "ingress": rules("from", &policy.ingress),
        "egress": rules("to", &policy.egress),
    });
    if !is_old {
        let tier = match policy.tier {
            ClusterTier::Admin => "Admin",
            ClusterTier::Baseline => "Baseline",
        };
        spec["tier"] = tier.into();
    }
    let mut metadata = json!({ "name": &*policy.name.name });
    let Edition { uid, generation } = &policy.edition;
    if !uid.is_empty() {
        metadata["uid"] = (**uid).into();
    }
    if *generation != 0 {
        metadata["generation"] = (*generation).into();
    }
    put_audit(&mut metadata, &policy.audit);
    json!({ "metadata": metadata, "spec": spec })
}

fn pods(pods: &PodSelector) -> Value {
    let everywhere = LabelSelector::default();
    let namespaces = match &pods.namespaces {
        Namespaces::Matching(namespaces) => namespaces,
        // No policy of the cluster says it.
        Namespaces::Only(_) => &everywhere,
    };
    json!({ "namespaceSelector": selector(namespaces), "podSelector": selector(&pods.pods) })
}

fn rule(is_old: bool, way: &str, rule: &ClusterRule) -> Value {
    let action = match rule.action {
        RuleAction::Accept if is_old => "Allow",
        RuleAction::Accept => "Accept",
        RuleAction::Deny => "Deny",
        RuleAction::Pass => "Pass",
    };
    let mut object = json!({ "action": action });
    // One that could be read names a peer.
    let Some(peers) = rule.rule.peers.as_ref().filter(|peers| !peers.is_empty()) else {
        return unreadable(object);
    };
    object[way] = peers.iter().map(peer).collect();
    if let Some(name) = &rule.name {
        object["name"] = (**name).into();
    }
    if let Some(ports) = &rule.rule.ports {
        let (field, one): (_, fn(&PortMatch) -> Value) =
            if is_old { ("ports", old_port) } else { ("protocols", port) };
        object[field] = ports.iter().map(one).collect();
    }
    object
}

fn peer(peer: &Peer) -> Value {
    match peer {
        Peer::Pods(selector) => json!({ "pods": pods(selector) }),
        Peer::Nodes(nodes) => json!({ "nodes": selector(nodes) }),
        Peer::Block(block) => json!({ "networks": [block.cidr.to_string()] }),
        Peer::Names(pattern) => json!({ "domainNames": [pattern.to_string()] }),
    }
}

fn port(port: &PortMatch) -> Value {
    match port {
        PortMatch::Numbers { protocol, first, last } => {
            let protocol = match protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Sctp => "sctp",
            };
            let range = json!({ "range": { "start": first, "end": last } });
            json!({ protocol: { "destinationPort": range } })
        }
        PortMatch::Named { name, .. } => json!({ "destinationNamedPort": &**name }),
    }
}

fn old_port(port: &PortMatch) -> Value {
    match port {
        PortMatch::Numbers { protocol: of, first, last } => {
            json!({ "portRange": { "protocol": protocol(*of), "start": first, "end": last } })
        }
        PortMatch::Named { name, .. } => json!({ "namedPort": &**name }),
    }
}
