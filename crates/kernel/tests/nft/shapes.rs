//! A table with every shape of every row.

use std::time::Duration;

use model::Mac;
use plan::nft::{
    Chain, ChainKind, ChainName, CtState, CtStatus, Data, DataType, Dynamic, DynamicOp, Field,
    Hook, HookPoint, Key, Nat, NatSource, ORIGINAL, Op, REPLY, RejectWith, Row, Rule, Set, SetName,
    Statement, TableFamily, Type, Value, Verdict, Writable,
};

use crate::{BRIDGE, INET, Rows};

pub(crate) fn set_name(name: &str) -> SetName {
    SetName(name.into())
}

pub(crate) fn chain_name(name: &str) -> ChainName {
    ChainName(name.into())
}

pub(crate) fn rules(statements: impl IntoIterator<Item = Vec<Statement>>) -> Vec<Rule> {
    statements.into_iter().map(|statements| Rule { statements, comment: None }).collect()
}

pub(crate) fn equals(field: Field, value: Value) -> Statement {
    Statement::Match(field, Op::Eq, value)
}

pub(crate) fn base(kind: ChainKind, point: HookPoint, priority: i32, rules: Vec<Rule>) -> Row {
    Row::Chain(Chain { hook: Some(Hook { kind, point, priority }), rules })
}

pub(crate) fn prefix(net: &str) -> Value {
    Value::Prefix(net.parse().unwrap())
}

pub(crate) fn name(name: &str) -> Value {
    Value::Name(name.into())
}

pub(crate) fn v4(n: u8) -> Value {
    Value::Ipv4([10, 0, 0, n].into())
}

pub(crate) fn v6(n: u16) -> Value {
    Value::Ipv6([0xfd00, 0, 0, 0, 0, 0, 0, n].into())
}

pub(crate) fn mac(n: u8) -> Value {
    Value::Ether(Mac([2, 0, 0, 0, 0, n]))
}

/// Fields with values that print in a way of their own, in one family.
fn matches(family: TableFamily) -> Vec<(Field, Value)> {
    let mut matches = vec![
        (Field::Iifname, name("eth0")),
        (Field::Iifname, name("")),
        (Field::Iifname, name("sw*")),
        (Field::Oifname, name("a-name-of-15-by")),
        (Field::EtherSaddr, mac(1)),
        (Field::EtherDaddr, mac(1)),
        (Field::Ip4Saddr, v4(1)),
        (Field::Ip4Saddr, prefix("10.0.0.0/8")),
        (Field::Ip4Daddr, prefix("10.128.0.0/9")),
        (Field::Ip4Daddr, prefix("0.0.0.0/0")),
        (Field::Ip6Saddr, v6(1)),
        (Field::Ip6Saddr, prefix("fe80::/10")),
        (Field::Ip6Daddr, prefix("fd00::/64")),
        (Field::L4proto, Value::Number(6)),
        (Field::L4proto, Value::Number(58)),
        (Field::Sport, Value::Port(53)),
        (Field::Dport, Value::Port(65535)),
        (Field::Icmpv6Type, Value::Number(134)),
        (Field::Icmpv6Type, Value::Number(137)),
        (Field::Icmpv6Type, Value::Number(200)),
        (Field::Mark, Value::Mark(0x1234_5678)),
        (Field::Priority, Value::ClassId(0x0001_00a2)),
        (Field::Priority, Value::ClassId(0)),
        (Field::Random(7), Value::Mark(3)),
    ];
    match family {
        TableFamily::Inet => matches.extend([
            (Field::Nfproto, Value::Number(2)),
            (Field::Nfproto, Value::Number(10)),
            (Field::FibDaddrType, Value::Number(2)),
            (Field::FibDaddrType, Value::Number(5)),
            (Field::FibDaddrOif, Value::Number(0)),
            (Field::CtDirection, Value::Number(ORIGINAL)),
            (Field::CtDirection, Value::Number(REPLY)),
        ]),
        TableFamily::Bridge => matches.extend([
            (Field::ArpSaddrIp, v4(1)),
            (Field::ArpSaddrEther, mac(1)),
            (Field::EtherType, Value::Port(0x0806)),
            (Field::EtherType, Value::Port(0x86dd)),
            (Field::EtherType, Value::Port(0x1234)),
        ]),
    }
    matches
}

