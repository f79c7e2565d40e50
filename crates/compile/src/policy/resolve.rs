//! Objects to what is asked about one pod.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{
    Audit, ClusterPolicy, ClusterTier, Direction, NetworkPolicy, ObjectName, OrdMap, Peer, Pod,
    PodSelector, PortMatch, Protocol, Rule, RuleAction, World,
};

use super::sets::{is_named, selects};
use super::{Destination, Group, Peers, PolicyRule, RuleName, SetKey, Target, blocks, ports};

/// The NetworkPolicies that select `pod`, by name.
pub(super) fn selecting<'a>(
    world: &'a World,
    pod: &'a Pod,
) -> impl Iterator<Item = &'a NetworkPolicy> {
    let own = within(&world.policies, &pod.name.namespace).map(|(_, policy)| &**policy);
    own.filter(|policy| policy.subject.pods.matches(&pod.labels))
}

/// The policies of the cluster that are about `pod`.
pub(super) fn about<'a>(world: &'a World, pod: &'a Pod) -> impl Iterator<Item = &'a ClusterPolicy> {
    let all = world.cluster_policies.values().map(|policy| &**policy);
    all.filter(|policy| is_in(world, &policy.subject, pod))
}

/// What of a namespace is in `objects`.
pub(super) fn within<'a, V>(
    objects: &'a OrdMap<ObjectName, V>,
    space: &Arc<str>,
) -> impl Iterator<Item = (&'a ObjectName, &'a V)> + Clone + use<'a, V> {
    let space = Arc::clone(space);
    let from = objects.range(ObjectName::new(&space, "")..);
    from.take_while(move |(name, _)| name.namespace == space)
}

/// One pod and the policies that are about it.
pub(super) struct About<'a> {
    pod: &'a Pod,
    cluster: Vec<&'a ClusterPolicy>,
    /// With whether each is audited.
    namespaced: Vec<(&'a NetworkPolicy, bool)>,
    /// Whether any of all of them is.
    has_audited: bool,
}

impl<'a> About<'a> {
    /// `cluster` is in the order in which its policies are asked.
    pub(super) fn new(world: &'a World, cluster: &'a [Arc<ClusterPolicy>], pod: &'a Pod) -> Self {
        let cluster = cluster.iter().map(|policy| &**policy);
        let cluster: Vec<_> = cluster.filter(|policy| is_in(world, &policy.subject, pod)).collect();
        let namespaced: Vec<_> =
            selecting(world, pod).map(|policy| (policy, world.is_audited(policy))).collect();
        let has_audited = namespaced.iter().any(|(_, is_audited)| *is_audited)
            || cluster.iter().any(|policy| policy.audit == Audit::On);
        About { pod, cluster, namespaced, has_audited }
    }

    /// What is asked about one direction.
    pub(super) fn group(&self, direction: Direction) -> Group {
        let enforced = self.asked(direction, false);
        if !self.has_audited {
            return enforced;
        }
        let would = self.asked(direction, true);
        let audit = (would != enforced).then(|| Box::new(would));
        Group { audit, ..enforced }
    }

    /// The same of policies that are enforced, and of others, too, where it `asks_audited`.
    fn asked(&self, direction: Direction, asks_audited: bool) -> Group {
        let namespaced =
            self.namespaced.iter().filter(|(_, is_audited)| asks_audited || !is_audited);
        let rules: Vec<(&NetworkPolicy, &[Rule])> = namespaced
            .filter_map(|(policy, _)| Some((*policy, policy.rules(direction)?)))
            .collect();
        let tier = |tier| self.tier(tier, direction, asks_audited);
        Group {
            admin: tier(ClusterTier::Admin),
            allowed: (!rules.is_empty()).then(|| self.allowed(&rules, direction)),
            // Whom a NetworkPolicy selects it never comes to, but for what comes back to its own pod and
            // goes to its own node.
            baseline: tier(ClusterTier::Baseline),
            audit: None,
        }
    }

    /// The rules of a tier. What matches nothing is left out.
    fn tier(&self, tier: ClusterTier, direction: Direction, asks_audited: bool) -> Vec<PolicyRule> {
        let is_asked = |policy: &&&ClusterPolicy| {
            policy.tier == tier && (asks_audited || policy.audit != Audit::On)
        };
        let policies = self.cluster.iter().filter(is_asked);
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

/// Whether `selector` means `pod`.
pub(super) fn is_in(world: &World, selector: &PodSelector, pod: &Pod) -> bool {
    let space = world.namespaces.get(&pod.name.namespace);
    selects(selector, pod, space.map(|space| &**space))
}
