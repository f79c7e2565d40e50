//! The judge is judged: a mistake in what is read or resolved does not pass.

use std::sync::Arc;

use fixtures::policies::arbitrary::{Picks, flow, picks, world};
use model::{
    ClusterPolicy, ClusterTier, NetworkPolicy, Peer, Pod, PortMatch, Protocol, Rule, RuleAction,
    World,
};
use oracle::policy::{Flow, Learned, verdicts};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use seaway_compile::policy::{Group, Members};

use crate::agreement::{Tables, is_allowed, tables};

/// A mistake.
enum Mistake {
    /// In how NetworkPolicies are read.
    Namespaced(fn(&mut NetworkPolicy)),
    /// In how the cluster's policies are read.
    Cluster(fn(&mut ClusterPolicy)),
    /// In how any rule is read.
    Rule(fn(&mut Rule)),
    /// In how pods are read.
    Pod(fn(&mut Pod)),
    /// In a group of the table.
    Group(fn(&mut Group)),
    /// In the members of a set.
    Members(fn(&mut Members)),
}

/// What could be wrong, by the row that it breaks.
fn mistakes() -> Vec<(&'static str, Mistake)> {
    use Mistake::{Cluster, Group, Members, Namespaced, Pod, Rule};
    vec![
        ("NP-N3: no isolation for egress", Namespaced(|policy| policy.egress = None)),
        (
            "NP-N3: isolated for both",
            Namespaced(|policy| policy.egress = Some(policy.egress.take().unwrap_or_default())),
        ),
        (
            "NP-N4: no peers are nobody",
            Rule(|rule| rule.peers = Some(rule.peers.take().unwrap_or_default())),
        ),
        (
            "NP-N4: no ports are those of TCP",
            Rule(|rule| rule.ports = Some(rule.ports.take().unwrap_or_else(all_tcp))),
        ),
        ("NP-N7: peers are in any namespace", Rule(|rule| each_peer(rule, everywhere))),
        ("NP-N11: exceptions are ignored", Rule(|rule| each_peer(rule, unexcepted))),
        ("NP-N14: any protocol is TCP", Rule(|rule| each_port(rule, tcp))),
        ("NP-N15: a range is its first port", Rule(|rule| each_port(rule, first))),
        ("NP-N16: names of ports mean nothing", Pod(|pod| pod.ports = Arc::default())),
        ("NP-N9: pods of the host's network are pods", Pod(|pod| pod.is_host_network = false)),
        ("NP-N1: isolation is forgotten", Group(|group| group.allowed = None)),
        (
            "NP-N2: one of the rules is forgotten",
            Group(|group| drop(group.allowed.as_mut().map(Vec::pop))),
        ),
        (
            "NP-C1: tiers change places",
            Group(|group| std::mem::swap(&mut group.admin, &mut group.baseline)),
        ),
        ("NP-C1: priorities are ignored", Cluster(|policy| policy.priority = 0)),
        ("NP-C1: rules are asked backwards", Group(|group| group.admin.reverse())),
        (
            "NP-C3: pass is accept",
            Cluster(|policy| each_action(policy, RuleAction::Pass, RuleAction::Accept)),
        ),
        (
            "NP-C3: deny is pass",
            Cluster(|policy| each_action(policy, RuleAction::Deny, RuleAction::Pass)),
        ),
        ("NP-C4: Baseline is for egress alone", Cluster(baseline_out)),
        (
            "NP-C6: nodes are nobody",
            Rule(|rule| without(rule, |peer| matches!(peer, Peer::Nodes(_)))),
        ),
        ("NP-C8: what is not known denies nothing", Cluster(open)),
        (
            "NP-F1: names are nobody",
            Rule(|rule| without(rule, |peer| matches!(peer, Peer::Names(_)))),
        ),
        ("NP-D4: a member is missing", Members(one_less)),
    ]
}

fn all_tcp() -> Vec<PortMatch> {
    vec![PortMatch::Numbers { protocol: Protocol::Tcp, first: 0, last: u16::MAX }]
}

fn each_peer(rule: &mut Rule, change: fn(&mut Peer)) {
    rule.peers.iter_mut().flatten().for_each(change);
}

fn everywhere(peer: &mut Peer) {
    if let Peer::Pods(selector) = peer {
        selector.namespaces = model::Namespaces::Matching(model::LabelSelector::default());
    }
}

fn unexcepted(peer: &mut Peer) {
    if let Peer::Block(block) = peer {
        block.except.clear();
    }
}

fn without(rule: &mut Rule, which: fn(&Peer) -> bool) {
    rule.peers.iter_mut().for_each(|peers| peers.retain(|peer| !which(peer)));
}

