//! The policies of this node's pods, what their rules have counted, and the objects that they follow from.

use std::fmt::Write;

use compile::policy::{
    Counted, Explained, ExplainedPeers, ExplainedTarget, ExplainedWay, Judge, Learned, explain,
};
use http::StatusCode;
use kernel::nft::{Nft, counted};
use model::{ClusterPolicyKind, ObjectName, RuleAction, World, encode};
use serde_json::{Map, Value, json};

use super::Answer;
use crate::shown::View;

/// What is asked of each pod of this node, by the table that its rules are made of.
pub(super) fn table(view: &View, as_json: bool) -> Answer {
    let (counted, learned) = (read(), learned(view));
    let pods = view.compiled.policies.pods.keys();
    let pods = pods.filter_map(|pod| said(pod, view, &learned, &counted));
    if as_json {
        return Answer::json(&pods.map(|pod| document(&pod)).collect());
    }
    Answer::text(pods.fold(String::new(), |mut text, pod| {
        writeln!(text, "{pod}").expect("writing to a String does not fail");
        text
    }))
}

/// The answer to who asks about the pod called `NAMESPACE/NAME`, or `NAME` in the namespace default.
pub(super) fn explained(name: &str, view: &View, as_json: bool) -> Answer {
    let (namespace, pod) = name.split_once('/').unwrap_or(("default", name));
    match said(&ObjectName::new(namespace, pod), view, &learned(view), &read()) {
        Some(pod) if as_json => Answer::json(&document(&pod)),
        Some(pod) => Answer::text(pod.to_string()),
        None => {
            let why = format!("there is no pod {name} with an address of its own on this node\n");
            Answer::new(StatusCode::NOT_FOUND, why)
        }
    }
}

fn said(pod: &ObjectName, view: &View, learned: &Learned, counted: &Counted) -> Option<Explained> {
    let judge = Judge { world: &view.world, table: &view.compiled.policies, learned };
    let mut explained = explain(&judge, pod)?;
    explained.count(&view.compiled.plan.nft, counted);
    Some(explained)
}

/// What the kernel's rules have counted; nothing where it does not say.
fn read() -> Counted {
    let rules = Nft::open().ok().and_then(|mut nft| counted(&mut nft, None).ok());
    let mut all = Counted::new();
    for rule in rules.into_iter().flatten() {
        *all.entry(rule.chain).or_default().entry(rule.comment).or_default() += rule.packets;
    }
    all
}

/// A pod's policies, as programs want them.
pub fn document(explained: &Explained) -> Value {
    let Explained { pod, node, addrs, ways, audited, faults } = explained;
    let [ingress, egress] = ways.each_ref().map(way);
    json!({
        "namespace": &*pod.namespace,
        "name": &*pod.name,
        "node": node.as_ref().map(|node| node.as_str()),
        "addresses": addrs,
        "ingress": ingress,
        "egress": egress,
        "audited": audited,
        "closed": faults,
    })
}

fn way(way: &ExplainedWay) -> Value {
    let isolated: Vec<String> = way.isolated_by.iter().map(ToString::to_string).collect();
    let rules = way.rules.iter().map(|rule| {
        let mut row = json!({
            "rule": rule.rule.to_string(),
            "action": match rule.action {
                RuleAction::Accept => "accept",
                RuleAction::Deny => "deny",
                RuleAction::Pass => "pass",
            },
            "targets": rule.targets.iter().map(target).collect::<Vec<_>>(),
        });
        put_packets(&mut row, "packets", rule.packets);
        row
    });
    let mut row = json!({ "isolatedBy": isolated, "rules": rules.collect::<Vec<_>>() });
    put_packets(&mut row, "droppedPackets", way.dropped);
    if let Some(would) = &way.audit {
        row["audit"] = self::way(would);
    }
    row
}

/// Says how many there were, where they were counted.
fn put_packets(row: &mut Value, field: &str, packets: Option<u64>) {
    if let Some(packets) = packets {
        row[field] = packets.into();
    }
}

fn target(target: &ExplainedTarget) -> Value {
    let peers =
        |peers: &ExplainedPeers| json!({ "selector": peers.selector, "members": peers.members });
    let all = target.peers.as_ref().map(|all| all.iter().map(peers).collect::<Vec<_>>());
    json!({ "peers": all, "ports": target.ports })
}

/// What names stand for now, as far as rules of this node ask for them.
pub(super) fn learned(view: &View) -> Learned {
    view.names.as_ref().map(|names| names.stand_for()).unwrap_or_default()
}

/// The same, as names with their addresses.
pub(super) fn names(view: &View) -> Value {
    let learned = learned(view).into_iter();
    learned.map(|(name, addrs)| (name.to_string(), json!(addrs))).collect::<Map<_, _>>().into()
}

/// The objects that policies follow from, as manifests, and where the cluster's DNS is asked.
pub(super) fn objects(world: &World) -> Value {
    let of = |version: &str, kind: &str, mut object: Value| {
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
        object
    };
    let namespaces =
        world.namespaces.values().map(|one| of("v1", "Namespace", encode::namespace(one)));
    let nodes = world.nodes.values().map(|one| of("v1", "Node", encode::node(one)));
    let pods = world.pods.values().map(|one| of("v1", "Pod", encode::pod(one)));
    let policies = world
        .policies
        .values()
        .map(|one| of("networking.k8s.io/v1", "NetworkPolicy", encode::network_policy(one)));
    let cluster = world.cluster_policies.values().map(|one| {
        let version = match one.name.kind {
            ClusterPolicyKind::ClusterNetworkPolicy => "v1alpha2",
            ClusterPolicyKind::AdminNetworkPolicy
            | ClusterPolicyKind::BaselineAdminNetworkPolicy => "v1alpha1",
        };
        let version = format!("policy.networking.k8s.io/{version}");
        of(&version, one.name.kind.as_str(), encode::cluster_policy(one))
    });
    let items = namespaces.chain(nodes).chain(pods).chain(policies).chain(cluster);
    let dns = Some(&world.config.dns).filter(|dns| dns.is_served).map(|dns| {
        json!({
            "namespace": &*dns.service.namespace,
            "addresses": world.dns_addrs().collect::<Vec<_>>(),
            "nodePort": dns.node_port,
        })
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>(), "dns": dns })
}
