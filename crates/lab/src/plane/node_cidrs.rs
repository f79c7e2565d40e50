//! Gives each node its part of the pod CIDRs.
//!
//! Source: Kubernetes, node-ipam-controller; which part a node gets is our own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;

use super::runtime::{Action, Change, Cluster, Controller, Keys, Note, Plan, Turn, Write};
use crate::spec::{Spec, numbers, part};
use crate::topology::node_number;

/// The controller of nodes' pod CIDRs.
pub(super) struct NodeCidrs {
    spec: Arc<Spec>,
    /// By node, the numbers of the parts it has, or was just given.
    held: HashMap<Arc<str>, Vec<RangeInclusive<u32>>>,
    /// How many nodes hold each part.
    taken: BTreeMap<u32, usize>,
    /// Nodes for which nothing was left.
    waiting: BTreeSet<Arc<str>>,
}

impl NodeCidrs {
    pub(super) fn new(spec: Arc<Spec>) -> Self {
        let (held, taken, waiting) = Default::default();
        Self { spec, held, taken, waiting }
    }
}

impl Controller for NodeCidrs {
    fn name(&self) -> &'static str {
        "cidrAllocator"
    }

    fn concerns(&mut self, _cluster: &Cluster, change: &Change, keys: &mut Keys) {
        let Change::Node(changed) = change else { return };
        let Some(node) = &changed.new else {
            self.waiting.remove(&changed.key);
            self.release(&changed.key);
            // Somebody may have waited for what the node had.
            self.waiting.iter().for_each(|key| keys.add(key.clone()));
            return;
        };
        let own = cidrs(node);
        if own.is_empty() {
            if changed.old.is_none() {
                keys.add(changed.key.clone());
            }
            return;
        }
        self.waiting.remove(&changed.key);
        let held = held(&self.spec, &own);
        if self.held.get(&changed.key) != Some(&held) {
            self.hold(&changed.key, held);
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, _turn: &Turn<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let node = cluster.nodes.get(key).filter(|node| cidrs(node).is_empty());
        let Some(node) = node.filter(|node| node.metadata.deletion_timestamp.is_none()) else {
            return plan;
        };
        // What was given before did not become the node's own.
        self.release(key);
        let key: Arc<str> = key.into();
        let Some(number) = self.choose(&key) else {
            tracing::warn!("node {key}: every part of the pod CIDRs is taken");
            let message = format!("Node {key} status is now: CIDRNotAvailable");
            plan.events.push(Note::normal(&**node, "CIDRNotAvailable", message));
            self.waiting.insert(key);
            return plan;
        };
        self.hold(&key, vec![number..=number]);
        let texts: Vec<_> = parts(&self.spec, number).map(|part| part.to_string()).collect();
        let patch = json!({ "spec": { "podCIDR": texts.first(), "podCIDRs": texts } });
        plan.writes.push(Write::new(Action::Patch(patch), Node::clone(node)));
        plan
    }
}

impl NodeCidrs {
    /// The number of the part that a node gets; `None` when none is left.
    ///
    /// A node named `node-7` gets part 7 if that is free, so that a pod's address tells its node; any
    /// other the lowest free part. Part 0 goes last: networks that end in 0 read badly.
    fn choose(&self, name: &str) -> Option<u32> {
        let is_free = |number: &u32| {
            !self.taken.contains_key(number)
                && parts(&self.spec, *number).count() == self.spec.pod_cidrs.len()
        };
        let wished = node_number(name).into_iter();
        wished.chain(1..room(&self.spec)).chain([0]).find(is_free)
    }

    fn hold(&mut self, name: &Arc<str>, numbers: Vec<RangeInclusive<u32>>) {
        self.release(name);
        for number in numbers.iter().cloned().flatten() {
            *self.taken.entry(number).or_default() += 1;
        }
        self.held.insert(name.clone(), numbers);
    }

    fn release(&mut self, name: &str) {
        for number in self.held.remove(name).into_iter().flatten().flatten() {
            if let Some(count) = self.taken.get_mut(&number) {
                *count -= 1;
                if *count == 0 {
                    self.taken.remove(&number);
                }
            }
        }
    }
}

