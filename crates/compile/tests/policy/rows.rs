//! The rows of policies, judged by the oracle.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZero;

use fixtures::policies::arbitrary::{flow, picks, world};
use fixtures::policies::fate::{
    Fate, NOW, Rows, addr_of, answered, around, fate, generation, rows, stale, stray,
};
use fixtures::policies::write::{egress, ingress};
use fixtures::policies::{Play, Stage};
use model::{Direction, DropReason, Family, NodeName, ObjectName, World};
use oracle::policy::{By, Flow, Learned, Verdict, Verdicts, verdicts, would_be};
use plan::diff;
use plan::nft::{CtState, Data, Key, Outcome, Row, Surroundings, Transport};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use seaway_compile::policy::{Around, lower, resolve};
use serde_json::json;

use crate::agreement::config;
use crate::stage::after;
use crate::suites;

/// What should become of a flow.
fn should(verdicts: &Verdicts, met: Vec<String>) -> Fate {
    let first = verdicts.is_allowed();
    Fate { first, later: first, is_marked: true, met }
}

/// The comment of the rule that decides at one end, where a rule does.
fn named(direction: Direction, verdict: &Verdict) -> Option<String> {
    match &verdict.by {
        by @ (By::ClusterRule(..) | By::Rule(..)) => Some(format!("{direction} {by}")),
        By::Isolated(_) => Some(format!("{direction} no NetworkPolicy allows it")),
        By::NoPod | By::Itself | By::OwnNode | By::Discovery | By::Nothing => None,
    }
}

/// The rules that decide about a flow at both ends, as far as it comes.
fn deciding(verdicts: &Verdicts) -> Vec<String> {
    let out = named(Direction::Egress, &verdicts.egress);
    let into = named(Direction::Ingress, &verdicts.ingress);
    out.into_iter().chain(into.filter(|_| verdicts.egress.is_allowed)).collect()
}

/// What the rules that a packet met say of audits.
fn told(met: &[String]) -> Vec<String> {
    let reasons = [DropReason::NotAllowed, DropReason::Denied].map(|reason| reason.to_string());
    let is_ending = |comment: &&String| {
        let ending = comment.strip_prefix("audit ").and_then(|rest| rest.split_once(' '));
        ending.is_some_and(|(_, why)| reasons.iter().any(|reason| reason == why))
    };
    let told: BTreeSet<&String> = met.iter().filter(is_ending).collect();
    told.into_iter().cloned().collect()
}

/// What is to be said of audits: what is allowed at an end, and would not be, as far as a packet comes.
fn to_tell(now: &Verdicts, would: &Verdicts) -> Vec<String> {
    let egress = (Direction::Egress, &now.egress, &would.egress);
    let ingress = (Direction::Ingress, &now.ingress, &would.ingress);
    let reached = [Some(egress), Some(ingress).filter(|_| now.egress.is_allowed)];
    let denied = reached.into_iter().flatten().filter_map(|(direction, now, would)| {
        (now.is_allowed && !would.is_allowed).then_some(())?;
        let is_isolated = matches!(would.by, By::Isolated(_));
        let reason = if is_isolated { DropReason::NotAllowed } else { DropReason::Denied };
        Some(format!("audit {direction} {reason}"))
    });
    denied.collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn npd1_npo2_npx3_rules_do_what_the_specifications_say_and_tell_which_rule_it_was(
        (world, learned) in world(),
        all in prop::collection::vec(picks(), 300),
    ) {
        let (rows, answered) = (rows(&world), answered(&world, &learned));
        for picks in &all {
            let flow = flow(&world, picks);
            let want = verdicts(&world, &learned, &flow);
            let got = fate(&world, (&rows, &answered), &flow);
            prop_assert_eq!(&got, &should(&want, got.met.clone()), "{:?}\nshould: {:?}", flow, want);
            for rule in deciding(&want) {
                prop_assert!(got.met.contains(&rule), "{:?}\n{} not in {:?}", flow, rule, got.met);
            }
            let would = would_be(&world, &learned, &flow);
            prop_assert_eq!(told(&got.met), to_tell(&want, &would), "{:?}\n{:?}", flow, would);
        }
    }

    /// NP-D1: what is there for all policies is the same for all.
    #[test]
    fn npd1_base_chains_and_their_sets_are_the_same_whatever_policies_say(
        (one, _) in world(),
        (other, _) in world(),
    ) {
        let node = NodeName::from("node-1");
        let constant = |world: &World| {
            let rows = lower(&resolve(world, &node), &around(world, &node), NOW);
            let of = |key: &Key| match key {
                Key::Table(_) => true,
                Key::Set(_, name) => name.0.starts_with("polic"),
                Key::Chain(_, name) => name.0.starts_with("polic"),
                Key::Element(..) => false,
            };
            rows.iter().filter(|(key, _)| of(key)).map(|(k, r)| (k.clone(), r.clone())).collect()
        };
        let [one, other]: [Vec<(Key, Row)>; 2] = [constant(&one), constant(&other)];
        prop_assert!(one.is_empty() || other.is_empty() || one == other);
    }

    /// Every chain and set that a row names is there, and none is there that no row names.
    #[test]
    fn npd4_rows_name_what_is_there_and_nothing_else_is((world, _) in world()) {
        for rows in rows(&world).values() {
            let mut text = String::new();
            for (_, row) in rows {
                text += &format!("{row}\n");
            }
            for (key, row) in rows {
                let name = match (key, row) {
                    (Key::Set(_, set), _) => format!("@{set}"),
                    (Key::Chain(_, chain), Row::Chain(of)) if of.hook.is_none() => chain.to_string(),
                    _ => continue,
                };
                let is_constant = name.contains("polic");
                prop_assert!(is_constant || text.contains(&name), "nobody names {}", name);
            }
            for (_, row) in rows {
                if let Row::Element(Some(Data::Verdict(plan::nft::Verdict::Jump(to)))) = row {
                    let key = Key::Chain(plan::nft::TableFamily::Inet, to.clone());
                    prop_assert!(rows.get(&key).is_some(), "{} leads nowhere", to);
                }
            }
        }
    }
}