/// Every statement there is, alone in a rule, and the company it usually has.
fn statements(family: TableFamily) -> Vec<Vec<Statement>> {
    use Statement::Verdict as End;
    let mut all = Vec::new();
    for (field, value) in matches(family) {
        for op in [Op::Eq, Op::Ne] {
            all.push(vec![Statement::Match(field, op, value.clone()), End(Verdict::Accept)]);
        }
    }
    let tcp = || equals(Field::L4proto, Value::Number(6));
    let key = vec![Field::Iifname, Field::EtherSaddr, Field::Ip4Saddr];
    let udp = || equals(Field::L4proto, Value::Number(17));
    let net = |field, net| equals(field, prefix(net));
    let port = |field, port| equals(field, Value::Port(port));
    all.extend([
        vec![Statement::Counter, End(Verdict::Drop)],
        vec![End(Verdict::Return)],
        vec![End(Verdict::Jump(chain_name("called")))],
        vec![End(Verdict::Goto(chain_name("called")))],
        vec![Statement::SetMark(7), tcp(), port(Field::Dport, 80)],
        vec![Statement::SetMarkBits(0x0100_0000), tcp(), port(Field::Dport, 80)],
        vec![Statement::MarkBits(0x0600_0000), End(Verdict::Drop)],
        vec![tcp(), net(Field::Ip4Daddr, "10.0.0.0/8"), port(Field::Sport, 1)],
        vec![net(Field::Ip4Saddr, "10.0.0.0/8"), net(Field::Ip4Daddr, "10.0.0.0/9")],
        vec![udp(), port(Field::Dport, 8472), End(Verdict::Drop)],
        vec![net(Field::Ip6Saddr, "fe80::/10"), equals(Field::Icmpv6Type, Value::Number(135))],
        vec![Statement::Lookup(key.clone(), Op::Eq, set_name("pods")), End(Verdict::Accept)],
        vec![Statement::Lookup(key, Op::Ne, set_name("pods")), End(Verdict::Drop)],
        vec![
            Statement::Lookup(vec![Field::Ip4Daddr], Op::Ne, set_name("cluster")),
            Statement::Counter,
        ],
        vec![
            Statement::Lookup(vec![Field::Ip6Daddr], Op::Eq, set_name("cluster6")),
            Statement::Counter,
        ],
        vec![tcp(), Statement::Vmap(vec![Field::Dport], set_name("ports"))],
        vec![Statement::Vmap(vec![Field::Iifname], set_name("links"))],
    ]);
    if family == INET {
        all.extend(inet_statements());
    }
    all
}

/// Statements that a bridge does not have, or not in this kernel.
fn inet_statements() -> Vec<Vec<Statement>> {
    use Statement::{CtState as State, CtStatus as Status, Verdict as End};
    let states = [
        CtState::Established,
        CtState::Related,
        CtState::Invalid,
        CtState::New,
        CtState::Untracked,
    ];
    let status = [CtStatus::Dnat, CtStatus::Snat, CtStatus::Assured, CtStatus::Dying];
    let tcp = equals(Field::L4proto, Value::Number(6));
    vec![
        vec![State(states.into()), End(Verdict::Accept)],
        vec![State([CtState::New].into()), Status(status.into()), End(Verdict::Accept)],
        vec![tcp, Statement::Reject(RejectWith::TcpReset)],
        vec![Statement::Reject(RejectWith::PortUnreachable)],
        vec![equals(Field::FibDaddrType, Value::Number(2)), Status([CtStatus::Dnat].into())],
    ]
}

fn arp_statements() -> Vec<Vec<Statement>> {
    let key = vec![Field::Iifname, Field::ArpSaddrEther, Field::ArpSaddrIp];
    vec![
        vec![
            equals(Field::EtherType, Value::Port(0x0806)),
            Statement::Lookup(key, Op::Ne, set_name("pods")),
            Statement::Verdict(Verdict::Drop),
        ],
        vec![equals(Field::EtherType, Value::Port(0x0800)), Statement::Verdict(Verdict::Accept)],
    ]
}

