//! Pods that want to be near other pods, or far from them.
//!
//! Source: Pod API, `podAffinity` and `podAntiAffinity`; kube-scheduler, InterPodAffinity.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm, PodSpec};

use super::board::Board;
use super::filter::domain;
use crate::plane::runtime::Cluster;
use crate::plane::selector;

/// Which values of a node's label a pod wants, or does not want.
#[derive(Debug, Default)]
struct Domains {
    label: String,
    values: BTreeSet<String>,
}

/// What company a pod wants.
#[derive(Debug, Default)]
pub(super) struct Company {
    near: Vec<Domains>,
    /// No pod is anywhere that the pod wants to be near, but it would be its own company.
    is_first: bool,
    far: Vec<Domains>,
    /// Where pods are that don't want this one.
    unwelcome: Vec<Domains>,
    /// What each value of a label is worth.
    worth: Vec<(String, BTreeMap<String, i64>)>,
}

impl Company {
    pub(super) fn new(cluster: &Cluster, board: &mut Board, pod: &Pod, spec: &PodSpec) -> Self {
        let mut company = Self { unwelcome: unwelcome(cluster, board, pod), ..Self::default() };
        let Some(affinity) = &spec.affinity else { return company };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut domains = |term: &PodAffinityTerm| {
            let counts = counts(cluster, board, namespace, term);
            Domains { label: term.topology_key.clone(), values: counts.into_keys().collect() }
        };
        if let Some(near) = &affinity.pod_affinity {
            let required = near.required_during_scheduling_ignored_during_execution.as_deref();
            let terms = required.unwrap_or_default();
            company.near = terms.iter().map(&mut domains).collect();
            let nobody = company.near.iter().all(|domains| domains.values.is_empty());
            company.is_first =
                nobody && terms.iter().all(|term| matches(cluster, namespace, term, pod));
        }
        if let Some(far) = &affinity.pod_anti_affinity {
            let required = far.required_during_scheduling_ignored_during_execution.as_deref();
            company.far = required.unwrap_or_default().iter().map(domains).collect();
        }
        let near = affinity.pod_affinity.iter().flat_map(|near| {
            near.preferred_during_scheduling_ignored_during_execution.iter().flatten()
        });
        let far = affinity.pod_anti_affinity.iter().flat_map(|far| {
            far.preferred_during_scheduling_ignored_during_execution.iter().flatten()
        });
        let signed = near.map(|term| (1, term)).chain(far.map(|term| (-1, term)));
        company.worth = signed
            .map(|(sign, preferred)| {
                let term = &preferred.pod_affinity_term;
                let weight = sign * i64::from(preferred.weight);
                let counts = counts(cluster, board, namespace, term).into_iter();
                (
                    term.topology_key.clone(),
                    counts.map(|(value, many)| (value, weight * many)).collect(),
                )
            })
            .collect();
        company
    }

    /// Why the pod can't be on `node`.
    pub(super) fn refusal(&self, _name: &str, node: &Node) -> Option<&'static str> {
        let is_in = |domains: &Domains| {
            domain(node, &domains.label).is_some_and(|value| domains.values.contains(value))
        };
        let has_label = |domains: &Domains| domain(node, &domains.label).is_some();
        let is_near =
            self.near.iter().all(|domains| is_in(domains) || self.is_first && has_label(domains));
        if !is_near {
            return Some("didn't match pod affinity rules");
        }
        if self.far.iter().any(is_in) {
            return Some("didn't match pod anti-affinity rules");
        }
        let hurts = self.unwelcome.iter().any(is_in);
        hurts.then_some("didn't satisfy existing pods anti-affinity rules")
    }

    /// What the company on `node` is worth.
    pub(super) fn score(&self, node: &Node) -> i64 {
        let worth =
            self.worth.iter().filter_map(|(label, values)| values.get(domain(node, label)?));
        worth.sum()
    }
}

/// Where pods are whose required anti-affinity is about `pod`.
fn unwelcome(cluster: &Cluster, board: &Board, pod: &Pod) -> Vec<Domains> {
    let about = |aversion: &&super::board::Aversion| {
        matches(cluster, &aversion.namespace, &aversion.term, pod)
    };
    let domains = |aversion: &super::board::Aversion| {
        let label = aversion.term.topology_key.clone();
        let nodes = aversion.nodes.keys().filter_map(|name| board.seats.get(name));
        let values =
            nodes.filter_map(|seat| domain(&seat.node, &label).map(str::to_owned)).collect();
        Domains { label, values }
    };
    board.aversions.values().filter(about).map(domains).collect()
}

/// Whether `term`, of a pod in `namespace`, is about `pod`.
fn matches(cluster: &Cluster, namespace: &str, term: &PodAffinityTerm, pod: &Pod) -> bool {
    let other = pod.metadata.namespace.as_deref().unwrap_or_default();
    let selects = |pod: &Pod| {
        term.label_selector
            .as_ref()
            .is_some_and(|select| selector::matches(select, pod.metadata.labels.as_ref()))
    };
    namespaces(cluster, namespace, term).contains(other) && selects(pod)
}

/// The namespaces a term is about: those it names and selects, or else its pod's own.
fn namespaces(cluster: &Cluster, namespace: &str, term: &PodAffinityTerm) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
    if let Some(select) = &term.namespace_selector {
        let selected = cluster
            .namespaces
            .iter()
            .filter(|(_, namespace)| selector::matches(select, namespace.metadata.labels.as_ref()));
        names.extend(selected.map(|(name, _)| name.to_string()));
    } else if names.is_empty() {
        names.insert(namespace.to_owned());
    }
    names
}

/// For each value of the term's label how many pods it is about are on nodes with it.
fn counts(
    cluster: &Cluster,
    board: &mut Board,
    namespace: &str,
    term: &PodAffinityTerm,
) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    let Some(select) = &term.label_selector else { return counts };
    for namespace in namespaces(cluster, namespace, term) {
        for (value, many) in board.spread_over(&namespace, select, &term.topology_key) {
            *counts.entry(value.to_owned()).or_default() += many.all;
        }
    }
    counts
}
