//! Who the members of sets are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    LabelSelector, LabelTest, NamedPort, Namespaces, ObjectName, Pod, PodSelector, Protocol, World,
};

use super::{Members, SetKey};

/// Pods with addresses of their own, by their labels: of thousands of selectors most name a label's value,
/// and few pods have it.
pub(super) struct Index<'a> {
    world: &'a World,
    by_label: BTreeMap<(&'a str, &'a str), Vec<&'a Pod>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        let mut by_label: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for pod in networked(world) {
            for label in pod.labels.iter() {
                by_label.entry(label).or_default().push(pod);
            }
        }
        Index { world, by_label }
    }

    /// The members of a set, which follow from its key.
    pub(super) fn members(&self, key: &SetKey) -> Members {
        match key {
            SetKey::Pods(selector) => {
                let selected = self.selected(selector);
                Members::Addrs(selected.flat_map(|pod| pod.addrs.iter().copied()).collect())
            }
            SetKey::Nodes(selector) => {
                let nodes = self.world.nodes.values();
                let nodes = nodes.filter(|node| selector.matches(&node.labels));
                Members::Addrs(nodes.flat_map(|node| node.ips()).collect())
            }
            SetKey::Ports(name, protocol) => {
                let mut members = BTreeSet::new();
                for pod in networked(self.world) {
                    for port in pod.ports.iter().filter(|port| is_named(port, name, *protocol)) {
                        members
                            .extend(pod.addrs.iter().map(|addr| (*addr, port.protocol, port.port)));
                    }
                }
                Members::Ports(members)
            }
        }
    }

    /// The pods of a selector: sought among those of its namespace, or with a label that it names, or all.
    fn selected<'s>(&'s self, selector: &'s PodSelector) -> Box<dyn Iterator<Item = &'a Pod> + 's> {
        let is_meant = |pod: &&Pod| selector.pods.matches(&pod.labels);
        let spaces = match &selector.namespaces {
            Namespaces::Only(name) => {
                let own = self.world.pods.range(ObjectName::new(name, "")..);
                let own = own.map(|(_, pod)| &**pod);
                let own = own.take_while(move |pod| pod.name.namespace == *name);
                return Box::new(own.filter(|pod| !pod.is_host_network).filter(is_meant));
            }
            Namespaces::Matching(spaces) => self.spaces(spaces),
        };
        let is_there = move |pod: &&Pod| spaces.contains(&pod.name.namespace);
        let one_of = selector.pods.requirements().iter().find_map(|one| match &one.test {
            LabelTest::In(values) => Some((&*one.key, values)),
            LabelTest::NotIn(_) | LabelTest::Exists | LabelTest::Missing => None,
        });
        match one_of {
            Some((key, values)) => {
                let of = move |value: &'s Arc<str>| self.by_label.get(&(key, &**value));
                let with_label = values.iter().filter_map(of).flatten().copied();
                Box::new(with_label.filter(is_there).filter(is_meant))
            }
            None => Box::new(networked(self.world).filter(is_there).filter(is_meant)),
        }
    }

    /// The namespaces with such labels.
    fn spaces(&self, selector: &LabelSelector) -> BTreeSet<&'a Arc<str>> {
        let all = self.world.namespaces.values().filter(|space| selector.matches(&space.labels));
        all.map(|space| &space.name).collect()
    }
}

/// Pods with addresses of their own.
fn networked(world: &World) -> impl Iterator<Item = &Pod> {
    world.pods.values().map(|pod| &**pod).filter(|pod| !pod.is_host_network)
}

/// Whether policies that say `name` and `protocol`, if they say one, mean this port.
pub(super) fn is_named(port: &NamedPort, name: &str, protocol: Option<Protocol>) -> bool {
    *port.name == *name && protocol.is_none_or(|protocol| protocol == port.protocol)
}
