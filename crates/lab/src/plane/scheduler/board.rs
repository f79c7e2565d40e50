//! What is where: every node with what its pods take of it, kept up to date change by change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::census::{Censuses, Count};
use super::filter::domain;
use super::quantity::{Amounts, add, amounts, requests, subtract};
use crate::plane::pods;
use crate::plane::runtime::controller_of;

/// A port of a node that a pod takes: protocol, address and number.
pub(super) type HostPort = (String, String, i32);

/// A node and what is taken of it.
#[derive(Debug)]
pub(super) struct Seat {
    pub node: Arc<Node>,
    pub allocatable: Amounts,
    pub taken: Amounts,
    pub ports: BTreeMap<HostPort, usize>,
}

/// A required anti-affinity term of pods that are placed, and on which nodes how many of them are.
#[derive(Debug)]
pub(super) struct Aversion {
    /// Namespace of the pods that have it.
    pub namespace: String,
    pub term: PodAffinityTerm,
    pub nodes: BTreeMap<String, usize>,
}

/// All nodes, and where pods are: bound, or about to be.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// By name.
    pub seats: BTreeMap<String, Seat>,
    /// Node and state of each pod that takes something, by its key.
    placed: HashMap<Arc<str>, (String, Arc<Pod>)>,
    /// What pods take of nodes that are not known (yet).
    homeless: BTreeMap<String, Vec<Arc<str>>>,
    /// How many pods of an owner, by uid, are on each node.
    owned: HashMap<String, BTreeMap<String, usize>>,
    censuses: Censuses,
    /// By namespace and term.
    pub aversions: BTreeMap<String, Aversion>,
}

impl Board {
    /// A node is there, or changed.
    pub(super) fn set_node(&mut self, name: &str, node: Arc<Node>) {
        let status = node.status.as_ref();
        let allocatable = amounts(status.and_then(|status| status.allocatable.as_ref()));
        if let Some(seat) = self.seats.get_mut(name) {
            (seat.node, seat.allocatable) = (node, allocatable);
            return;
        }
        let seat = Seat { node, allocatable, taken: Amounts::new(), ports: BTreeMap::new() };
        self.seats.insert(name.to_owned(), seat);
        for key in self.homeless.remove(name).unwrap_or_default() {
            if let Some((_, pod)) = self.placed.get(&key).filter(|(node, _)| node == name).cloned()
            {
                self.take(name, &pod);
            }
        }
    }

    /// A node is gone; its pods take nothing until it comes back.
    pub(super) fn remove_node(&mut self, name: &str) {
        self.seats.remove(name);
        let here = self.placed.iter().filter(|(_, (node, _))| node == name);
        let keys: Vec<_> = here.map(|(key, _)| key.clone()).collect();
        if !keys.is_empty() {
            self.homeless.insert(name.to_owned(), keys);
        }
    }

    /// The node a pod takes something of.
    pub(super) fn place(&self, key: &str) -> Option<&str> {
        self.placed.get(key).map(|(node, _)| node.as_str())
    }

    /// How many pods of the same owner are on each node.
    pub(super) fn siblings(&self, pod: &Pod) -> Option<&BTreeMap<String, usize>> {
        self.owned.get(controller_of(pod)?.uid.as_str())
    }

    /// Puts a pod on a node, wherever it was before.
    pub(super) fn put(&mut self, key: &Arc<str>, node: &str, pod: &Arc<Pod>) {
        self.lift(key);
        self.placed.insert(key.clone(), (node.to_owned(), pod.clone()));
        if let Some(owner) = controller_of(&**pod) {
            let nodes = self.owned.entry(owner.uid.clone()).or_default();
            *nodes.entry(node.to_owned()).or_default() += 1;
        }
        self.censuses.step(node, pod, 1);
        for (id, aversion) in aversions(pod) {
            let entry = self.aversions.entry(id).or_insert(aversion);
            *entry.nodes.entry(node.to_owned()).or_default() += 1;
        }
        if self.seats.contains_key(node) {
            self.take(node, pod);
        } else {
            self.homeless.entry(node.to_owned()).or_default().push(key.clone());
        }
    }