/// How many parts every pod CIDR has.
fn room(spec: &Spec) -> u32 {
    let bits = |net: &IpNet| match net {
        IpNet::V4(net) => 24u8.saturating_sub(net.prefix_len()),
        IpNet::V6(net) => 64u8.saturating_sub(net.prefix_len()),
    };
    1 << spec.pod_cidrs.iter().map(bits).min().unwrap_or(0).min(16)
}

/// The numbers of the parts that `cidrs` reach into.
fn held(spec: &Spec, cidrs: &[IpNet]) -> Vec<RangeInclusive<u32>> {
    let last = room(spec) - 1;
    let pairs = cidrs.iter().flat_map(|own| spec.pod_cidrs.iter().map(move |pool| (*pool, *own)));
    let all = pairs.filter_map(|(pool, own)| numbers(pool, own));
    all.map(|numbers| *numbers.start()..=last.min(*numbers.end())).collect()
}

fn parts(spec: &Spec, number: u32) -> impl Iterator<Item = IpNet> {
    spec.pod_cidrs.iter().filter_map(move |cidr| part(*cidr, number))
}

fn cidrs(node: &Node) -> Vec<IpNet> {
    let spec = node.spec.as_ref();
    let texts = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
    texts.filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::runtime::testing::World;

    /// What each of `nodes` (name and CIDRs) has after all were looked at in this order; those that got
    /// none are told `-`.
    fn given(spec: Spec, nodes: &[(&str, &[&str])]) -> String {
        let mut world = World::new();
        let mut controller = NodeCidrs::new(Arc::new(spec));
        for (name, cidrs) in nodes {
            world.put::<Node>(&json!({ "metadata": { "name": name, "namespace": "" },
                "spec": { "podCIDRs": cidrs } }));
            let made = world.made::<Node>(name);
            world.told(&mut controller, made);
        }
        for (name, _) in nodes {
            world.settle(&mut controller, name);
        }
        let first = |(name, _): &(&str, _)| {
            let node = world.cluster.nodes.get(name).unwrap();
            cidrs(node).first().map_or("-".to_owned(), ToString::to_string)
        };
        nodes.iter().map(first).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_node_gets_the_part_of_its_number_or_the_lowest_that_is_free() {
        let spec = Spec::new("lab".parse().unwrap());
        let nodes: [(&str, &[&str]); 5] = [
            ("node-2", &["10.244.3.0/24", "fd00:10:244:3::/64"]),
            ("wide", &["10.244.4.0/23"]),
            ("node-1", &[]),
            ("node-3", &[]),
            ("other", &[]),
        ];
        let expect = "10.244.3.0/24 10.244.4.0/23 10.244.1.0/24 10.244.2.0/24 10.244.6.0/24";
        assert_eq!(given(spec, &nodes), expect);
    }

    #[test]
    fn a_full_pool_gives_none_until_a_node_goes() {
        let mut spec = Spec::new("lab".parse().unwrap());
        spec.pod_cidrs[0] = "10.244.0.0/23".parse().unwrap();
        let nodes: [(&str, &[&str]); 3] = [("node-1", &[]), ("node-2", &[]), ("node-3", &[])];
        assert_eq!(given(spec.clone(), &nodes), "10.244.1.0/24 10.244.0.0/24 -");

        let mut controller = NodeCidrs::new(Arc::new(spec));
        let mut world = World::new();
        for (name, cidr) in [("a", "10.244.0.0/24"), ("b", "10.244.1.0/24"), ("c", "")] {
            let cidrs: Vec<_> = Some(cidr).filter(|cidr| !cidr.is_empty()).into_iter().collect();
            world.put::<Node>(&json!({ "metadata": { "name": name, "namespace": "" },
                "spec": { "podCIDRs": cidrs } }));
            let made = world.made::<Node>(name);
            world.told(&mut controller, made);
        }
        let plan = world.decide(&mut controller, "c");
        assert_eq!((plan.writes.len(), plan.events[0].reason), (0, "CIDRNotAvailable"));
        let gone = world.remove::<Node>("a");
        assert_eq!(world.told(&mut controller, gone), ["c"]);
        assert_eq!(world.settle(&mut controller, "c"), ["patch Node c"]);
        assert_eq!(cidrs(world.cluster.nodes.get("c").unwrap())[0].to_string(), "10.244.0.0/24");
    }
}