/// Statements that only `nat` chains may hold.
fn nat_statements() -> Vec<Vec<Statement>> {
    let dnat = |side, ipv6, fields: &[Field], map: &str| {
        Statement::Nat(side, NatSource::Map { ipv6, fields: fields.to_vec(), map: set_name(map) })
    };
    let local = || equals(Field::FibDaddrType, Value::Number(2));
    let frontend4 = [Field::Ip4Daddr, Field::L4proto, Field::Dport];
    let frontend6 = [Field::Ip6Daddr, Field::L4proto, Field::Dport];
    let with =
        |before: &[Field], fields: &[Field], after: &[Field]| [before, fields, after].concat();
    let remember = |client: Field, frontend: &[Field], map: &str, op| Statement::Dynamic {
        op,
        map: set_name(map),
        key: with(&[client], frontend, &[]),
        data: vec![Field::Priority],
    };
    let choose = |frontend: &[Field], map: &str| {
        Statement::SetFrom(
            Writable::Priority,
            with(&[], frontend, &[Field::Random(3)]),
            set_name(map),
        )
    };
    let ranges = |frontend: &[Field], saddr, set: &str| {
        Statement::Lookup(with(&[], frontend, &[saddr]), Op::Ne, set_name(set))
    };
    vec![
        vec![ranges(&frontend4, Field::Ip4Saddr, "ranges4"), Statement::Counter],
        vec![ranges(&frontend6, Field::Ip6Saddr, "ranges6"), Statement::Verdict(Verdict::Drop)],
        vec![dnat(Nat::Dnat, false, &with(&[], &frontend4, &[Field::Random(300)]), "slots4")],
        vec![dnat(Nat::Dnat, true, &with(&[], &frontend6, &[Field::Random(1)]), "slots6")],
        vec![
            choose(&frontend4, "chosen4"),
            remember(Field::Ip4Saddr, &frontend4, "learned4", DynamicOp::Delete),
            remember(Field::Ip4Saddr, &frontend4, "learned4", DynamicOp::Update),
            dnat(Nat::Dnat, false, &with(&[], &frontend4, &[Field::Priority]), "members4"),
        ],
        vec![
            choose(&frontend6, "chosen6"),
            remember(Field::Ip6Saddr, &frontend6, "learned6", DynamicOp::Update),
            dnat(Nat::Dnat, true, &with(&[], &frontend6, &[Field::Priority]), "members6"),
        ],
        vec![
            Statement::SetFrom(Writable::Mark, frontend4.to_vec(), set_name("groups4")),
            Statement::Counter,
        ],
        vec![equals(Field::L4proto, Value::Number(6)), Statement::Reject(RejectWith::TcpReset)],
        vec![Statement::Reject(RejectWith::PortUnreachable)],
        vec![dnat(Nat::Dnat, false, &[Field::Ip4Daddr, Field::L4proto, Field::Dport], "dnat4")],
        vec![local(), dnat(Nat::Dnat, true, &[Field::L4proto, Field::Dport], "dnat6")],
        vec![equals(Field::Nfproto, Value::Number(2)), Statement::Counter],
    ]
}

fn post_statements() -> Vec<Vec<Statement>> {
    let random = Statement::Masquerade { fully_random: true };
    vec![
        vec![equals(Field::L4proto, Value::Number(6)), random],
        vec![Statement::Masquerade { fully_random: false }],
    ]
}

