//! What `compile` makes of policies, judged by the oracle.

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::policies::Play;
use fixtures::policies::arbitrary::{flow, picks, world};
use model::{Direction, Family, NodeName, Pod, World};
use oracle::Packet;
use oracle::policy::{Flow, Learned, Origin, verdicts, would_be};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use seaway_compile::policy::{
    By, Connection, Group, Judge, Party, PolicyTable, RuleName, Verdicts, resolve, resolve_all,
};

use crate::mistakes::changed;
use crate::suites;

/// The tables of all nodes.
pub(crate) type Tables = BTreeMap<NodeName, PolicyTable>;

pub(crate) fn tables(world: &World) -> Tables {
    world.nodes.keys().map(|node| (node.clone(), resolve(world, node))).collect()
}

/// A flow, as a judge takes it.
pub(crate) fn connection(world: &World, flow: &Flow) -> Connection {
    let Packet { src, dst, protocol, dport } = flow.packet;
    let networked = |pod: &&Arc<Pod>| !pod.is_host_network;
    let client = match &flow.origin {
        Origin::Pod(name) if world.pods.get(name).filter(networked).is_some() => {
            Party::Pod(name.clone())
        }
        Origin::Process(node) => Party::Node(node.clone()),
        Origin::Pod(_) | Origin::Elsewhere => Party::Elsewhere,
    };
    let at = |pod: &&Arc<Pod>| networked(pod) && pod.addrs.contains(&dst);
    let back = |pod: &&Arc<Pod>| client == Party::Pod(pod.name.clone()) && at(pod);
    let server = world.pods.values().find(back).or_else(|| world.pods.values().find(at));
    let server = server.map_or(Party::Elsewhere, |pod| Party::Pod(pod.name.clone()));
    let is_led = flow.is_led;
    Connection { client, from: src, server, to: dst, protocol, port: dport, is_led }
}

/// What the nodes of both ends say of a flow, each by its own table.
pub(crate) fn judged(world: &World, tables: &Tables, learned: &Learned, flow: &Flow) -> Verdicts {
    let connection = connection(world, flow);
    let empty = PolicyTable::default();
    let judge = |party: &Party| {
        let node = match party {
            Party::Pod(name) => world.pods[name].node.as_ref(),
            Party::Node(_) | Party::Elsewhere => None,
        };
        Judge { world, table: node.map_or(&empty, |node| &tables[node]), learned }
    };
    Verdicts {
        egress: judge(&connection.client).egress(&connection),
        ingress: judge(&connection.server).ingress(&connection),
    }
}

/// What would be said at both ends if audited policies were enforced.
pub(crate) fn audited(
    world: &World,
    table: &PolicyTable,
    learned: &Learned,
    flow: &Flow,
) -> Verdicts {
    let connection = connection(world, flow);
    let judge = Judge { world, table, learned };
    let Verdicts { egress, ingress } = judge.judge(&connection);
    let audit = |direction| judge.audit(&connection, direction);
    Verdicts {
        egress: audit(Direction::Egress).unwrap_or(egress),
        ingress: audit(Direction::Ingress).unwrap_or(ingress),
    }
}

/// The same without who isolates: an audited policy that isolates whom others do is no other rule.
fn nameless(by: By) -> By {
    if matches!(by, By::NotAllowed(_)) { By::NotAllowed(Vec::new()) } else { by }
}

/// Whether the nodes of both ends let a flow through.
pub(crate) fn is_allowed(world: &World, tables: &Tables, learned: &Learned, flow: &Flow) -> bool {
    judged(world, tables, learned, flow).is_allowed()
}

/// What the oracle says, in the words of the judge.
fn said(by: &oracle::policy::By, is_allowed: bool) -> By {
    use oracle::policy::By as Said;
    let rule = |name| if is_allowed { By::Accept(name) } else { By::Deny(name) };
    match by {
        Said::NoPod => By::NoPod,
        Said::Itself => By::Itself,
        Said::OwnNode => By::OwnNode,
        Said::Discovery => By::Discovery,
        Said::ClusterRule(tier, name, i) => rule(RuleName::Cluster(*tier, name.clone(), *i)),
        Said::Rule(name, i) => rule(RuleName::Namespaced(name.clone(), *i)),
        Said::Isolated(names) => By::NotAllowed(names.clone()),
        Said::Nothing => By::Nothing,
    }
}

/// 256 worlds, or as many as `PROPTEST_CASES` says.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn npd3_npd4_npx3_tables_say_what_the_specifications_say(
        (world, learned) in world(),
        all in prop::collection::vec(picks(), 500),
    ) {
        let tables = tables(&world);
        let table = resolve_all(&world);
        let everywhere = Judge { world: &world, table: &table, learned: &learned };
        for picks in &all {
            let flow = flow(&world, picks);
            let want = verdicts(&world, &learned, &flow);
            let got = judged(&world, &tables, &learned, &flow);
            prop_assert_eq!(got.is_allowed(), want.is_allowed(), "{:?}\nshould: {:?}", flow, want);
            let [egress, ingress] = [&want.egress, &want.ingress].map(|v| said(&v.by, v.is_allowed));
            prop_assert_eq!([&got.egress.by, &got.ingress.by], [&egress, &ingress], "{:?}", flow);
            prop_assert_eq!(&everywhere.judge(&connection(&world, &flow)), &got);
            let got = audited(&world, &table, &learned, &flow);
            let want = would_be(&world, &learned, &flow);
            let want = [&want.egress, &want.ingress].map(|v| said(&v.by, v.is_allowed));
            let got = [got.egress.by, got.ingress.by];
            prop_assert_eq!(got.map(nameless), want.map(nameless), "audit {:?}", flow);
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
    let mut count = 0;
    for (stage, case) in suites::all() {
        let mut play = Play::new(stage, Family::V4);
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
