//! The number of a node's policies from one World to the next, and whose addresses they are about.

use std::net::IpAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;

use fixtures::policies::write::{cluster, ingress};
use fixtures::policies::{put, remove};
use model::{Attachment, AttachmentKey, Mac, ObjectName, PodRef, World};
use plan::Table;
use plan::nft::{Key, Row, SetName, TableFamily, Value};
use seaway_compile::policy::generation;
use seaway_compile::{Compiler, Scope};
use serde_json::json;

use crate::stage::after;

/// The stage with a policy, and `x/a`, which is on `node-1`, joined to the network as `pod`.
fn joined(pod: Option<PodRef>) -> World {
    let mut world = after([ingress("p", "pod=a", json!([]))]).world;
    world.config.node = "node-1".into();
    let key = AttachmentKey { container_id: "c".into(), ifname: "eth0".parse().expect("a name") };
    let attachment = Attachment {
        key: key.clone(),
        network: "seaway".to_owned(),
        netns: PathBuf::from("/run/netns/c"),
        pod,
        addrs: world.pods[&ObjectName::new("x", "a")].addrs.clone(),
        mac: Mac::derive("c"),
        port_mappings: Vec::new(),
        search: None,
    };
    world.attachments.insert(key, Arc::new(attachment));
    world
}

fn named(uid: &str) -> Option<PodRef> {
    Some(PodRef { namespace: "x".to_owned(), name: "a".to_owned(), uid: uid.to_owned() })
}

fn rows(compiler: &mut Compiler, world: &World) -> Table<Key, Row> {
    compiler.compile(world, &Scope::Node("node-1".into())).plan.nft
}

fn number(compiler: &mut Compiler, world: &World) -> Option<u8> {
    generation(&rows(compiler, world)).map(NonZero::get)
}

#[test]
fn npe1_what_is_the_same_keeps_its_number_and_another_world_has_the_next() {
    let (mut compiler, mut world) = (Compiler::default(), joined(named("")));
    assert_eq!(number(&mut compiler, &world), Some(1));
    world.generation.0 += 1;
    assert_eq!(number(&mut compiler, &world), Some(1));
    // Somebody's labels that nobody asks for.
    let stranger = fixtures::policies::Stage::NINE.pod(&world, "y", "stranger");
    put(&mut world, &stranger);
    assert_eq!(number(&mut compiler, &world), Some(1));
    let policy = ingress("q", "pod=a", json!([{}]));
    put(&mut world, &policy);
    assert_eq!(number(&mut compiler, &world), Some(2));
    remove(&mut world, &policy);
    assert_eq!(number(&mut compiler, &world), Some(3));
    remove(&mut world, &ingress("p", "pod=a", json!([])));
    assert_eq!(number(&mut compiler, &world), None, "no policies, no rules");
    put(&mut world, &policy);
    assert_eq!(number(&mut compiler, &world), Some(4), "what was allowed by 3 may still be there");
    for _ in 4..255 {
        remove(&mut world, &policy);
        put(&mut world, &ingress("p", "pod=a", json!([])));
        number(&mut compiler, &world);
        remove(&mut world, &ingress("p", "pod=a", json!([])));
        put(&mut world, &policy);
        number(&mut compiler, &world);
    }
    assert!(number(&mut compiler, &world).is_some_and(|number| number > 0), "it comes around");
}

/// A pod of `y` with this label.
fn friend(world: &World, name: &str, label: &str) -> serde_json::Value {
    let mut pod = fixtures::policies::Stage::NINE.pod(world, "y", name);
    pod["metadata"]["labels"] = json!({"is": label});
    pod
}

