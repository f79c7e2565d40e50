//! Arbitrary rows for property tests.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::Mac;
use plan::nft::{
    ChainName, CtState, CtStatus, Data, DataType, Dynamic, DynamicOp, Field, Nat, NatSource,
    ORIGINAL, Op, REPLY, Rate, RejectWith, Rule, Set, SetName, Statement, TableFamily, Type, Value,
    Verdict, Writable,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// An element's key and what it leads to.
pub(crate) type Element = (Vec<Value>, Option<Data>);

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,14}"
}

pub(crate) fn prefix(ipv6: bool) -> BoxedStrategy<IpNet> {
    // Few distinct bits, so that prefixes meet and nest.
    let v4 = (any::<u32>(), 0..=32_u8)
        .prop_map(|(addr, len)| IpNet::V4(Ipv4Net::new(addr.into(), len).unwrap().trunc()));
    let v6 = (any::<u128>(), 0..=128_u8)
        .prop_map(|(addr, len)| IpNet::V6(Ipv6Net::new(addr.into(), len).unwrap().trunc()));
    if ipv6 { v6.boxed() } else { v4.boxed() }
}

pub(crate) fn value(kind: Type) -> BoxedStrategy<Value> {
    match kind {
        Type::Ipv4Addr => any::<u32>().prop_map(|addr| Value::Ipv4(addr.into())).boxed(),
        Type::Ipv6Addr => any::<u128>().prop_map(|addr| Value::Ipv6(addr.into())).boxed(),
        Type::EtherAddr => any::<[u8; 6]>().prop_map(|mac| Value::Ether(Mac(mac))).boxed(),
        Type::InetProto => any::<u8>().prop_map(Value::Number).boxed(),
        Type::InetService => any::<u16>().prop_map(Value::Port).boxed(),
        Type::IfName => name().prop_map(|name| Value::Name(name.into())).boxed(),
        Type::Mark => any::<u32>().prop_map(Value::Mark).boxed(),
        Type::ClassId => any::<u32>().prop_map(Value::ClassId).boxed(),
    }
}

fn field(family: TableFamily) -> impl Strategy<Value = Field> {
    let has = |field: &Field| field.is_of(family);
    select(Field::ALL.into_iter().filter(has).collect::<Vec<_>>())
}

/// A field with a value it could have.
fn comparison(family: TableFamily) -> BoxedStrategy<(Field, Value)> {
    let of = |field: Field| match field {
        Field::Iifname | Field::Oifname => {
            prop_oneof![name(), "[a-z]{1,14}\\*"].prop_map(|name| Value::Name(name.into())).boxed()
        }
        Field::EtherSaddr | Field::EtherDaddr | Field::ArpSaddrEther => value(Type::EtherAddr),
        Field::Ip4Saddr | Field::Ip4Daddr | Field::ArpSaddrIp | Field::Client4 | Field::Server4 => {
            prop_oneof![value(Type::Ipv4Addr), prefix(false).prop_map(Value::Prefix)].boxed()
        }
        Field::Ip6Saddr | Field::Ip6Daddr | Field::Client6 | Field::Server6 => {
            prop_oneof![value(Type::Ipv6Addr), prefix(true).prop_map(Value::Prefix)].boxed()
        }
        // Those that checks before other fields are made of come often.
        Field::Nfproto => select(vec![2_u8, 10, 3]).prop_map(Value::Number).boxed(),
        Field::L4proto => select(vec![6_u8, 17, 58, 200]).prop_map(Value::Number).boxed(),
        Field::EtherType => {
            select(vec![0x0800_u16, 0x0806, 0x86dd, 1]).prop_map(Value::Port).boxed()
        }
        Field::Icmpv6Type | Field::FibDaddrType => value(Type::InetProto),
        Field::FibDaddrOif => select(vec![0_u8, 1]).prop_map(Value::Number).boxed(),
        Field::CtDirection => select(vec![ORIGINAL, REPLY]).prop_map(Value::Number).boxed(),
        Field::Sport | Field::Dport | Field::ServerPort => value(Type::InetService),
        Field::Mark | Field::Random(_) => value(Type::Mark),
        Field::Priority => value(Type::ClassId),
    };
    field(family).prop_flat_map(move |field| (Just(field), of(field))).boxed()
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![Just(Op::Eq), Just(Op::Ne)]
}

