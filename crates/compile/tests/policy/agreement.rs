//! What `compile` makes of policies, judged by the oracle.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use fixtures::policies::arbitrary::{flow, picks, world};
use fixtures::policies::{Case, Play, Stage, cluster, kubernetes, matrix};
use model::{Direction, Family, NodeName, Pod, Protocol, RuleAction, World};
use oracle::Packet;
use oracle::policy::{Flow, Learned, Origin, verdicts};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use seaway_compile::policy::{
    Destination, Group, Members, Peers, PolicyRule, PolicyTable, SetKey, Target, resolve,
};

use crate::mistakes::changed;

/// The tables of all nodes.
pub(crate) type Tables = BTreeMap<NodeName, PolicyTable>;

pub(crate) fn tables(world: &World) -> Tables {
    world.nodes.keys().map(|node| (node.clone(), resolve(world, node))).collect()
}

/// A packet, as the table of one node meets it.
struct Met<'a> {
    table: &'a PolicyTable,
    learned: &'a Learned,
    packet: Packet,
    /// The address at the other end.
    peer: IpAddr,
}

impl Met<'_> {
    /// Whether `group` allows it; `asks_all` is whether NetworkPolicies are asked.
    fn is_allowed(&self, group: &Group, asks_all: bool) -> bool {
        let tier = |rules: &[PolicyRule]| {
            let met = rules.iter().find(|rule| self.is_met(rule));
            met.and_then(|rule| match rule.action {
                RuleAction::Accept => Some(true),
                RuleAction::Deny => Some(false),
                RuleAction::Pass => None,
            })
        };
        let namespaced = || {
            let allowed = group.allowed.as_ref().filter(|_| asks_all)?;
            Some(allowed.iter().any(|rule| self.is_met(rule)))
        };
        tier(&group.admin).or_else(namespaced).or_else(|| tier(&group.baseline)).unwrap_or(true)
    }

    fn is_met(&self, rule: &PolicyRule) -> bool {
        rule.targets.iter().any(|Target { peers, destination }| {
            self.is_peer(peers) && self.is_destination(destination)
        })
    }

    fn is_peer(&self, peers: &Peers) -> bool {
        let Peers::Of { sets, blocks, names } = peers else { return true };
        let has = |key: &SetKey| match &*self.table.sets[key] {
            Members::Addrs(addrs) => addrs.contains(&self.peer),
            Members::Ports(_) => false,
        };
        let stands_for = |(name, addrs): (&_, &std::collections::BTreeSet<IpAddr>)| {
            names.iter().any(|pattern| pattern.matches(name)) && addrs.contains(&self.peer)
        };
        sets.iter().any(has)
            || blocks.iter().any(|net| net.contains(&self.peer))
            || self.learned.iter().any(stands_for)
    }

    fn is_destination(&self, destination: &Destination) -> bool {
        let Packet { dst, protocol: number, dport, .. } = self.packet;
        let known = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        let protocol = known.into_iter().find(|protocol| protocol.number() == number);
        match (destination, protocol) {
            (Destination::Any, _) => true,
            (_, None) => false,
            (Destination::Ports(ports), Some(protocol)) => {
                let ranges = ports.get(&protocol).into_iter().flatten();
                ranges.into_iter().any(|(first, last)| (*first..=*last).contains(&dport))
            }
            (Destination::Named(key), Some(protocol)) => match &*self.table.sets[key] {
                Members::Ports(all) => all.contains(&(dst, protocol, dport)),
                Members::Addrs(_) => false,
            },
        }
    }
}

/// Whether the nodes of both ends let a flow through, with what no table says: see `compile::policy`.
pub(crate) fn is_allowed(world: &World, tables: &Tables, learned: &Learned, flow: &Flow) -> bool {
    let Packet { src, dst, protocol, dport } = flow.packet;
    if protocol == 58 && matches!(dport, 130..=137 | 143) {
        return true;
    }
    let on_node = |pod: &Pod| {
        let table = &tables[pod.node.as_ref()?];
        Some((table, table.pods.get(&pod.name)?.clone()))
    };
    let met = |table, peer| Met { table, learned, packet: flow.packet, peer };
    let from = match &flow.origin {
        Origin::Pod(name) => world.pods.get(name),
        Origin::Process(_) | Origin::Elsewhere => None,
    };
    let is_back = from.is_some_and(|pod| pod.addrs.contains(&dst));
    if is_back && !flow.is_led {
        return true;
    }
    let may_go = from.and_then(|pod| Some((pod, on_node(pod)?))).is_none_or(|(pod, on)| {
        let node = pod.node.as_ref().and_then(|node| world.nodes.get(node));
        let is_own_node = node.is_some_and(|node| node.ips().any(|ip| ip == dst));
        met(on.0, dst).is_allowed(&on.1.egress, !is_back && !is_own_node)
    });
    let to = world.pods.values().find(|pod| !pod.is_host_network && pod.addrs.contains(&dst));
    let may_come = to.and_then(|pod| Some((pod, on_node(pod)?))).is_none_or(|(pod, on)| {
        let is_own_node =
            matches!(&flow.origin, Origin::Process(node) if pod.node.as_ref() == Some(node));
        let peer = if is_back { dst } else { src };
        is_own_node || met(on.0, peer).is_allowed(&on.1.ingress, !is_back)
    });
    may_go && may_come
}

