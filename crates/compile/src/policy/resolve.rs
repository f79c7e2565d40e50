//! Objects to table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    ClusterPolicy, ClusterTier, Direction, Namespaces, NetworkPolicy, NodeName, ObjectName, Peer,
    Pod, PodSelector, PortMatch, Protocol, Rule, RuleAction, World,
};

use super::index::{Index, is_named};
use super::{
    Destination, Group, Peers, PodPolicy, PolicyRule, PolicyTable, RuleName, SetKey, Target,
    blocks, ports,
};

/// What policies ask of the node `me`: of its pods that have an address of their own.
pub fn resolve(world: &World, me: &NodeName) -> PolicyTable {
    let all = world.pods.values().map(|pod| &**pod);
    resolve_pods(world, all.filter(|pod| pod.node.as_ref() == Some(me)))
}

/// What policies ask of these pods, wherever they are: of those that have an address of their own.
pub fn resolve_pods<'a>(world: &'a World, of: impl IntoIterator<Item = &'a Pod>) -> PolicyTable {
    let mut cluster: Vec<&ClusterPolicy> =
        world.cluster_policies.values().map(|policy| &**policy).collect();
    cluster.sort_by(|a, b| a.before(b));
    let mut shared: BTreeSet<Arc<Group>> = BTreeSet::new();
    let mut pods = BTreeMap::new();
    for pod in of.into_iter().filter(|pod| !pod.is_host_network) {
        let about = About::new(world, &cluster, pod);
        let mut group = |direction| {
            let group = about.group(direction);
            // The one that is there already, so that equal ones are the same.
            shared.get(&group).cloned().unwrap_or_else(|| {
                let group = Arc::new(group);
                shared.insert(Arc::clone(&group));
                group
            })
        };
        let (ingress, egress) = (group(Direction::Ingress), group(Direction::Egress));
        pods.insert(pod.name.clone(), PodPolicy { ingress, egress });
    }
    let named: BTreeSet<&SetKey> = shared.iter().flat_map(|group| sets(group)).collect();
    let mut sets = BTreeMap::new();
    if !named.is_empty() {
        let index = Index::new(world);
        sets.extend(named.into_iter().map(|key| (key.clone(), Arc::new(index.members(key)))));
    }
    PolicyTable { has_policies: world.has_policies(), pods, sets }
}

/// The sets that a group's rules name.
fn sets(group: &Group) -> impl Iterator<Item = &SetKey> {
    group.rules().flat_map(|rule| &rule.targets).flat_map(|target| {
        let peers = match &target.peers {
            Peers::Any => None,
            Peers::Of { sets, .. } => Some(sets),
        };
        let destination = match &target.destination {
            Destination::Any | Destination::Ports(_) => None,
            Destination::Named(key) => Some(key),
        };
        peers.into_iter().flatten().chain(destination)
    })
}

/// The NetworkPolicies that select `pod`, by name.
pub(super) fn selecting<'a>(
    world: &'a World,
    pod: &'a Pod,
) -> impl Iterator<Item = &'a NetworkPolicy> {
    let first = ObjectName::new(&pod.name.namespace, "");
    let own = world.policies.range(first..).map(|(_, policy)| &**policy);
    let own = own.take_while(|policy| policy.name.namespace == pod.name.namespace);
    own.filter(|policy| policy.subject.pods.matches(&pod.labels))
}

/// The policies of the cluster that are about `pod`.
pub(super) fn about<'a>(world: &'a World, pod: &'a Pod) -> impl Iterator<Item = &'a ClusterPolicy> {
    let all = world.cluster_policies.values().map(|policy| &**policy);
    all.filter(|policy| is_in(world, &policy.subject, pod))
}

/// One pod and the policies that are about it.
struct About<'a> {
    pod: &'a Pod,
    cluster: Vec<&'a ClusterPolicy>,
    namespaced: Vec<&'a NetworkPolicy>,
}