    fn take(&mut self, node: &str, pod: &Pod) {
        let (Some(seat), Some(spec)) = (self.seats.get_mut(node), &pod.spec) else { return };
        add(&mut seat.taken, &requests(spec));
        for port in host_ports(pod) {
            *seat.ports.entry(port).or_default() += 1;
        }
    }

    /// Takes a pod away; whether it was somewhere.
    pub(super) fn lift(&mut self, key: &str) -> bool {
        let Some((node, pod)) = self.placed.remove(key) else { return false };
        if let Some(owner) = controller_of(&*pod)
            && let Some(nodes) = self.owned.get_mut(&owner.uid)
        {
            less(nodes, &node);
            if nodes.is_empty() {
                self.owned.remove(&owner.uid);
            }
        }
        self.censuses.step(&node, &pod, -1);
        for (id, _) in aversions(&pod) {
            if let Some(aversion) = self.aversions.get_mut(&id) {
                less(&mut aversion.nodes, &node);
                if aversion.nodes.is_empty() {
                    self.aversions.remove(&id);
                }
            }
        }
        if let Some(keys) = self.homeless.get_mut(&node) {
            keys.retain(|other| &**other != key);
            if keys.is_empty() {
                self.homeless.remove(&node);
            }
        }
        if let (Some(seat), Some(spec)) = (self.seats.get_mut(&node), &pod.spec) {
            subtract(&mut seat.taken, &requests(spec));
            host_ports(&pod).iter().for_each(|port| less(&mut seat.ports, port));
        }
        true
    }

    /// How many pods of `namespace` that fit `selector` are where a node has each value of `label`.
    pub(super) fn spread_over<'a>(
        &'a mut self,
        namespace: &str,
        selector: &LabelSelector,
        label: &str,
    ) -> impl Iterator<Item = (&'a str, Count)> + use<'a> {
        let (seats, label) = (&self.seats, label.to_owned());
        let census = self.censuses.of(namespace, selector, self.placed.values());
        census.iter().filter_map(move |(node, count)| {
            Some((domain(&seats.get(node)?.node, &label)?, *count))
        })
    }

    /// The pod as it was when it was put where it is.
    pub(super) fn pod(&self, key: &str) -> Option<&Arc<Pod>> {
        self.placed.get(key).map(|(_, pod)| pod)
    }
}

fn less<K: Ord + Clone>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn aversions(pod: &Pod) -> Vec<(String, Aversion)> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let anti = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let terms =
        anti.and_then(|anti| anti.required_during_scheduling_ignored_during_execution.as_ref());
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let entry = |term: &PodAffinityTerm| {
        let text = serde_json::to_string(term).unwrap_or_default();
        let aversion =
            Aversion { namespace: namespace.clone(), term: term.clone(), nodes: BTreeMap::new() };
        (format!("{namespace}/{text}"), aversion)
    };
    terms.into_iter().flatten().map(entry).collect()
}

/// Ports of the node that `pod` takes.
pub(super) fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = pod.spec.as_ref() else { return Vec::new() };
    let inits = spec.init_containers.iter().flatten();
    let sidecars = inits.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    let shared = spec.host_network == Some(true);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let own = shared.then_some(port.container_port);
            let number = port.host_port.filter(|number| *number != 0).or(own)?;
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            let address = port.host_ip.clone().filter(|address| !is_any(address));
            Some((protocol, address.unwrap_or_default(), number))
        })
        .collect()
}

fn is_any(address: &str) -> bool {
    matches!(address, "" | "0.0.0.0" | "::")
}

/// Whether a port is taken: of two with the same number, one of which is of all addresses, or both of the
/// same.
pub(super) fn is_taken(seat: &Seat, port: &HostPort) -> bool {
    let (protocol, address, number) = port;
    seat.ports.keys().any(|(other_protocol, other_address, other_number)| {
        (protocol, number) == (other_protocol, other_number)
            && (address.is_empty() || other_address.is_empty() || address == other_address)
    })
}

/// Whether a pod takes something of the node it is bound to.
pub(super) fn counts(pod: &Pod) -> bool {
    pods::node_of(pod).is_some() && !pods::is_over(pod)
}
