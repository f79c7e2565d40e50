//! Claims about explanations: traces, who reaches whom, what would change.

use std::collections::BTreeSet;

use fixtures::policies::arbitrary::world;
use fixtures::policies::fate::rows;
use fixtures::policies::write::{cluster, egress, ingress, pods, selector, spaces};
use fixtures::policies::{Play, Step};
use model::{Direction, DropReason, Family, ObjectName, Protocol, World};
use plan::nft::{Row, Rule, Statement, Verdict};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use seaway_compile::policy::{
    By, Cell, Changes, Connection, Judge, Learned, Matrix, Party, PolicyTable, Who, explain,
    resolve_all,
};
use serde_json::json;

use crate::agreement::{config, connection};
use crate::stage::{after, block, flow};

fn table(world: &World) -> PolicyTable {
    resolve_all(world)
}

/// Checks all that is said of a connection.
#[track_caller]
fn check(play: &Play, connects: &str, want: &str) {
    let table = table(&play.world);
    let learned = Learned::new();
    let judge = Judge { world: &play.world, table: &table, learned: &learned };
    let said = judge.judge(&connection(&play.world, &flow(play, connects))).to_string();
    let want = want.trim().lines().map(|line| line.strip_prefix("        ").unwrap_or(line));
    assert_eq!(said.lines().collect::<Vec<_>>(), want.collect::<Vec<_>>(), "{connects}");
}

#[test]
fn npo1_a_trace_names_what_decides_and_what_was_passed_over() {
    let about_a = |name: &str, tier: &str, action: &str| {
        let subject = json!({"namespaces": selector("ns=x")});
        let rules = json!([
            {"action": "Accept", "from": [{"namespaces": selector("ns=z")}]},
            {"action": action, "from": [{"namespaces": {}}]},
        ]);
        cluster(name, tier, 1, json!({"subject": subject, "ingress": rules}))
    };
    let web = ingress(
        "web",
        "pod=a",
        json!([
            {"from": [spaces("ns=z")]},
            {"from": [pods("pod=b")], "ports": [{"port": 81}]},
            {"from": [pods("pod=b")], "ports": [{"port": 80}]},
        ]),
    );
    let play = after([about_a("first", "Admin", "Pass"), web, ingress("shut", "pod=a", json!([]))]);
    check(
        &play,
        "x/b > x/a tcp/80",
        "
        egress allowed: no policy says anything
        ingress allowed: NetworkPolicy x/web rule 2 allows it
          Admin ClusterNetworkPolicy first rule 0 is about other peers
          Admin ClusterNetworkPolicy first rule 1 passes it on
          NetworkPolicy x/web rule 0 is about other peers
          NetworkPolicy x/web rule 1 is about other ports",
    );
    check(
        &play,
        "203.0.113.9 > x/a tcp/80",
        "
        egress allowed: there is no pod that policies could be about
        ingress dropped: no NetworkPolicy allows it; isolated by x/shut, x/web
          Admin ClusterNetworkPolicy first rule 0 is about other peers
          Admin ClusterNetworkPolicy first rule 1 is about other peers
          NetworkPolicy x/web rule 0 is about other peers
          NetworkPolicy x/web rule 1 is about other peers
          NetworkPolicy x/web rule 2 is about other peers",
    );
    let denied = after([about_a("last", "Baseline", "Deny")]);
    check(
        &denied,
        "x/b > x/a icmp/8",
        "
        egress allowed: no policy says anything
        ingress dropped: Baseline ClusterNetworkPolicy last rule 1 denies it
          Baseline ClusterNetworkPolicy last rule 0 is about other peers",
    );
}

#[test]
fn npo1_a_trace_names_what_no_policy_is_asked_about() {
    let play = after([ingress("shut", "", json!([])), egress("stay", "", json!([]))]);
    let none = "there is no pod that policies could be about";
    check(
        &play,
        "node-1 > x/a tcp/80",
        &format!(
            "
        egress allowed: {none}
        ingress allowed: it is from the pod's own node"
        ),
    );
    check(
        &play,
        "x/a > node-1 tcp/22",
        &format!(
            "
        egress allowed: no policy says anything
          NetworkPolicies are not asked about a pod's own node
        ingress allowed: {none}"
        ),
    );
    check(
        &play,
        "x/a > x/a tcp/80",
        "
        egress allowed: it does not leave its pod
        ingress allowed: it does not leave its pod",
    );
    check(
        &play,
        "x/a > x/a tcp/80 led",
        "
        egress allowed: no policy says anything
          NetworkPolicies are not asked about what comes back to its own pod
        ingress allowed: no policy says anything
          NetworkPolicies are not asked about what comes back to its own pod",
    );
}

