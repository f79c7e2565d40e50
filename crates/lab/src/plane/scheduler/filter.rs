//! Whether a node will have a pod, and why not.
//!
//! Source: kube-scheduler's plugins NodeUnschedulable, TaintToleration, NodeAffinity, NodePorts,
//! NodeResourcesFit, PodTopologySpread and InterPodAffinity, in the order and with the words it has.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};

use super::affinity::Company;
use super::board::{Board, HostPort, Seat, host_ports, is_taken};
use super::quantity::{Amounts, PODS, requests};
use super::spread::Spread;
use crate::plane::placement::taint;
use crate::plane::placement::{UNSCHEDULABLE, taints, tolerates, untolerated, wants};
use crate::plane::runtime::Cluster;

/// A pod that wants a place, with all that is the same for every node.
pub(super) struct Wish<'a> {
    pub pod: &'a Pod,
    pub spec: &'a PodSpec,
    pub requests: Amounts,
    pub ports: Vec<HostPort>,
    pub spread: Spread,
    pub company: Company,
}

impl<'a> Wish<'a> {
    pub(super) fn new(
        cluster: &Cluster,
        board: &mut Board,
        pod: &'a Pod,
        spec: &'a PodSpec,
    ) -> Self {
        Self {
            pod,
            spec,
            requests: requests(spec),
            ports: host_ports(pod),
            spread: Spread::new(board, pod, spec),
            company: Company::new(cluster, board, pod, spec),
        }
    }

    /// Why the node will not have the pod; nothing if it will.
    pub(super) fn refusals(&self, name: &str, seat: &Seat) -> Vec<String> {
        let node = &*seat.node;
        let one = |why: &str| vec![format!("node(s) {why}")];
        let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
        let cordon = taint(UNSCHEDULABLE, "NoSchedule");
        let mut tolerations = self.spec.tolerations.iter().flatten();
        if cordoned && !tolerations.any(|toleration| tolerates(toleration, &cordon)) {
            return one("were unschedulable");
        }
        if let Some(taint) = untolerated(self.spec, &taints(node), &["NoSchedule", "NoExecute"]) {
            let value = taint.value.as_deref().unwrap_or_default();
            return one(&format!("had untolerated taint {{{}: {value}}}", taint.key));
        }
        if !wants(self.spec, node) {
            return one("didn't match Pod's node affinity/selector");
        }
        if self.ports.iter().any(|port| is_taken(seat, port)) {
            return one("didn't have free ports for the requested pod ports");
        }
        let missing = self.missing(seat);
        if !missing.is_empty() {
            return missing;
        }
        let why = self.spread.refusal(node).or_else(|| self.company.refusal(name, node));
        why.map(one).unwrap_or_default()
    }

    /// Resources that the node has too little of. One that it says nothing of is not limited there, but
    /// for those that only some nodes have.
    fn missing(&self, seat: &Seat) -> Vec<String> {
        let lacks = |(resource, amount): &(&String, &i128)| {
            let all = seat.allocatable.get(*resource);
            let left = all.map(|all| all - seat.taken.get(*resource).unwrap_or(&0));
            **amount > 0 && left.map_or(resource.contains('/'), |left| left < **amount)
        };
        let name = |(resource, _): (&String, &i128)| match resource.as_str() {
            PODS => "Too many pods".to_owned(),
            resource => format!("Insufficient {resource}"),
        };
        self.requests.iter().filter(lacks).map(name).collect()
    }
}

/// The value of the node's label.
pub(super) fn domain<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// What is told when no node will have the pod.
pub(super) fn message(nodes: usize, reasons: &BTreeMap<String, usize>) -> String {
    let mut told: Vec<_> = reasons.iter().map(|(why, count)| format!("{count} {why}")).collect();
    told.sort();
    match nodes {
        0 => "no nodes available to schedule pods".to_owned(),
        nodes => format!("0/{nodes} nodes are available: {}.", told.join(", ")),
    }
}
