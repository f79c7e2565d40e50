//! Which nodes a DaemonSet's pods are for, and a pod for one of them.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};

use super::HASH;
use crate::plane::placement::{self, NOT_READY, UNREACHABLE, UNSCHEDULABLE};
use crate::plane::pods;

/// What a node is to the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// One runs there.
    Runs,
    /// One that is there stays, but none is made.
    Stays,
    /// None may be there.
    Refuses,
}

/// The pods' spec: the template's, and the tolerations that keep a node's own services running when the
/// node is in trouble or cordoned.
///
/// Source: Kubernetes, `AddOrUpdateDaemonPodTolerations`.
pub(super) fn spec(set: &DaemonSetSpec) -> PodSpec {
    let mut spec = set.template.spec.clone().unwrap_or_default();
    let mut keys = vec![
        (NOT_READY, "NoExecute"),
        (UNREACHABLE, "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        (UNSCHEDULABLE, "NoSchedule"),
    ];
    if spec.host_network == Some(true) {
        keys.push(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    }
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in keys {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        tolerations.retain(|other| {
            (&other.key, &other.effect, &other.value)
                != (&toleration.key, &toleration.effect, &None)
        });
        tolerations.push(toleration);
    }
    spec
}

/// What `node` is to pods with this spec.
pub(super) fn fit(spec: &PodSpec, node: &Node) -> Fit {
    let other = spec.node_name.as_deref().filter(|name| !name.is_empty());
    if other.is_some_and(|name| Some(name) != node.metadata.name.as_deref())
        || !placement::wants(spec, node)
    {
        return Fit::Refuses;
    }
    let taints = placement::taints(node);
    if placement::untolerated(spec, &taints, &["NoExecute"]).is_some() {
        return Fit::Refuses;
    }
    match placement::untolerated(spec, &taints, &["NoSchedule"]) {
        Some(_) => Fit::Stays,
        None => Fit::Runs,
    }
}

/// A pod for `node`, to which the scheduler will bind it: that is all its affinity allows.
pub(super) fn pod(set: &DaemonSet, of: &DaemonSetSpec, node: &str, hash: &str) -> Pod {
    let mut pod = pods::from_template(&of.template, set);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.to_owned());
    let mut spec = spec(of);
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm {
            match_fields: Some(vec![NodeSelectorRequirement {
                key: "metadata.name".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec![node.to_owned()]),
            }]),
            match_expressions: None,
        }],
    });
    pod.spec = Some(spec);
    pod
}

/// The node a pod is on, or is meant for.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    pods::node_of(pod).or_else(|| {
        let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        let mut fields =
            required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
        let name = fields.find(|field| field.key == "metadata.name" && field.operator == "In")?;
        name.values.as_ref()?.first().map(String::as_str)
    })
}
