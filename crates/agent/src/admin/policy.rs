//! The policies of this node's pods, and the objects that they follow from.

use std::fmt::Write;

use compile::policy::{Judge, Learned, explain};
use http::StatusCode;
use model::{ClusterPolicyKind, ObjectName, World, encode};
use serde_json::{Map, Value, json};

use super::Answer;
use crate::shown::View;

/// What is asked of each pod of this node, by the table that its rules are made of.
pub(super) fn table(view: &View) -> String {
    let (learned, pods) = (learned(view), view.compiled.policies.pods.keys());
    pods.filter_map(|pod| said(pod, view, &learned)).fold(String::new(), |mut text, pod| {
        writeln!(text, "{pod}").expect("writing to a String does not fail");
        text
    })
}

/// The answer to who asks about the pod called `NAMESPACE/NAME`, or `NAME` in the namespace default.
pub(super) fn explained(name: &str, view: &View) -> Answer {
    let (namespace, pod) = name.split_once('/').unwrap_or(("default", name));
    match said(&ObjectName::new(namespace, pod), view, &learned(view)) {
        Some(text) => Answer::text(text),
        None => {
            let why = format!("there is no pod {name} with an address of its own on this node\n");
            Answer::new(StatusCode::NOT_FOUND, why)
        }
    }
}

fn said(pod: &ObjectName, view: &View, learned: &Learned) -> Option<String> {
    let judge = Judge { world: &view.world, table: &view.compiled.policies, learned };
    explain(&judge, pod).map(|explained| explained.to_string())
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

/// The objects that policies follow from, as manifests.
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
    json!({ "apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>() })
}