/// Sets of every type, with elements.
fn sets(family: TableFamily) -> Vec<(Key, Row)> {
    let mut sets = Declared { family, rows: Vec::new() };
    let single = |keys: Vec<Value>| keys.into_iter().map(|key| vec![key]).collect::<Vec<_>>();
    let nets = |nets: &str| single(nets.split_whitespace().map(prefix).collect());
    let names = single(vec![name("eth0"), name("a-name-of-15-by")]);
    let protocols = single([6, 17, 132, 200].map(Value::Number).into());
    sets.set("v4", &[Type::Ipv4Addr], false, single((0..5).map(v4).collect()));
    sets.set("v6", &[Type::Ipv6Addr], false, single((0..3).map(v6).collect()));
    sets.set("mac", &[Type::EtherAddr], false, single(vec![mac(1), mac(2)]));
    sets.set("proto", &[Type::InetProto], false, protocols);
    sets.set("port", &[Type::InetService], false, single((80..91).map(Value::Port).collect()));
    sets.set("name", &[Type::IfName], false, names);
    sets.set("mark", &[Type::Mark], false, single((1..7).map(Value::Mark).collect()));
    let adjacent = "10.0.0.0/25 10.0.0.128/25 10.0.1.0/32 10.0.1.1/32 192.168.0.0/16";
    sets.set("cluster", &[Type::Ipv4Addr], true, nets(adjacent));
    sets.set("last", &[Type::Ipv4Addr], true, nets("255.255.255.255/32 240.0.0.0/5 0.0.0.0/32"));
    let adjacent = "fd00::/64 fd00:0:0:1::/64 ::1/128 ff00::/8";
    sets.set("cluster6", &[Type::Ipv6Addr], true, nets(adjacent));
    sets.set("everything", &[Type::Ipv4Addr], true, nets("0.0.0.0/0"));
    sets.set("everything6", &[Type::Ipv6Addr], true, nets("::/0"));
    sets.set("empty", &[Type::Ipv4Addr, Type::Mark], false, vec![]);
    let pods = vec![vec![name("sw0"), mac(1), v4(1)], vec![name("sw1"), mac(2), v4(2)]];
    sets.set("pods", &[Type::IfName, Type::EtherAddr, Type::Ipv4Addr], false, pods);
    sets.rows
}

/// Maps to values and to verdicts, with elements.
fn maps(family: TableFamily) -> Vec<(Key, Row)> {
    let mut maps = Declared { family, rows: Vec::new() };
    let called = || chain_name("called");
    let verdicts = [
        Verdict::Accept,
        Verdict::Drop,
        Verdict::Return,
        Verdict::Jump(called()),
        Verdict::Goto(called()),
    ];
    let ports = (80..).zip(verdicts).map(|(port, to)| (vec![Value::Port(port)], Data::Verdict(to)));
    maps.map("ports", &[Type::InetService], DataType::Verdict, false, ports.collect());
    let link = (vec![name("sw0")], Data::Verdict(Verdict::Goto(called())));
    maps.map("links", &[Type::IfName], DataType::Verdict, false, vec![link]);
    let marks = [("10.0.0.0/24", 1), ("10.0.1.0/24", 2), ("10.0.2.0/24", 2)]
        .map(|(net, mark)| (vec![prefix(net)], Data::Values([Value::Mark(mark)].into())));
    let mark = DataType::Values(vec![Type::Mark]);
    maps.map("nets", &[Type::Ipv4Addr], mark, true, marks.into());
    let key = [Type::Ipv4Addr, Type::InetProto, Type::InetService];
    let to = DataType::Values(vec![Type::Ipv4Addr, Type::InetService]);
    let frontend = vec![v4(1), Value::Number(6), Value::Port(80)];
    let backend = Data::Values([v4(9), Value::Port(8080)].into());
    maps.map("dnat4", &key, to, false, vec![(frontend, backend)]);
    let to = DataType::Values(vec![Type::Ipv6Addr, Type::InetService]);
    let backend = Data::Values([v6(9), Value::Port(5353)].into());
    let frontend = vec![Value::Number(17), Value::Port(53)];
    maps.map("dnat6", &key[1..], to, false, vec![(frontend, backend)]);
    services(&mut maps, v4, Type::Ipv4Addr, "4");
    services(&mut maps, |n| v6(n.into()), Type::Ipv6Addr, "6");
    maps.rows
}