pub(crate) fn verdict() -> BoxedStrategy<Verdict> {
    prop_oneof![
        Just(Verdict::Accept),
        Just(Verdict::Drop),
        Just(Verdict::Return),
        name().prop_map(|name| Verdict::Jump(ChainName(name.into()))),
        name().prop_map(|name| Verdict::Goto(ChainName(name.into()))),
    ]
    .boxed()
}

fn statement(family: TableFamily) -> BoxedStrategy<Statement> {
    let states = [
        CtState::Invalid,
        CtState::Established,
        CtState::Related,
        CtState::New,
        CtState::Untracked,
    ];
    let bits = [CtStatus::Expected, CtStatus::SeenReply, CtStatus::Snat, CtStatus::Dnat];
    // Three fields are at most 48 bytes, which fit the registers.
    let fields = || vec(field(family), 1..=3);
    let set = || name().prop_map(|name| SetName(name.into()));
    let writable = select(vec![Writable::Mark, Writable::Priority]);
    let ports = select(vec![Field::Sport, Field::Dport, Field::ServerPort]);
    let side = prop_oneof![Just(Nat::Dnat), Just(Nat::Snat)];
    let dynamic_op = select(vec![DynamicOp::Update, DynamicOp::Delete]);
    prop_oneof![
        8 => (comparison(family), op())
            .prop_map(|((field, value), op)| Statement::Match(field, op, value)),
        2 => (fields(), op(), set()).prop_map(|(fields, op, set)| Statement::Lookup(fields, op, set)),
        1 => (fields(), set()).prop_map(|(fields, map)| Statement::Vmap(fields, map)),
        1 => btree_set(select(states.to_vec()), 1..4).prop_map(Statement::CtState),
        1 => btree_set(select(bits.to_vec()), 1..4).prop_map(Statement::CtStatus),
        1 => Just(Statement::Counter),
        1 => Just(Statement::Notrack),
        1 => any::<u32>().prop_map(Statement::SetMark),
        1 => any::<u32>().prop_map(Statement::SetMarkBits),
        1 => any::<u32>().prop_map(Statement::MarkBits),
        1 => (ports, any::<u16>(), any::<u16>())
            .prop_map(|(port, first, last)| Statement::Within(port, first, last)),
        1 => (any::<u32>(), set()).prop_map(|(mask, set)| Statement::ConnectionMarkIn(mask, set)),
        1 => (any::<u32>(), any::<u32>()).prop_map(|(mask, value)| {
            Statement::SetConnectionMark { mask, value: value & mask }
        }),
        1 => (writable, fields(), set())
            .prop_map(|(to, fields, map)| Statement::SetFrom(to, fields, map)),
        1 => (dynamic_op, vec(field(family), 1..=2), vec(field(family), 1..=2), set())
            .prop_map(|(op, key, data, map)| Statement::Dynamic { op, map, key, data }),
        1 => (fields(), set(), any::<[NonZero<u32>; 2]>()).prop_map(|(key, set, [per_second, burst])| {
            Statement::Excess { set, key, rate: Rate { per_second, burst } }
        }),
        1 => any::<[NonZero<u32>; 2]>().prop_map(|[per_second, burst]| {
            Statement::Limit(Rate { per_second, burst })
        }),
        1 => ("\\PC{1,30}", any::<u16>())
            .prop_map(|(prefix, group)| Statement::Log { prefix: prefix.into(), group }),
        1 => (side, any::<bool>(), fields(), set()).prop_map(|(side, ipv6, fields, map)| {
            Statement::Nat(side, NatSource::Map { ipv6, fields, map })
        }),
        1 => any::<bool>().prop_map(|fully_random| Statement::Masquerade { fully_random }),
        1 => select(vec![RejectWith::PortUnreachable, RejectWith::TcpReset])
            .prop_map(Statement::Reject),
        2 => verdict().prop_map(Statement::Verdict),
    ]
    .boxed()
}