/// Every step of every suite, whoever is reached.
#[test]
fn nps1_nps2_nps3_rows_and_oracle_agree_on_every_suite() {
    let mut count = 0;
    for (i, (stage, case)) in suites::all().into_iter().enumerate() {
        let family = Family::ALL[i % 2];
        let mut play = Play::new(stage, family);
        for step in &case.steps {
            play.happen(step);
            let (rows, nothing) = (rows(&play.world), Surroundings::default());
            for (protocol, port) in stage.ports {
                for (from, to, flow) in play.flows(*protocol, *port) {
                    let want = verdicts(&play.world, &Learned::new(), &flow);
                    let got = fate(&play.world, (&rows, &nothing), &flow);
                    let want = should(&want, got.met.clone());
                    assert_eq!(got, want, "{}: {from} > {to} {protocol}/{port}", case.name);
                    count += 1;
                }
            }
        }
    }
    assert!(count > 100_000, "{count}");
}

fn node() -> NodeName {
    "node-1".into()
}

fn of_node(world: &World) -> Rows {
    lower(&resolve(world, &node()), &around(world, &node()), NOW)
}

#[test]
fn npd11_without_policies_there_are_no_rows() {
    assert!(of_node(&after([]).world).is_empty());
}

/// NP-D4, NP-D8.
#[test]
fn npd8_a_pod_more_is_elements_and_a_new_number_is_one_element_and_one_rule() {
    let mut runner = TestRunner::deterministic();
    for _ in 0..50 {
        let (before, _) = world().new_tree(&mut runner).expect("a world").current();
        let mut after = before.clone();
        let stranger = Stage::NINE.pod(&before, "x", "stranger");
        fixtures::policies::put(&mut after, &stranger);
        let lower_with = |world: &World, generation: u8| {
            let mut around = around(world, &node());
            around.pods = self::around(&before, &node()).pods;
            let number = NonZero::new(generation).expect("not zero");
            lower(&resolve(world, &node()), &around, number)
        };
        let changes = diff(&lower_with(&before, 7), &lower_with(&after, 7));
        assert!(changes.deletes.is_empty(), "{changes}");
        assert!(changes.puts.keys().all(|key| matches!(key, Key::Element(..))), "{changes}");
        let changes = diff(&lower_with(&before, 7), &lower_with(&before, 8));
        let expected = if lower_with(&before, 7).is_empty() { (0, 0) } else { (2, 1) };
        assert_eq!((changes.puts.len(), changes.deletes.len()), expected, "{changes}");
    }
}

/// NP-D8: the chain of other rules has another name, so nothing is changed where packets are.
#[test]
fn npd8_other_rules_are_another_chain_and_an_element_that_leads_there() {
    let at = |port: u16| {
        of_node(&after([ingress("p", "pod=a", json!([{"ports": [{"port": port}]}]))]).world)
    };
    let changes = diff(&at(80), &at(81));
    for (key, put) in &changes.puts {
        assert!(!matches!(key, Key::Chain(..)) || put.old.is_none(), "{changes}");
    }
    let kinds = |is: fn(&Key) -> bool| {
        (
            changes.puts.keys().filter(|k| is(k)).count(),
            changes.deletes.iter().filter(|k| is(k)).count(),
        )
    };
    // A chain and an element for each family.
    assert_eq!(kinds(|key| matches!(key, Key::Chain(..))), (2, 2), "{changes}");
    assert_eq!(kinds(|key| matches!(key, Key::Element(..))), (2, 0), "{changes}");
}