/// Maps with chance and memory, and a set of ranges behind a frontend.
fn services(maps: &mut Declared, addr: impl Fn(u8) -> Value, kind: Type, family: &str) {
    let named = |name: &str| format!("{name}{family}");
    let frontend = || vec![addr(1), Value::Number(6), Value::Port(80)];
    let key = |last| [kind, Type::InetProto, Type::InetService, last];
    let to = || DataType::Values(vec![kind, Type::InetService]);
    let class = || DataType::Values(vec![Type::ClassId]);
    let with = |last| [frontend(), vec![last]].concat();
    let backend = || Data::Values([addr(9), Value::Port(8080)].into());
    let slot = vec![(with(Value::Mark(1)), backend())];
    maps.map(&named("slots"), &key(Type::Mark), to(), false, slot);
    let class_of = |class| Data::Values([Value::ClassId(class)].into());
    let chosen = vec![
        (with(Value::Mark(1)), class_of(0x0a00_0001)),
        (with(Value::Mark(0)), class_of(u32::MAX)),
    ];
    maps.map(&named("chosen"), &key(Type::Mark), class(), false, chosen);
    let member = vec![(with(Value::ClassId(0x0a00_0001)), backend())];
    maps.map(&named("members"), &key(Type::ClassId), to(), false, member);
    let group = vec![(frontend(), Data::Values([Value::Mark(0xcafe)].into()))];
    maps.map(&named("groups"), &key(kind)[..3], DataType::Values(vec![Type::Mark]), false, group);
    let nets = if kind == Type::Ipv6Addr {
        ["fd00::/8", "2001:db8::1/128", "::/0"]
    } else {
        ["10.0.0.0/8", "192.0.2.1/32", "0.0.0.0/0"]
    };
    let range = |(port, net)| vec![addr(1), Value::Number(6), Value::Port(port), prefix(net)];
    let ranges = [80, 80, 81].into_iter().zip(nets).map(range).collect();
    maps.set(&named("ranges"), &key(kind), true, ranges);
    let learned = Set {
        key: vec![kind, kind, Type::InetProto, Type::InetService],
        data: Some(class()),
        interval: false,
        size: Some(1024),
        dynamic: Some(Dynamic { timeout: Duration::from_secs(97_230) }),
    };
    maps.rows.push((Key::Set(maps.family, set_name(&named("learned"))), Row::Set(learned.into())));
}

/// Sets and maps of one family, and their elements.
struct Declared {
    family: TableFamily,
    rows: Vec<(Key, Row)>,
}

impl Declared {
    fn set(&mut self, name: &str, key: &[Type], interval: bool, elements: Vec<Vec<Value>>) {
        let set = Set { key: key.to_vec(), data: None, interval, size: None, dynamic: None };
        self.rows.push((Key::Set(self.family, set_name(name)), Row::Set(set.into())));
        let element = |key: Vec<Value>| {
            (Key::Element(self.family, set_name(name), key.into()), Row::Element(None))
        };
        self.rows.extend(elements.into_iter().map(element));
    }

    fn map(
        &mut self,
        name: &str,
        key: &[Type],
        to: DataType,
        interval: bool,
        elements: Vec<(Vec<Value>, Data)>,
    ) {
        let set = Set { key: key.to_vec(), data: Some(to), interval, size: None, dynamic: None };
        self.rows.push((Key::Set(self.family, set_name(name)), Row::Set(set.into())));
        let element = |(key, data): (Vec<Value>, Data)| {
            (Key::Element(self.family, set_name(name), key.into()), Row::Element(Some(data)))
        };
        self.rows.extend(elements.into_iter().map(element));
    }
}

/// A table that holds every shape of every row.
pub(crate) fn everything() -> Rows {
    let mut rows = Rows::default();
    for family in [INET, BRIDGE] {
        rows.insert(Key::Table(family), Row::Table);
        rows.extend(sets(family));
        rows.extend(maps(family));
        rows.insert(Key::Chain(family, chain_name("called")), Row::Chain(Chain::default()));
        let mut forward = rules(statements(family));
        forward[0].comment = Some("shop/web: why \u{e4}nd what".to_owned());
        let key = Key::Chain(family, chain_name("forward"));
        rows.insert(key, base(ChainKind::Filter, HookPoint::Forward, 5, forward));
    }
    let key = |family, name: &str| Key::Chain(family, chain_name(name));
    let (pre, post) = (rules(nat_statements()), rules(post_statements()));
    rows.insert(key(INET, "pre"), base(ChainKind::Nat, HookPoint::Prerouting, -100, pre.clone()));
    rows.insert(key(INET, "out"), base(ChainKind::Nat, HookPoint::Output, -100, pre));
    rows.insert(key(INET, "post"), base(ChainKind::Nat, HookPoint::Postrouting, 100, post));
    rows.insert(key(INET, "in"), base(ChainKind::Filter, HookPoint::Input, -155, vec![]));
    rows.insert(
        key(BRIDGE, "pre"),
        base(ChainKind::Filter, HookPoint::Prerouting, -300, rules(arp_statements())),
    );
    rows.insert(key(BRIDGE, "out"), base(ChainKind::Filter, HookPoint::Output, 100, vec![]));
    rows
}
