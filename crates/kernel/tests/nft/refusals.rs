//! Rows that the kernel refuses, and rows that it has already.

use plan::nft::{
    Chain, ChainKind, Field, Hook, HookPoint, Key, Op, Row, Rule, Set, Statement, Type, Value,
    Verdict,
};
use plan::{Changes, Mechanism, Put, converge};
use seaway_kernel::nft::Nft;

use crate::shapes::{chain_name, equals, everything, name, set_name, v4};
use crate::{INET, Rows, explain, isolated, nft, put};

fn chain(statements: Vec<Statement>) -> Row {
    Row::Chain(Chain { hook: None, rules: vec![Rule { statements, comment: None }] })
}

fn jump(to: &str) -> Row {
    chain(vec![Statement::Verdict(Verdict::Jump(chain_name(to)))])
}

fn chain_key(name: &str) -> Key {
    Key::Chain(INET, chain_name(name))
}

/// What `bad` rows say when they are applied together with everything else, which must then be there.
fn refused(bad: Vec<(Key, Row)>) -> String {
    let mut text = String::new();
    isolated(|| {
        let mut kernel = Nft::open().unwrap();
        let (mut want, good) = (everything(), everything());
        want.extend(bad);
        let (_, failures) = converge(&mut kernel, &want).unwrap();
        let left = plan::diff(&kernel.observe().unwrap(), &good);
        assert!(left.is_empty(), "{}\nleft to do:\n{left}", explain(&failures));
        text = explain(&failures);
    });
    text
}

#[test]
fn a_row_that_the_kernel_refuses_is_named_and_does_not_stop_the_others() {
    let lookup = Statement::Lookup(vec![Field::Ip4Saddr], Op::Eq, set_name("absent"));
    let accept = || Statement::Verdict(Verdict::Accept);
    let element = |set: &str, key: Vec<Value>| {
        (Key::Element(INET, set_name(set), key.into()), Row::Element(None))
    };
    let late = Hook { kind: ChainKind::Nat, point: HookPoint::Forward, priority: 0 };
    let forward = Row::Chain(Chain { hook: Some(late), rules: vec![] });
    let long = Rule { statements: vec![accept()], comment: Some("x".repeat(300)) };
    let ports =
        Set { key: vec![Type::InetService], data: None, interval: true, size: None, dynamic: None };
    let ports_as_intervals = Row::Set(ports.into());
    let commented = Row::Chain(Chain { hook: None, rules: vec![long] });
    let cases = [
        (
            vec![(chain_key("bad"), chain(vec![lookup, accept()]))],
            "put chain inet seaway bad: rule ip saddr @absent accept: ENOENT: No such file",
        ),
        (vec![element("absent", vec![v4(1)])], "put element inet seaway absent 10.0.0.1: No such"),
        (
            vec![element("v4", vec![Value::Port(1)]), element("v4", vec![v4(1), v4(2)])],
            "put element inet seaway v4 10.0.0.1 . 10.0.0.2: Invalid argument (os error 22)\n\
             put element inet seaway v4 1: Invalid argument",
        ),
        (
            vec![element("name", vec![name("longer-than-a-name-can-be")])],
            "put element inet seaway name \"longer-than-a-name-can-be\": \"longer-than-a-name-can-be\" is longer",
        ),
        (
            vec![(chain_key("bad"), chain(vec![equals(Field::Dport, v4(1))]))],
            "put chain inet seaway bad: rule th dport 10.0.0.1: th dport is never 10.0.0.1",
        ),
        (
            vec![(Key::Set(INET, set_name("bad")), ports_as_intervals)],
            "put set inet seaway bad { type inet_service; flags interval; }: intervals are of",
        ),
        (vec![(chain_key("bad"), forward)], "put chain inet seaway bad: Operation not supported"),
        (vec![(chain_key("bad"), commented)], "put chain inet seaway bad: rule accept comment"),
        (vec![(chain_key("bad"), jump("absent"))], "put chain inet seaway bad: rule jump absent"),
    ];
    for (bad, expected) in cases {
        let text = refused(bad);
        assert!(text.contains(&expected.replace("ENOENT: ", "")), "{text}\nlacks: {expected}");
    }
}

#[test]
fn a_loop_of_jumps_is_broken_at_one_chain_and_the_others_stand() {
    isolated(|| {
        let mut kernel = Nft::open().unwrap();
        let mut want = everything();
        want.extend([(chain_key("a"), jump("b")), (chain_key("b"), jump("a"))]);
        let base = Hook { kind: ChainKind::Filter, point: HookPoint::Input, priority: 1 };
        let Row::Chain(start) = jump("a") else { panic!("jump() makes a chain") };
        want.insert(chain_key("start"), Row::Chain(Chain { hook: Some(base), ..start }));
        let (_, failures) = converge(&mut kernel, &want).unwrap();
        assert_eq!(failures.len(), 1, "{}", explain(&failures));
        let have = kernel.observe().unwrap();
        assert_eq!(plan::diff(&have, &want).len(), 1);
    });
}

#[test]
fn putting_what_is_there_and_deleting_what_is_gone_succeed() {
    isolated(|| {
        let mut kernel = Nft::open().unwrap();
        let want = everything();
        put(&mut kernel, &want);
        let again = plan::diff(&Rows::default(), &want);
        assert_eq!(explain(&kernel.apply(&again)), "");
        let declared = Set {
            key: vec![Type::Ipv4Addr],
            data: None,
            interval: false,
            size: None,
            dynamic: None,
        };
        let gone: Rows = [
            (Key::Element(INET, set_name("v4"), [v4(200)].into()), Row::Element(None)),
            (Key::Set(INET, set_name("gone")), Row::Set(declared.into())),
            (chain_key("gone"), chain(vec![])),
        ]
        .into_iter()
        .collect();
        let mut changes = plan::diff(&gone, &Rows::default());
        let changed = Key::Element(INET, set_name("v4"), [v4(201)].into());
        let old = Some(Row::Element(None));
        changes.puts.insert(changed.clone(), Put { row: Row::Element(None), old });
        assert_eq!(explain(&kernel.apply(&changes)), "");
        let mut with = want.clone();
        with.insert(changed, Row::Element(None));
        assert_eq!(kernel.observe().unwrap(), with);
        put(&mut kernel, &Rows::default());
        let deletes = want.keys().cloned().collect();
        let all_gone = Changes { deletes, ..Changes::default() };
        assert_eq!(explain(&kernel.apply(&all_gone)), "");
        assert_eq!(nft("list ruleset"), "");
    });
}