/// A pod that is not in the table may be meant by any policy.
#[test]
fn npd9_a_pod_that_is_not_known_is_dropped_where_there_are_policies() {
    let play = after([ingress("shut", "", json!([]))]);
    let learned = Learned::new();
    for has_policies in [true, false] {
        let table = PolicyTable { has_policies, ..PolicyTable::default() };
        let judge = Judge { world: &play.world, table: &table, learned: &learned };
        let of = connection(&play.world, &flow(&play, "x/a > y/a tcp/80"));
        let by = if has_policies { By::UnknownPod } else { By::Nothing };
        assert_eq!(judge.judge(&of).egress.by, by);
        assert_eq!(judge.judge(&of).is_allowed(), !has_policies);
    }
}

#[test]
fn npx5_pods_with_the_same_rules_and_peers_are_one_end() {
    let rules =
        json!([{"from": [pods("pod=b"), block("203.0.113.0/24", &[])], "ports": [{"port": 80}]}]);
    let play = after([ingress("web", "pod=a", rules)]);
    let table = table(&play.world);
    let learned = Learned::new();
    let judge = Judge { world: &play.world, table: &table, learned: &learned };
    let matrix = Matrix::of(&judge, &BTreeSet::new());
    let ends: Vec<String> = matrix.ends.iter().map(ToString::to_string).collect();
    assert_eq!(ends, ["x/a", "x/b", "x/c and 6 more", "outside 203.0.113.0/24", "outside"]);
    let columns: Vec<String> = matrix.columns.iter().map(ToString::to_string).collect();
    assert_eq!(columns, ["tcp/80", "everything but tcp/80"]);
    let row = |column, to| (0..5).map(|from| matrix.cell(column, from, to)).collect::<Vec<_>>();
    use Cell::{Allowed, Apart, Denied, Itself, Only};
    assert_eq!(row(0, 0), [Itself, Allowed, Denied, Allowed, Denied]);
    assert_eq!(row(1, 0), [Itself, Denied, Denied, Denied, Denied]);
    assert_eq!(row(0, 2), [Allowed, Allowed, Allowed, Allowed, Allowed]);
    assert_eq!(row(0, 4), [Allowed, Allowed, Allowed, Apart, Apart]);
    // A namespace alone, and a block of one family.
    let only = Matrix::of(&judge, &BTreeSet::from(["y".into()]));
    assert_eq!(only.ends[0].to_string(), "y/a and 2 more");
    let four = after([ingress("four", "pod=a", json!([{"from": [block("0.0.0.0/0", &[])]}]))]);
    let table = resolve_all(&four.world);
    let judge = Judge { world: &four.world, table: &table, learned: &learned };
    let matrix = Matrix::of(&judge, &BTreeSet::new());
    assert_eq!(matrix.cell(0, 1, 0), Only(Family::V4));
}

#[test]
fn npx3_what_changes_is_told_with_both_reasons() {
    let before = after([]);
    let mut later = before.clone();
    let rules = json!([{"from": [pods("pod=b")], "ports": [{"port": 80}]}]);
    later.happen(&Step::Put(ingress("web", "pod=a", rules)));
    let tables = [table(&before.world), table(&later.world)];
    let learned = Learned::new();
    let old = Judge { world: &before.world, table: &tables[0], learned: &learned };
    let new = Judge { world: &later.world, table: &tables[1], learned: &learned };
    let said = |changes: &Changes| -> Vec<String> {
        let one = |change: &seaway_compile::policy::Change| {
            let [from, to] = [change.from, change.to].map(|end| changes.ends[end].to_string());
            let [was, is] = [&change.before, &change.after].map(|reason| reason.by.to_string());
            assert_eq!(change.after.direction, Direction::Ingress);
            format!("{from} > {to} {}: {was} > {is}", change.ports)
        };
        changes.all.iter().map(one).collect()
    };
    let shut = "no NetworkPolicy allows it; isolated by x/web";
    let free = "no policy says anything";
    assert_eq!(
        said(&Changes::between(&old, &new, &BTreeSet::new())),
        [
            format!("x/b > x/a everything but tcp/80: {free} > {shut}"),
            format!("x/c and 6 more > x/a everything: {free} > {shut}"),
            format!("outside > x/a everything: {free} > {shut}"),
        ]
    );
    let back = Changes::between(&new, &old, &BTreeSet::new());
    assert_eq!(said(&back)[0], format!("x/b > x/a everything but tcp/80: {shut} > {free}"));
    assert!(Changes::between(&new, &new, &BTreeSet::new()).all.is_empty());
}