/// A rule that the kernel has expressions for; whether it would take them is another matter.
pub(crate) fn rule(family: TableFamily) -> impl Strategy<Value = Rule> {
    (vec(statement(family), 0..7), option::of("\\PC{0,60}"))
        .prop_map(|(statements, comment)| Rule { statements, comment })
}

fn types() -> impl Strategy<Value = Vec<Type>> {
    vec(select(Type::ALL.to_vec()), 1..=4)
}

/// A set or map with elements that have no key in common.
pub(crate) fn set() -> BoxedStrategy<(Set, Vec<Element>)> {
    let data = prop_oneof![
        Just(None),
        Just(Some(DataType::Verdict)),
        types()
            .prop_filter("data is at most 64 bytes", |types| types.len() < 4)
            .prop_map(|types| Some(DataType::Values(types))),
    ];
    let key = prop_oneof![
        3 => types().prop_map(|key| (key, false)),
        1 => Just((vec![Type::Ipv4Addr], true)),
        1 => Just((vec![Type::Ipv6Addr], true)),
        1 => (vec(select(Type::ALL.to_vec()), 1..=3), any::<bool>()).prop_map(|(mut key, ipv6)| {
            key.push(if ipv6 { Type::Ipv6Addr } else { Type::Ipv4Addr });
            (key, true)
        }),
    ];
    let dynamic = (1..=86_400_u64).prop_map(|secs| Dynamic { timeout: Duration::from_secs(secs) });
    (key, data, option::weighted(0.3, 20..1000_u32), option::weighted(0.3, dynamic))
        .prop_flat_map(|((key, interval), data, size, dynamic)| {
            let size = size.filter(|_| !interval);
            let dynamic = dynamic.filter(|_| size.is_some());
            let declared = Set { key, data, interval, size, dynamic };
            let most = if dynamic.is_some() { 1 } else { 20 };
            let elements = vec((element_key(&declared), element_data(&declared)), 0..most);
            (Just(declared), elements)
        })
        .prop_map(|(declared, elements)| (declared, apart(elements)))
        .boxed()
}

fn element_key(declared: &Set) -> BoxedStrategy<Vec<Value>> {
    let mut fields: Vec<_> = declared.key.iter().map(|kind| value(*kind)).collect();
    if declared.interval {
        let net = prefix(declared.key.last() == Some(&Type::Ipv6Addr)).prop_map(Value::Prefix);
        fields.pop();
        fields.push(net.boxed());
    }
    fields.boxed()
}

fn element_data(declared: &Set) -> BoxedStrategy<Option<Data>> {
    match &declared.data {
        None => Just(None).boxed(),
        Some(DataType::Verdict) => verdict().prop_map(|to| Some(Data::Verdict(to))).boxed(),
        Some(DataType::Values(types)) => {
            let values = types.iter().map(|kind| value(*kind)).collect::<Vec<_>>();
            values.prop_map(|values| Some(Data::Values(values.into()))).boxed()
        }
    }
}

/// Leaves elements out whose keys are equal or prefixes that overlap.
fn apart(elements: Vec<Element>) -> Vec<Element> {
    let (mut kept, mut keys): (Vec<Element>, BTreeSet<_>) = Default::default();
    for (key, data) in elements {
        let overlaps = |(other, _): &Element| match (key.as_slice(), other.as_slice()) {
            ([first @ .., Value::Prefix(a)], [same @ .., Value::Prefix(b)]) => {
                first == same && (a.contains(b) || b.contains(a))
            }
            _ => false,
        };
        if !kept.iter().any(overlaps) && keys.insert(key.clone()) {
            kept.push((key, data));
        }
    }
    kept
}