/// NP-D9: whatever a policy may say of it.
#[test]
fn npd9_a_pod_that_is_not_known_yet_speaks_with_its_own_node_alone() {
    let play = after([ingress("p", "pod=b", json!([{}]))]);
    let mut world = play.world.clone();
    let name = ObjectName::new("x", "a");
    let around = around(&world, &node());
    assert!(around.pods.values().any(|pod| pod.as_ref() == Some(&name)), "x/a is on node-1");
    world.pods.remove(&name);
    let mut all = rows(&world);
    all.insert(node(), lower(&resolve(&world, &node()), &around, NOW));
    let nothing = Surroundings::default();
    let cases = [("x/a", "y/b", false), ("y/b", "x/a", false), ("y/b", "y/c", true)];
    for (from, to, want) in cases {
        let packet = oracle::Packet {
            src: addr_of(&play.world, from),
            dst: addr_of(&play.world, to),
            protocol: 6,
            dport: 80,
        };
        let (space, pod) = from.split_once('/').expect("NAMESPACE/NAME");
        let origin = oracle::policy::Origin::Pod(ObjectName::new(space, pod));
        let flow = Flow { origin, packet, is_led: false };
        assert_eq!(fate(&play.world, (&all, &nothing), &flow).first, want, "{from} > {to}");
    }
    let process = oracle::policy::Origin::Process(node());
    let probe = oracle::Packet {
        src: play.world.nodes[&node()].internal_ip(Family::V4).expect("an address"),
        dst: addr_of(&play.world, "x/a"),
        protocol: 6,
        dport: 80,
    };
    let flow = Flow { origin: process, packet: probe, is_led: false };
    assert!(fate(&play.world, (&all, &nothing), &flow).first);
}

/// NP-U3, NP-C3: whatever the policies are now, an error is told to whom it is about; what belongs to nobody
/// is not for a pod with policies.
#[test]
fn npu3_errors_pass_and_what_has_no_connection_does_not_where_there_are_policies() {
    let play = after([egress("p", "pod=a", json!([]))]);
    let rows = of_node(&play.world);
    let [a, peer, free] = ["x/a", "y/b", "y/a"].map(|name| addr_of(&play.world, name));
    let (icmp, tcp) =
        (Transport::Other(1), Transport::Ports { protocol: 6, sport: 80, dport: 40_000 });
    let of_a = stale(a, SocketAddr::new(peer, 80));
    let out = |state, transport, connection| stray(&rows, (a, peer), state, transport, connection);
    assert_eq!(out(CtState::New, tcp, Some(of_a)), Outcome::Drop);
    assert_eq!(out(CtState::Established, tcp, Some(of_a)), Outcome::Drop);
    assert_eq!(out(CtState::Related, icmp, Some(of_a)), Outcome::Accept);
    for state in [CtState::Invalid, CtState::Untracked] {
        assert_eq!(out(state, tcp, None), Outcome::Drop);
        assert_eq!(stray(&rows, (peer, a), state, tcp, None), Outcome::Drop);
        assert_eq!(stray(&rows, (free, peer), state, tcp, None), Outcome::Accept);
    }
}

#[test]
fn npe1_the_number_of_the_policies_stands_in_the_highest_byte() {
    assert_eq!(generation(0x0712_3456), u32::from(NOW.get()));
    let rows = of_node(&after([egress("p", "pod=a", json!([]))]).world);
    let text = plan::nft::list(&rows, plan::nft::TableFamily::Inet);
    for line in [
        "ct mark & 0xff000000 == @policy_generation accept comment \"allowed by these policies\"",
        "ct mark set ct mark & 0x07ffffff | 0x07000000 comment \"by the policies of this number\"",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

/// Whom `Around` names is no matter of the World: an address is its pod's as soon as it is leased.
#[test]
fn npd9_rules_hold_for_an_address_before_the_api_server_knows_it() {
    let play = after([ingress("p", "pod=a", json!([]))]);
    let table = resolve(&play.world, &node());
    let addr = "10.244.1.200".parse().expect("an address");
    let around = Around {
        pods: [(addr, Some(ObjectName::new("x", "a")))].into(),
        ..around(&play.world, &node())
    };
    let rows = lower(&table, &around, NOW);
    let tcp = Transport::Ports { protocol: 6, sport: 40_000, dport: 80 };
    let peer = addr_of(&play.world, "y/b");
    let to = stale(peer, SocketAddr::new(addr, 80));
    assert_eq!(stray(&rows, (peer, addr), CtState::New, tcp, Some(to)), Outcome::Drop);
}