#[test]
fn npx5_a_pods_policies_are_shown_with_whom_they_mean() {
    let rules = json!([
        {"from": [pods("pod=b"), spaces("ns=y"), block("203.0.113.0/24", &[])], "ports": [{"port": 80}]},
        {"from": [pods("pod=nobody")]},
    ]);
    let wrong = json!([{"to": [{"serviceAccount": "x"}]}]);
    let play = after([ingress("web", "pod=a", rules), egress("out", "pod=a", wrong)]);
    let table = table(&play.world);
    let learned = Learned::new();
    let judge = Judge { world: &play.world, table: &table, learned: &learned };
    let text = explain(&judge, &ObjectName::new("x", "a")).expect("the pod").to_string();
    let want = "\
pod x/a on node-1, 10.244.1.2, fd00:10:244:1::2
ingress: isolated by x/web
  allow tcp/80 pods pod=b of x [1: x/b]; pods * of namespaces ns=y [3: y/a, y/b, y/c]; 203.0.113.0/24 (NetworkPolicy x/web rule 0)
  allow everything pods pod=nobody of x [nobody] (NetworkPolicy x/web rule 1)
  everything else is dropped
egress: isolated by x/out
  everything else is dropped
closed: NetworkPolicy x/out: spec.egress[0].to[0]: unknown field `serviceAccount`, expected one of `podSelector`, `namespaceSelector`, `ipBlock`
";
    assert_eq!(text, want);
    assert_eq!(explain(&judge, &ObjectName::new("x", "nobody")), None);
}

proptest! {
    #![proptest_config(config())]

    /// A cell is what the judge says of any two pods of its ends at any port of its column.
    #[test]
    fn npx5_the_matrix_says_what_the_judge_says((world, learned) in world(), picks in prop::collection::vec(any::<prop::sample::Index>(), 200)) {
        let table = table(&world);
        let judge = Judge { world: &world, table: &table, learned: &learned };
        let matrix = Matrix::of(&judge, &BTreeSet::new());
        let pods: Vec<_> = world.pods.values().filter(|p| !p.is_host_network && !p.addrs.is_empty()).collect();
        for pick in picks.chunks(4) {
            let [from, to] = [&pick[0], &pick[1]].map(|pick| pods[pick.index(pods.len())]);
            let end = |pod: &model::Pod| {
                let has = |end: &seaway_compile::policy::End| {
                    matches!(&end.who, Who::Pods(all) if all.contains(&pod.name))
                };
                matrix.ends.iter().position(has).expect("every pod is at an end")
            };
            let port = u16::try_from(pick[2].index(65_536)).expect("a port");
            let port = if pick[3].index(2) == 0 { port % 100 } else { port };
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                let column = matrix.columns.iter().position(|all| all.has(protocol, port));
                let cell = matrix.cell(column.expect("every port is in a column"), end(from), end(to));
                let said = Family::ALL.map(|family| {
                    let of = |pod: &model::Pod| pod.addrs.iter().copied().find(|a| Family::of(*a) == family);
                    let (source, target) = (of(from)?, of(to)?);
                    let [client, server] = [from, to].map(|pod| Party::Pod(pod.name.clone()));
                    let number = protocol.number();
                    let connection = Connection { client, from: source, server, to: target, protocol: number, port, is_led: false };
                    Some(judge.judge(&connection).is_allowed())
                });
                let want = match said {
                    _ if from.name == to.name => continue,
                    [None, None] => Cell::Apart,
                    [Some(true), Some(false)] => Cell::Only(Family::V4),
                    [Some(false), Some(true)] => Cell::Only(Family::V6),
                    [one, other] if one.or(other) == Some(true) => Cell::Allowed,
                    _ => Cell::Denied,
                };
                prop_assert_eq!(cell, want, "{} > {} {}/{}", from.name, to.name, protocol, port);
            }
        }
    }
}

/// Whatever drops a packet in the kernel says why: by a rule's name, or in the words of the one list.
#[test]
fn npx4_every_drop_of_the_rows_has_a_reason_of_the_one_list() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..50 {
        let (world, _) = world().new_tree(&mut runner).expect("a world").current();
        for row in rows(&world).values().flat_map(|rows| rows.iter().map(|(_, row)| row)) {
            let Row::Chain(chain) = row else { continue };
            let drops = |rule: &&Rule| rule.statements.contains(&Statement::Verdict(Verdict::Drop));
            for rule in chain.rules.iter().filter(drops) {
                let why = rule.comment.as_deref().expect("a reason");
                let why = why.trim_start_matches("ingress ").trim_start_matches("egress ");
                let reason = DropReason::ALL.into_iter().find(|reason| reason.to_string() == why);
                let is_rule = ["Admin ", "Baseline "].iter().any(|tier| why.starts_with(tier));
                assert!(reason.is_some() || is_rule, "{why}");
                met.insert(reason.unwrap_or(DropReason::Denied));
            }
        }
    }
    assert_eq!(met, BTreeSet::from(DropReason::ALL));
}
