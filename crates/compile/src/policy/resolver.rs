//! The table of one World after another, each in the time of what is new.
//!
//! Snapshots share what they have in common, so what differs is found without looking at the rest. Of the
//! pods the table is about those are asked again that changed, whose namespace did, or that a changed
//! policy is or was about; all other pods come to the sets that mean them, or leave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    ClusterPolicy, ClusterPolicyName, Direction, Namespace, NetworkPolicy, Node, NodeName,
    ObjectName, OrdMap, Pod, World,
};

use super::dns::{is_stand_in, with_stand_in};
use super::resolve::{About, is_in, within};
use super::sets::{Move, Sets};
use super::{Group, PodPolicy, PolicyTable, SetKey};
use crate::changed::differing;

/// What policies ask of the node `me`: of its pods that have an address of their own.
pub fn resolve(world: &World, me: &NodeName) -> PolicyTable {
    Resolver::default().update(world, |pod| pod.node.as_ref() == Some(me))
}

/// What policies ask of all pods that have an address of their own, wherever they are.
pub fn resolve_all(world: &World) -> PolicyTable {
    Resolver::default().update(world, |_| true)
}

/// What is remembered of the last World.
#[derive(Debug, Default, Clone)]
pub(super) struct Resolver {
    seen: Seen,
    /// In the order in which they are asked.
    cluster: Vec<Arc<ClusterPolicy>>,
    pods: OrdMap<ObjectName, PodPolicy>,
    /// How many directions of pods have each.
    groups: BTreeMap<Arc<Group>, usize>,
    sets: Sets,
}

/// What of a World the table follows from. A copy shares it.
#[derive(Debug, Default, Clone)]
struct Seen {
    pods: OrdMap<ObjectName, Arc<Pod>>,
    namespaces: OrdMap<Arc<str>, Arc<Namespace>>,
    policies: OrdMap<ObjectName, Arc<NetworkPolicy>>,
    cluster_policies: OrdMap<ClusterPolicyName, Arc<ClusterPolicy>>,
    nodes: OrdMap<NodeName, Arc<Node>>,
}

impl Resolver {
    /// What policies ask of the pods that are `ours`, which a pod is or not from World to World.
    pub(super) fn update(&mut self, world: &World, ours: impl Fn(&Pod) -> bool) -> PolicyTable {
        let world = &with_stand_in(world);
        let pods: BTreeSet<ObjectName> = differing(&self.seen.pods, &world.pods);
        let spaces = differing(&self.seen.namespaces, &world.namespaces);
        let asked = self.asked_again(world, &pods, &spaces);
        self.spaces_change(world, &spaces);
        self.pods_change(world, &pods);
        self.nodes_change(world);
        let mut fresh = BTreeSet::new();
        for name in asked {
            let pod = world.pods.get(&name);
            let pod = pod.filter(|pod| !pod.is_host_network && !is_stand_in(&pod.name));
            let pod = pod.filter(|pod| ours(pod));
            self.ask(world, name, pod.map(|pod| &**pod), &mut fresh);
        }
        self.sets.fill(&fresh, world);
        self.seen = Seen::of(world);
        PolicyTable {
            has_policies: world.has_policies(),
            pods: self.pods.clone(),
            sets: self.sets.members().clone(),
        }
    }

    /// The pods of which something else may be asked. `cluster` is brought up to date.
    fn asked_again(
        &mut self,
        world: &World,
        pods: &BTreeSet<ObjectName>,
        spaces: &BTreeSet<Arc<str>>,
    ) -> BTreeSet<ObjectName> {
        let mut asked = pods.clone();
        for space in spaces {
            asked.extend(within(&self.pods, space).map(|(name, _)| name.clone()));
        }
        for name in differing(&self.seen.policies, &world.policies) {
            let policies = [&self.seen.policies, &world.policies].map(|all| all.get(&name));
            let own = within(&self.pods, &name.namespace).map(|(name, _)| name);
            let is_meant = |pod: &&ObjectName| {
                let Some(pod) = world.pods.get(*pod) else { return true };
                let mut policies = policies.iter().flatten();
                policies.any(|policy| policy.subject.pods.matches(&pod.labels))
            };
            asked.extend(own.filter(is_meant).cloned());
        }
        let changed = differing(&self.seen.cluster_policies, &world.cluster_policies);
        if changed.is_empty() {
            return asked;
        }
        self.cluster = world.cluster_policies.values().cloned().collect();
        self.cluster.sort_by(|a, b| a.before(b));
        let all = [&self.seen.cluster_policies, &world.cluster_policies];
        let subjects: Vec<_> =
            changed.iter().flat_map(|name| all.map(|all| all.get(name))).flatten().collect();
        let is_meant = |pod: &&ObjectName| {
            let Some(pod) = world.pods.get(*pod) else { return true };
            subjects.iter().any(|policy| is_in(world, &policy.subject, pod))
        };
        asked.extend(self.pods.keys().filter(is_meant).cloned());
        asked
    }