/// 256 worlds, or as many as `PROPTEST_CASES` says.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn npd3_npd4_tables_say_what_the_specifications_say(
        (world, learned) in world(),
        all in prop::collection::vec(picks(), 500),
    ) {
        let tables = tables(&world);
        for picks in &all {
            let flow = flow(&world, picks);
            let want = verdicts(&world, &learned, &flow);
            let got = is_allowed(&world, &tables, &learned, &flow);
            prop_assert_eq!(got, want.is_allowed(), "{:?}\nshould: {:?}", flow, want);
        }
    }

    #[test]
    fn npd3_npd4_pods_with_the_same_rules_share_them_and_every_set_is_named((world, _) in world()) {
        for table in tables(&world).values() {
            let groups: Vec<&Arc<Group>> =
                table.pods.values().flat_map(|pod| [&pod.ingress, &pod.egress]).collect();
            for (i, group) in groups.iter().enumerate() {
                for other in &groups[i + 1..] {
                    prop_assert_eq!(group == other, Arc::ptr_eq(group, other));
                }
            }
            let text = format!("{groups:?}");
            for key in table.sets.keys() {
                prop_assert!(text.contains(&format!("{key:?}")), "{:?}", key);
            }
        }
    }
}

/// Every step of every suite, whoever is reached.
#[test]
fn nps1_nps2_nps3_tables_and_oracle_agree_on_every_suite() {
    let matrix: Vec<Case> = matrix::cases().into_iter().flat_map(|(_, cases)| cases).collect();
    let suites = [
        (Stage::NINE, kubernetes::cases()),
        (Stage::NINE, matrix),
        (Stage::FOUR_BY_TWO, cluster::cases()),
    ];
    let mut count = 0;
    for (stage, case) in suites.iter().flat_map(|(stage, all)| all.iter().map(move |c| (stage, c)))
    {
        let mut play = Play::new(*stage, Family::V4);
        for step in &case.steps {
            play.happen(step);
            let tables = tables(&play.world);
            for (protocol, port) in stage.ports {
                for (from, to, flow) in play.flows(*protocol, *port) {
                    let want = verdicts(&play.world, &Learned::new(), &flow).is_allowed();
                    let got = is_allowed(&play.world, &tables, &Learned::new(), &flow);
                    assert_eq!(got, want, "{}: {from} > {to} {protocol}/{port}", case.name);
                    count += 1;
                }
            }
        }
    }
    assert!(count > 100_000, "{count}");
}

/// Of what a pod is asked one direction follows from policies about that direction alone.
#[test]
fn npn1_groups_of_one_direction_are_not_changed_by_the_other() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..50 {
        let (world, _) = world().new_tree(&mut runner).expect("a world").current();
        let mut inwards = world.clone();
        changed(&mut inwards.policies, |policy| policy.egress = None);
        changed(&mut inwards.cluster_policies, |policy| policy.egress.clear());
        for (node, table) in tables(&world) {
            let other = resolve(&inwards, &node);
            for (name, pod) in &table.pods {
                assert_eq!(pod.ingress, other.pods[name].ingress, "{}", Direction::Ingress);
                assert_eq!(*other.pods[name].egress, Group::default(), "{}", Direction::Egress);
            }
        }
    }
}

/// A pod elsewhere is a member of sets and touches nobody's rules.
#[test]
fn npd4_a_pod_of_another_node_changes_members_and_no_rule() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..50 {
        let (world, _) = world().new_tree(&mut runner).expect("a world").current();
        let (node, elsewhere) = (NodeName::from("node-1"), NodeName::from("node-2"));
        let mut after = world.clone();
        let moved: Vec<Pod> = after
            .pods
            .values()
            .filter(|pod| pod.node.as_ref() == Some(&elsewhere))
            .map(|pod| Pod { labels: [("app", "b")].into_iter().collect(), ..Pod::clone(pod) })
            .collect();
        for pod in moved {
            after.pods.insert(pod.name.clone(), Arc::new(pod));
        }
        let (before, after) = (resolve(&world, &node), resolve(&after, &node));
        assert_eq!(before.pods, after.pods);
        assert!(before.sets.keys().eq(after.sets.keys()));
    }
}
