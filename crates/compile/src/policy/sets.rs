//! The members of the sets that rules name, from one World to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    LabelSelector, LabelTest, NamedPort, Namespace, Namespaces, Node, OrdMap, Pod, PodSelector,
    Protocol, World,
};

use super::resolve::within;
use super::{Group, Members, SetKey};

/// The sets that are named, each as long as a group names it.
#[derive(Debug, Default, Clone)]
pub(super) struct Sets {
    members: OrdMap<SetKey, Members>,
    /// How many groups name each.
    named: BTreeMap<SetKey, usize>,
    seekers: Seekers,
}

/// Who comes to a set, or leaves it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move {
    Comes,
    Leaves,
}

impl Sets {
    /// The members of each set.
    pub(super) fn members(&self) -> &OrdMap<SetKey, Members> {
        &self.members
    }

    /// A group more names its sets. Those that nobody named are empty until they are filled; they are put
    /// into `fresh`.
    pub(super) fn name(&mut self, group: &Group, fresh: &mut BTreeSet<SetKey>) {
        for key in group.sets() {
            if let Some(count) = self.named.get_mut(key) {
                *count += 1;
                continue;
            }
            self.named.insert(key.clone(), 1);
            self.members.insert(key.clone(), Members::none(key));
            self.seekers.add(key);
            fresh.insert(key.clone());
        }
    }

    /// A group less names its sets.
    pub(super) fn unname(&mut self, group: &Group) {
        for key in group.sets() {
            match self.named.get_mut(key) {
                Some(count) if *count > 1 => *count -= 1,
                Some(_) | None => {
                    self.named.remove(key);
                    self.members.remove(key);
                    self.seekers.remove(key);
                }
            }
        }
    }

    /// Fills sets that are empty.
    pub(super) fn fill(&mut self, fresh: &BTreeSet<SetKey>, world: &World) {
        if fresh.is_empty() {
            return;
        }
        let mut seekers = Seekers::default();
        fresh.iter().for_each(|key| seekers.add(key));
        for pod in seekers.pods(world) {
            let space = world.namespaces.get(&pod.name.namespace);
            seekers.seek(pod, space.map(|space| &**space), |key| {
                self.moves(key, pod, Move::Comes);
            });
        }
        for key in fresh {
            for node in world.nodes.values() {
                self.node_moves(key, node, Move::Comes);
            }
        }
    }

    /// A pod, in a namespace as it is now, comes or leaves.
    pub(super) fn pod(&mut self, pod: &Pod, space: Option<&Namespace>, way: Move) {
        if pod.is_host_network {
            return;
        }
        let mut of = Vec::new();
        self.seekers.seek(pod, space, |key| of.push(Arc::clone(key)));
        of.iter().for_each(|key| self.moves(key, pod, way));
    }

    /// A namespace with these pods gets other labels.
    pub(super) fn space<'a>(
        &mut self,
        old: Option<&Namespace>,
        new: Option<&Namespace>,
        pods: impl Iterator<Item = &'a Arc<Pod>> + Clone,
    ) {
        let meant = |selector: &LabelSelector, space: Option<&Namespace>| {
            space.is_some_and(|space| selector.matches(&space.labels))
        };
        let mut others = Vec::new();
        for key in self.named.keys() {
            let SetKey::Pods(selector) = key else { continue };
            let Namespaces::Matching(spaces) = &selector.namespaces else { continue };
            match (meant(spaces, old), meant(spaces, new)) {
                (false, true) => others.push((key.clone(), Move::Comes)),
                (true, false) => others.push((key.clone(), Move::Leaves)),
                (true, true) | (false, false) => {}
            }
        }
        for (key, way) in &others {
            let SetKey::Pods(selector) = key else { continue };
            let is_meant =
                |pod: &&Arc<Pod>| !pod.is_host_network && selector.pods.matches(&pod.labels);
            for pod in pods.clone().filter(is_meant) {
                self.moves(key, pod, *way);
            }
        }
    }

    /// A node comes or leaves.
    pub(super) fn node(&mut self, node: &Node, way: Move) {
        let all: Vec<SetKey> = self.seekers.nodes.iter().map(|key| SetKey::clone(key)).collect();
        all.iter().for_each(|key| self.node_moves(key, node, way));
    }

    /// What `pod` has of a set whose selector means it.
    fn moves(&mut self, key: &SetKey, pod: &Pod, way: Move) {
        let Some(members) = self.members.get_mut(key) else { return };
        match (members, key) {
            (Members::Ports(all), SetKey::Ports(name, protocol)) => {
                for port in pod.ports.iter().filter(|port| is_named(port, name, *protocol)) {
                    for addr in &pod.addrs {
                        way.count(all, (*addr, port.protocol, port.port));
                    }
                }
            }
            (Members::Addrs(all), _) => pod.addrs.iter().for_each(|addr| way.count(all, *addr)),
            (Members::Ports(_), SetKey::Pods(_) | SetKey::Nodes(_)) => {}
        }
    }

    fn node_moves(&mut self, key: &SetKey, node: &Node, way: Move) {
        let SetKey::Nodes(selector) = key else { return };
        let Some(Members::Addrs(all)) = self.members.get_mut(key) else { return };
        if selector.matches(&node.labels) {
            node.ips().for_each(|addr| way.count(all, addr));
        }
    }
}

impl Move {
    fn count<T: Ord + Clone>(self, all: &mut crate::Counted<T>, thing: T) {
        match self {
            Move::Comes => all.add(thing),
            Move::Leaves => all.take(&thing),
        };
    }
}