    /// Pods as they were move with their namespaces' labels.
    fn spaces_change(&mut self, world: &World, spaces: &BTreeSet<Arc<str>>) {
        for space in spaces {
            let [old, new] = [&self.seen.namespaces, &world.namespaces]
                .map(|all| all.get(space).map(|space| &**space));
            let pods = within(&self.seen.pods, space).map(|(_, pod)| pod);
            self.sets.space(old, new, pods);
        }
    }

    /// Pods change in namespaces as they are now.
    fn pods_change(&mut self, world: &World, pods: &BTreeSet<ObjectName>) {
        for name in pods {
            let space = world.namespaces.get(&name.namespace).map(|space| &**space);
            let [old, new] = [&self.seen.pods, &world.pods].map(|all| all.get(name));
            for (pod, way) in [(old, Move::Leaves), (new, Move::Comes)] {
                pod.into_iter().for_each(|pod| self.sets.pod(pod, space, way));
            }
        }
    }

    fn nodes_change(&mut self, world: &World) {
        for name in differing(&self.seen.nodes, &world.nodes) {
            let [old, new] = [&self.seen.nodes, &world.nodes].map(|all| all.get(&name));
            for (node, way) in [(old, Move::Leaves), (new, Move::Comes)] {
                node.into_iter().for_each(|node| self.sets.node(node, way));
            }
        }
    }

    /// Asks policies about a pod of ours, or forgets it where it is none. Sets that are named for the first
    /// time are put into `fresh`.
    fn ask(
        &mut self,
        world: &World,
        name: ObjectName,
        pod: Option<&Pod>,
        fresh: &mut BTreeSet<SetKey>,
    ) {
        let groups = pod.map(|pod| {
            let about = About::new(world, &self.cluster, pod);
            [Direction::Ingress, Direction::Egress].map(|way| about.group(way))
        });
        let new = groups.map(|groups| {
            let [ingress, egress] = groups.map(|group| self.shared(group, fresh));
            PodPolicy { ingress, egress }
        });
        let old = match new {
            Some(new) => self.pods.insert(name, new),
            None => self.pods.remove(&name),
        };
        for group in old.iter().flat_map(|pod| [&pod.ingress, &pod.egress]) {
            self.release(group);
        }
    }

    /// The group that is there already, so that equal ones are the same.
    fn shared(&mut self, group: Group, fresh: &mut BTreeSet<SetKey>) -> Arc<Group> {
        if let Some((group, _)) = self.groups.get_key_value(&group) {
            let group = Arc::clone(group);
            self.groups.entry(Arc::clone(&group)).and_modify(|count| *count += 1);
            return group;
        }
        self.sets.name(&group, fresh);
        let group = Arc::new(group);
        self.groups.insert(Arc::clone(&group), 1);
        group
    }

    fn release(&mut self, group: &Arc<Group>) {
        match self.groups.get_mut(group) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                self.groups.remove(group);
                self.sets.unname(group);
            }
        }
    }
}

impl Seen {
    fn of(world: &World) -> Self {
        Seen {
            pods: world.pods.clone(),
            namespaces: world.namespaces.clone(),
            policies: world.policies.clone(),
            cluster_policies: world.cluster_policies.clone(),
            nodes: world.nodes.clone(),
        }
    }
}