fn each_port(rule: &mut Rule, change: fn(&mut PortMatch)) {
    rule.ports.iter_mut().flatten().for_each(change);
}

fn tcp(port: &mut PortMatch) {
    if let PortMatch::Numbers { protocol, .. } = port {
        *protocol = Protocol::Tcp;
    }
}

fn first(port: &mut PortMatch) {
    if let PortMatch::Numbers { first, last, .. } = port {
        *last = *first;
    }
}

fn each_action(policy: &mut ClusterPolicy, right: RuleAction, wrong: RuleAction) {
    let rules = policy.ingress.iter_mut().chain(&mut policy.egress);
    rules.filter(|rule| rule.action == right).for_each(|rule| rule.action = wrong);
}

fn baseline_out(policy: &mut ClusterPolicy) {
    if policy.tier == ClusterTier::Baseline {
        policy.ingress.clear();
    }
}

fn open(policy: &mut ClusterPolicy) {
    let is_closed = |rule: &model::ClusterRule| rule.rule.peers.is_none();
    policy.ingress.retain(|rule| !is_closed(rule));
    policy.egress.retain(|rule| !is_closed(rule));
}

fn one_less(members: &mut Members) {
    match members {
        Members::Addrs(addrs) => *addrs = addrs.iter().skip(1).copied().collect(),
        Members::Ports(ports) => *ports = ports.iter().skip(1).copied().collect(),
    }
}

/// The tables of `world` with `mistake` in them.
fn mistaken(world: &World, mistake: &Mistake) -> Tables {
    let mut world = world.clone();
    let rules = |change: fn(&mut Rule)| {
        move |policy: &mut NetworkPolicy| {
            policy.ingress.iter_mut().chain(&mut policy.egress).flatten().for_each(change);
        }
    };
    let clusters = |change: fn(&mut Rule)| {
        move |policy: &mut ClusterPolicy| {
            let all = policy.ingress.iter_mut().chain(&mut policy.egress);
            all.for_each(|rule| change(&mut rule.rule));
        }
    };
    match mistake {
        Mistake::Namespaced(change) => changed(&mut world.policies, change),
        Mistake::Cluster(change) => changed(&mut world.cluster_policies, change),
        Mistake::Rule(change) => {
            changed(&mut world.policies, rules(*change));
            changed(&mut world.cluster_policies, clusters(*change));
        }
        Mistake::Pod(change) => changed(&mut world.pods, change),
        Mistake::Group(_) | Mistake::Members(_) => {}
    }
    let mut tables = tables(&world);
    for table in tables.values_mut() {
        match mistake {
            Mistake::Group(change) => each(&mut table.pods, |pod| {
                change(Arc::make_mut(&mut pod.ingress));
                change(Arc::make_mut(&mut pod.egress));
            }),
            Mistake::Members(change) => {
                each(&mut table.sets, change);
            }
            Mistake::Namespaced(_) | Mistake::Cluster(_) | Mistake::Rule(_) | Mistake::Pod(_) => {}
        }
    }
    tables
}

pub(crate) fn changed<K: Ord + Clone, V: Clone>(
    objects: &mut model::OrdMap<K, Arc<V>>,
    change: impl Fn(&mut V),
) {
    each(objects, |object| change(Arc::make_mut(object)));
}

fn each<K: Ord + Clone, V: Clone>(rows: &mut model::OrdMap<K, V>, change: impl Fn(&mut V)) {
    let all = rows.iter().map(|(key, row)| {
        let mut row = row.clone();
        change(&mut row);
        (key.clone(), row)
    });
    *rows = all.collect();
}

/// Flows, and whether the specifications allow them.
pub(crate) fn judged(world: &World, learned: &Learned, all: &[Picks]) -> Vec<(Flow, bool)> {
    let judge = |picks| {
        let flow = flow(world, picks);
        let want = verdicts(world, learned, &flow).is_allowed();
        (flow, want)
    };
    all.iter().map(judge).collect()
}

#[test]
fn every_mistake_in_reading_and_resolving_is_caught() {
    let mut runner = TestRunner::deterministic();
    let one = (world(), prop::collection::vec(picks(), 120));
    let mut uncaught = mistakes();
    for _ in 0..300 {
        let ((world, learned), all): ((World, Learned), Vec<Picks>) =
            one.new_tree(&mut runner).expect("a world").current();
        let judged = judged(&world, &learned, &all);
        uncaught.retain(|(_, mistake)| {
            let wrong = mistaken(&world, mistake);
            let is_right =
                |(flow, want): &(Flow, bool)| is_allowed(&world, &wrong, &learned, flow) == *want;
            judged.iter().all(is_right)
        });
    }
    let names: Vec<&str> = uncaught.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [""; 0]);
}