impl<'a> About<'a> {
    /// `cluster` is in the order in which its policies are asked.
    fn new(world: &'a World, cluster: &[&'a ClusterPolicy], pod: &'a Pod) -> Self {
        About {
            pod,
            cluster: cluster.iter().copied().filter(|p| is_in(world, &p.subject, pod)).collect(),
            namespaced: selecting(world, pod).collect(),
        }
    }

    fn group(&self, direction: Direction) -> Group {
        let rules: Vec<(&NetworkPolicy, &[Rule])> = self
            .namespaced
            .iter()
            .filter_map(|policy| Some((*policy, policy.rules(direction)?)))
            .collect();
        Group {
            admin: self.tier(ClusterTier::Admin, direction),
            allowed: (!rules.is_empty()).then(|| self.allowed(&rules, direction)),
            // Whom a NetworkPolicy selects it never comes to, but for what comes back to its own pod and
            // goes to its own node.
            baseline: self.tier(ClusterTier::Baseline, direction),
        }
    }

    /// The rules of a tier. What matches nothing is left out.
    fn tier(&self, tier: ClusterTier, direction: Direction) -> Vec<PolicyRule> {
        let policies = self.cluster.iter().filter(|policy| policy.tier == tier);
        let rules = policies.flat_map(|policy| {
            let numbered = policy.rules(direction).iter().enumerate();
            numbered.map(|(i, rule)| PolicyRule {
                name: RuleName::Cluster(tier, policy.name.clone(), i),
                action: rule.action,
                targets: self.targets(&rule.rule, direction),
            })
        });
        rules.filter(|rule| !rule.targets.is_empty()).collect()
    }

    /// What NetworkPolicies allow, rule by rule, so that it can be told which of them it was. What matches
    /// nothing is left out.
    fn allowed(
        &self,
        policies: &[(&NetworkPolicy, &[Rule])],
        direction: Direction,
    ) -> Vec<PolicyRule> {
        let rules = policies.iter().flat_map(|(policy, rules)| {
            rules.iter().enumerate().map(|(i, rule)| PolicyRule {
                name: RuleName::Namespaced(policy.name.clone(), i),
                action: RuleAction::Accept,
                targets: self.targets(rule, direction),
            })
        });
        rules.filter(|rule| !rule.targets.is_empty()).collect()
    }

    /// What a rule matches; nothing when it has peers or ports and nobody is one.
    fn targets(&self, rule: &Rule, direction: Direction) -> Vec<Target> {
        let peers = match &rule.peers {
            None => Peers::Any,
            Some(peers) if peers.is_empty() => return Vec::new(),
            Some(peers) => self::peers(peers),
        };
        let Some(ports) = &rule.ports else {
            return vec![Target { peers, destination: Destination::Any }];
        };
        let (mut numbers, mut destinations) = (Vec::new(), Vec::new());
        for port in ports {
            match (port, direction) {
                (PortMatch::Numbers { protocol, first, last }, _) => {
                    numbers.push((*protocol, *first, *last));
                }
                (PortMatch::Named { name, protocol }, Direction::Ingress) => {
                    numbers.extend(self.own_ports(name, *protocol));
                }
                (PortMatch::Named { name, protocol }, Direction::Egress) => {
                    let set = SetKey::Ports(Arc::clone(name), *protocol);
                    destinations.push(Destination::Named(set));
                }
            }
        }
        if !numbers.is_empty() {
            destinations.push(Destination::Ports(ports::merged(numbers)));
        }
        let target = |destination| Target { peers: peers.clone(), destination };
        destinations.into_iter().map(target).collect()
    }

    /// The ports that the pod itself calls so.
    fn own_ports(
        &self,
        name: &Arc<str>,
        protocol: Option<Protocol>,
    ) -> impl Iterator<Item = (Protocol, u16, u16)> {
        let named = self.pod.ports.iter().filter(move |port| is_named(port, name, protocol));
        named.map(|port| (port.protocol, port.port, port.port))
    }
}

fn peers(peers: &[Peer]) -> Peers {
    let (mut sets, mut ranges, mut names) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    for peer in peers {
        match peer {
            Peer::Pods(selector) => sets.extend([SetKey::Pods(selector.clone())]),
            Peer::Nodes(selector) => sets.extend([SetKey::Nodes(selector.clone())]),
            Peer::Block(block) => ranges.push(block),
            Peer::Names(pattern) => names.extend([pattern.clone()]),
        }
    }
    Peers::Of { sets, blocks: blocks::disjoint(ranges), names }
}

fn is_in(world: &World, selector: &PodSelector, pod: &Pod) -> bool {
    let is_there = match &selector.namespaces {
        Namespaces::Only(name) => pod.name.namespace == *name,
        Namespaces::Matching(namespaces) => {
            let space = world.namespaces.get(&pod.name.namespace);
            space.is_some_and(|space| namespaces.matches(&space.labels))
        }
    };
    is_there && selector.pods.matches(&pod.labels)
}
