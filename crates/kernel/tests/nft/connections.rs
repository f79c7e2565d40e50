//! Rules that judge a connection by its tuples and its mark, in every shape.

use std::num::NonZero;

use plan::nft::{Chain, Field, Key, Op, Rate, Row, Set, Statement, Type, Value, Verdict};

use crate::INET;
use crate::shapes::{chain_name, equals, prefix, rules, set_name, v4, v6};

/// A chain with such rules, and their sets.
pub(crate) fn connections() -> Vec<(Key, Row)> {
    let mut rows = Vec::new();
    let key = Key::Chain(INET, chain_name("connections"));
    rows.push((key, Row::Chain(Chain { hook: None, rules: rules(statements()) })));
    let mut set = |name: &str, key: &[Type], element: Vec<Value>| {
        let set = Set { key: key.to_vec(), data: None, interval: false, size: None, dynamic: None };
        rows.push((Key::Set(INET, set_name(name)), Row::Set(set.into())));
        rows.push((Key::Element(INET, set_name(name), element.into()), Row::Element(None)));
    };
    let (proto, service) = (Type::InetProto, Type::InetService);
    set("generation", &[Type::Mark], vec![Value::Mark(0x0005_0000)]);
    set("own4", &[Type::Ipv4Addr, Type::Ipv4Addr], vec![v4(1), v4(1)]);
    set("own6", &[Type::Ipv6Addr, Type::Ipv6Addr], vec![v6(1), v6(1)]);
    let named = [Value::Number(6), Value::Port(8080)];
    let behind = |addr| [&[addr], named.as_slice()].concat();
    set("named4", &[Type::Ipv4Addr, proto, service], behind(v4(1)));
    set("named6", &[Type::Ipv6Addr, proto, service], behind(v6(1)));
    rows
}

fn statements() -> Vec<Vec<Statement>> {
    let tcp = || equals(Field::L4proto, Value::Number(6));
    let done = || Statement::Verdict(Verdict::Return);
    let lookup = |fields: &[Field], op, set| Statement::Lookup(fields.to_vec(), op, set_name(set));
    let mark = |mask, value| Statement::SetConnectionMark { mask, value };
    let rate = Rate { per_second: NonZero::<u32>::MIN, burst: NonZero::new(9).unwrap() };
    let log = Statement::Log { prefix: "denied egress".into(), group: 8376 };
    let mut all = vec![
        vec![Statement::Limit(rate), log],
        vec![Statement::ConnectionMarkIn(0x00ff_0000, set_name("generation")), done()],
        vec![mark(0x00ff_0000, 0x0005_0000), done()],
        vec![mark(0x00ff_0000, 0x00ff_0000), done()],
        vec![mark(0x00ff_0000, 0), done()],
        vec![tcp(), Statement::Within(Field::ServerPort, 80, 90), done()],
        vec![tcp(), Statement::Within(Field::ServerPort, 0, 65535), done()],
        vec![tcp(), Statement::Within(Field::Dport, 80, 90), done()],
        vec![
            lookup(&[Field::Server4], Op::Eq, "v4"),
            equals(Field::L4proto, Value::Number(132)),
            equals(Field::ServerPort, Value::Port(80)),
            Statement::Counter,
            done(),
        ],
        vec![lookup(&[Field::Client4], Op::Eq, "cluster"), done()],
        vec![lookup(&[Field::Server6], Op::Ne, "cluster6"), done()],
        vec![lookup(&[Field::Client4, Field::Server4], Op::Eq, "own4"), done()],
        vec![lookup(&[Field::Client6, Field::Server6], Op::Eq, "own6"), done()],
        vec![
            lookup(&[Field::Server4, Field::L4proto, Field::ServerPort], Op::Eq, "named4"),
            done(),
        ],
        vec![
            lookup(&[Field::Server6, Field::L4proto, Field::ServerPort], Op::Eq, "named6"),
            done(),
        ],
    ];
    for op in [Op::Eq, Op::Ne] {
        for (field, value) in [
            (Field::Client4, v4(1)),
            (Field::Server4, prefix("10.0.0.0/8")),
            (Field::Client6, v6(1)),
            (Field::Server6, prefix("fd00::/64")),
        ] {
            all.push(vec![Statement::Match(field, op, value), done()]);
        }
        all.push(vec![tcp(), Statement::Match(Field::ServerPort, op, Value::Port(443)), done()]);
    }
    all
}
