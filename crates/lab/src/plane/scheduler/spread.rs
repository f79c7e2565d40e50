//! Pods that want to be spread evenly over the values of a node's label.
//!
//! Source: Pod API, `topologySpreadConstraints`; kube-scheduler, PodTopologySpread.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, TopologySpreadConstraint};

use super::board::Board;
use super::filter::domain;
use crate::plane::numbers::count;
use crate::plane::placement::{taints, untolerated, wants};
use crate::plane::{pods, selector};

/// How the pods that one constraint is about are spread.
#[derive(Debug)]
struct Constraint {
    label: String,
    must: bool,
    /// Most by which the fullest value may exceed the emptiest.
    most: i64,
    /// Pods by value, of every value that counts.
    counts: BTreeMap<String, i64>,
    /// What is compared with: the emptiest value.
    least: i64,
    /// One, if the pod itself is among those that are spread.
    own: i64,
}

/// All constraints of a pod.
#[derive(Debug, Default)]
pub(super) struct Spread(Vec<Constraint>);

impl Spread {
    pub(super) fn new(board: &mut Board, pod: &Pod, spec: &PodSpec) -> Self {
        let all = spec.topology_spread_constraints.as_deref().unwrap_or_default();
        let read = |constraint| Constraint::new(board, pod, spec, constraint);
        Self(all.iter().map(read).collect())
    }

    /// Why the pod can't be on `node`.
    pub(super) fn refusal(&self, node: &Node) -> Option<&'static str> {
        self.0.iter().filter(|constraint| constraint.must).find_map(|constraint| {
            let Some(value) = domain(node, &constraint.label) else {
                return Some(
                    "didn't match pod topology spread constraints (missing required label)",
                );
            };
            let here = constraint.counts.get(value).copied().unwrap_or(0);
            (here + constraint.own - constraint.least > constraint.most)
                .then_some("didn't match pod topology spread constraints")
        })
    }

    /// How many pods are where `node` is that the pod would rather be apart from.
    pub(super) fn crowd(&self, node: &Node) -> i64 {
        let soft = self.0.iter().filter(|constraint| !constraint.must);
        soft.map(|constraint| {
            let everywhere = constraint.counts.values().sum::<i64>();
            let value = domain(node, &constraint.label);
            value.map_or(everywhere, |value| constraint.counts.get(value).copied().unwrap_or(0))
        })
        .sum()
    }
}

impl Constraint {
    fn new(board: &mut Board, pod: &Pod, spec: &PodSpec, from: &TopologySpreadConstraint) -> Self {
        let mut select = from.label_selector.clone().unwrap_or_default();
        for key in from.match_label_keys.iter().flatten() {
            if let Some(value) = pods::label(pod, key) {
                select.match_labels.get_or_insert_default().insert(key.clone(), value.to_owned());
            }
        }
        let is_meant = |pod: &Pod| {
            from.label_selector.is_some()
                && selector::matches(&select, pod.metadata.labels.as_ref())
        };
        let mut counts = BTreeMap::new();
        for seat in board.seats.values().filter(|seat| is_place(spec, &seat.node, from)) {
            if let Some(value) = domain(&seat.node, &from.topology_key) {
                counts.entry(value.to_owned()).or_insert(0);
            }
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        if from.label_selector.is_some() {
            for (value, many) in board.spread_over(namespace, &select, &from.topology_key) {
                if let Some(count) = counts.get_mut(value) {
                    *count += many.staying;
                }
            }
        }
        let few = from.min_domains.is_some_and(|least| count(counts.len()) < least);
        let least = if few { 0 } else { counts.values().min().copied().unwrap_or(0) };
        Self {
            label: from.topology_key.clone(),
            must: from.when_unsatisfiable == "DoNotSchedule",
            most: from.max_skew.into(),
            counts,
            least,
            own: i64::from(is_meant(pod)),
        }
    }
}

/// Whether a node counts: one that the pod's affinity or tolerations rule out does not, if so said.
fn is_place(spec: &PodSpec, node: &Node, from: &TopologySpreadConstraint) -> bool {
    let by_affinity = from.node_affinity_policy.as_deref() != Some("Ignore");
    let by_taints = from.node_taints_policy.as_deref() == Some("Honor");
    (!by_affinity || wants(spec, node))
        && (!by_taints || untolerated(spec, &taints(node), &["NoSchedule", "NoExecute"]).is_none())
}