/// Of members more of a set that only rules go by that accept nobody has to be asked again: what they
/// may do now they could not do before.
#[test]
fn npe1_who_is_let_in_more_changes_no_number_and_who_is_shut_out_does() {
    let (mut compiler, mut world) = (Compiler::default(), joined(named("")));
    let from = |label| json!([{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"is": label}}}]}]);
    put(&mut world, &ingress("p", "pod=a", from("friend")));
    let deny = json!([{"action": "Deny", "from": [{"pods": {
        "namespaceSelector": {}, "podSelector": {"matchLabels": {"is": "foe"}}}}]}]);
    let spec = json!({"subject": {"namespaces": {}}, "ingress": deny});
    put(&mut world, &cluster("c", "Admin", 1, spec));
    assert_eq!(number(&mut compiler, &world), Some(1));
    let one = friend(&world, "one", "friend");
    put(&mut world, &one);
    let with_one = rows(&mut compiler, &world);
    assert_eq!(generation(&with_one).map(NonZero::get), Some(1), "a friend more");
    let foe = friend(&world, "two", "foe");
    put(&mut world, &foe);
    assert_eq!(number(&mut compiler, &world), Some(2), "a foe more");
    remove(&mut world, &foe);
    assert_eq!(number(&mut compiler, &world), Some(3), "a foe less");
    remove(&mut world, &one);
    assert_eq!(number(&mut compiler, &world), Some(4), "a friend less");
    assert_ne!(with_one.len(), rows(&mut compiler, &world).len());
}

#[test]
fn npd8_the_last_policy_takes_nothing_of_others_along() {
    let (mut compiler, with) = (Compiler::default(), joined(named("")));
    let without = after([]).world;
    let mut world = with.clone();
    world.policies = without.policies;
    let want = rows(&mut Compiler::default(), &world);
    let table = Key::Table(TableFamily::Inet);
    assert!(want.get(&table).is_some(), "others have rows there");
    rows(&mut compiler, &with);
    assert_eq!(rows(&mut compiler, &world), want);
    assert_eq!(rows(&mut compiler, &with).get(&table), Some(&Row::Table));
}

#[test]
fn npd10_an_agent_goes_on_with_the_number_that_the_kernel_has() {
    let world = joined(named(""));
    let mut first = Compiler::default();
    let mut other = world.clone();
    put(&mut other, &ingress("q", "pod=a", json!([{}])));
    rows(&mut first, &world);
    let left = rows(&mut first, &other);
    assert_eq!(generation(&left).map(NonZero::get), Some(2));
    assert_eq!(rows(&mut Compiler::after(left.clone()), &other), left, "as it was");
    assert_eq!(number(&mut Compiler::after(left.clone()), &world), Some(3), "the cluster changed");
    let mut more = left.clone();
    let policed = SetName("policed4".into());
    let stranger = Value::from(IpAddr::from([192, 0, 2, 9]));
    let key = Key::Element(TableFamily::Inet, policed, [stranger].into());
    more.insert(key, Row::Element(None));
    assert_eq!(number(&mut Compiler::after(more), &other), Some(3), "somebody wrote to it");
    assert_eq!(number(&mut Compiler::after(Table::default()), &other), Some(1), "it is not known");
}

/// The chains that lead away from the addresses of `x/a`.
fn led_to(world: &World) -> Vec<String> {
    let rows = rows(&mut Compiler::default(), world);
    let led = rows.iter().filter_map(|(key, row)| match (key, row) {
        (Key::Element(_, set, _), Row::Element(Some(data)))
            if set.0.starts_with("policy_ingress") =>
        {
            Some(data.to_string())
        }
        _ => None,
    });
    led.map(|to| to.split('-').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn npd9_an_address_is_the_pods_that_it_was_leased_to() {
    let known = ["jump ingress4_allowed", "jump ingress6_allowed"];
    let uid = joined(None).pods[&ObjectName::new("x", "a")].uid.to_string();
    assert_eq!(led_to(&joined(named(""))), known, "its name is enough where nobody says more");
    assert_eq!(led_to(&joined(named(&uid))), known);
    assert_eq!(led_to(&joined(None)), known, "the ledger has lost the name");
    let unknown = ["jump policy_unknown_pod_ingress"; 2];
    assert_eq!(led_to(&joined(named("another"))), unknown, "of the same name, and not the same");
    let mut world = joined(named(""));
    world.pods.remove(&ObjectName::new("x", "a"));
    assert_eq!(led_to(&world), unknown);
    let mut world = joined(None);
    world.pods.remove(&ObjectName::new("x", "a"));
    assert_eq!(led_to(&world), [""; 0], "who is no pod is no policy's matter");
}