/// Sets, by something that all their members have: of thousands of selectors few are looked at for a pod.
#[derive(Debug, Default, Clone)]
struct Seekers {
    by: BTreeMap<Trait, BTreeSet<Arc<SetKey>>>,
    nodes: BTreeSet<Arc<SetKey>>,
}

/// What pods have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Trait {
    /// A label with its value.
    Label(Arc<str>, Arc<str>),
    /// The namespace of this name.
    Namespace(Arc<str>),
    /// A namespace with this label.
    NamespaceLabel(Arc<str>, Arc<str>),
    /// A port of this name.
    Port(Arc<str>),
    /// Nothing in particular.
    Any,
}

impl Seekers {
    fn add(&mut self, key: &SetKey) {
        let key = Arc::new(key.clone());
        if let SetKey::Nodes(_) = *key {
            self.nodes.insert(Arc::clone(&key));
        }
        for sought in sought(&key) {
            self.by.entry(sought).or_default().insert(Arc::clone(&key));
        }
    }

    fn remove(&mut self, key: &SetKey) {
        self.nodes.remove(key);
        for sought in sought(key) {
            if let Some(keys) = self.by.get_mut(&sought) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by.remove(&sought);
                }
            }
        }
    }

    /// The pods with addresses of their own that may be members of any.
    fn pods<'a>(&self, world: &'a World) -> impl Iterator<Item = &'a Pod> + use<'a> {
        let only: Option<BTreeSet<Arc<str>>> = self.by.values().flatten().map(only_in).collect();
        let everywhere = only.is_none().then(|| world.pods.values());
        let there = only.into_iter().flatten().flat_map(|space| within(&world.pods, &space));
        let there = there.map(|(_, pod)| pod);
        let all = everywhere.into_iter().flatten().chain(there).map(|pod| &**pod);
        all.filter(|pod| !pod.is_host_network)
    }

    /// Calls `found` with each set whose selector means `pod`, once.
    fn seek(&self, pod: &Pod, space: Option<&Namespace>, mut found: impl FnMut(&Arc<SetKey>)) {
        if self.by.is_empty() {
            return;
        }
        let labels = pod.labels.entries().cloned();
        let labels = labels.map(|(key, value)| Trait::Label(key, value));
        let of_space = space.into_iter().flat_map(|space| space.labels.entries()).cloned();
        let of_space = of_space.map(|(key, value)| Trait::NamespaceLabel(key, value));
        let ports: BTreeSet<&Arc<str>> = pod.ports.iter().map(|port| &port.name).collect();
        let ports = ports.into_iter().map(|name| Trait::Port(Arc::clone(name)));
        let rest = [Trait::Namespace(Arc::clone(&pod.name.namespace)), Trait::Any];
        for one in labels.chain(of_space).chain(ports).chain(rest) {
            let keys = self.by.get(&one).into_iter().flatten();
            keys.filter(|key| is_meant(key, pod, space)).for_each(&mut found);
        }
    }
}

/// What every member of a set has one of.
fn sought(key: &SetKey) -> Vec<Trait> {
    let one_of = |selector: &LabelSelector, of: fn(Arc<str>, Arc<str>) -> Trait| {
        let found = selector.requirements().iter().find_map(|one| match &one.test {
            LabelTest::In(values) => Some((&one.key, values)),
            LabelTest::NotIn(_) | LabelTest::Exists | LabelTest::Missing => None,
        })?;
        let (key, values) = found;
        Some(values.iter().map(|value| of(Arc::clone(key), Arc::clone(value))).collect())
    };
    match key {
        SetKey::Nodes(_) => Vec::new(),
        SetKey::Ports(name, _) => vec![Trait::Port(Arc::clone(name))],
        SetKey::Pods(selector) => one_of(&selector.pods, Trait::Label)
            .or_else(|| match &selector.namespaces {
                Namespaces::Only(name) => Some(vec![Trait::Namespace(Arc::clone(name))]),
                Namespaces::Matching(spaces) => one_of(spaces, Trait::NamespaceLabel),
            })
            .unwrap_or_else(|| vec![Trait::Any]),
    }
}

/// The one namespace that all members are in.
fn only_in(key: &Arc<SetKey>) -> Option<Arc<str>> {
    match &**key {
        SetKey::Pods(PodSelector { namespaces: Namespaces::Only(name), .. }) => {
            Some(Arc::clone(name))
        }
        SetKey::Pods(_) | SetKey::Nodes(_) | SetKey::Ports(..) => None,
    }
}

fn is_meant(key: &SetKey, pod: &Pod, space: Option<&Namespace>) -> bool {
    match key {
        SetKey::Nodes(_) => false,
        SetKey::Ports(name, protocol) => {
            pod.ports.iter().any(|port| is_named(port, name, *protocol))
        }
        SetKey::Pods(selector) => selects(selector, pod, space),
    }
}

/// Whether `selector` means `pod`, in its namespace as it is now.
pub(super) fn selects(selector: &PodSelector, pod: &Pod, space: Option<&Namespace>) -> bool {
    let is_there = match &selector.namespaces {
        Namespaces::Only(name) => pod.name.namespace == *name,
        Namespaces::Matching(spaces) => space.is_some_and(|space| spaces.matches(&space.labels)),
    };
    is_there && selector.pods.matches(&pod.labels)
}

/// Whether policies that say `name` and `protocol`, if they say one, mean this port.
pub(super) fn is_named(port: &NamedPort, name: &str, protocol: Option<Protocol>) -> bool {
    *port.name == *name && protocol.is_none_or(|protocol| protocol == port.protocol)
}
