//! Truth tables of the walk.

use std::collections::BTreeSet;

use model::Mac;

use super::*;
use crate::nft::Connection;
use crate::nft::{DynamicOp, Hook, Network, ORIGINAL, REPLY, Set, Transport, Type, fib_type};

fn chain(name: &str) -> ChainName {
    ChainName(name.into())
}

fn set(name: &str) -> SetName {
    SetName(name.into())
}

/// A rule that is its statements, with `name` as its comment so that traces can be read.
fn rule(name: &str, statements: Vec<Statement>) -> Rule {
    Rule { statements, comment: Some(name.to_owned()) }
}

fn verdict(verdict: Verdict) -> Statement {
    Statement::Verdict(verdict)
}

fn base(kind: ChainKind, priority: i32, rules: Vec<Rule>) -> Row {
    let hook = Hook { kind, point: HookPoint::Forward, priority };
    Row::Chain(Chain { hook: Some(hook), rules })
}

fn key(name: &str) -> Key {
    Key::Chain(TableFamily::Inet, chain(name))
}

fn element(of: &str, values: Vec<Value>, data: Option<Data>) -> (Key, Row) {
    (Key::Element(TableFamily::Inet, set(of), values.into()), Row::Element(data))
}

/// A TCP packet from a pod to another host.
fn packet() -> Packet {
    Packet {
        iif: Some("sw0".parse().unwrap()),
        oif: Some("eth0".parse().unwrap()),
        ether: Some((Mac([2; 6]), Mac([4; 6]))),
        network: Network::Ip {
            src: "10.0.0.1".parse().unwrap(),
            dst: "192.0.2.1".parse().unwrap(),
            transport: Transport::Ports { protocol: 6, sport: 999, dport: 80 },
        },
        ct_state: CtState::New,
        ct_status: BTreeSet::new(),
        is_reply: false,
        connection: None,
        mark: 5,
        priority: 6,
    }
}

fn run<'a>(table: &'a Table<Key, Row>, packet: &Packet) -> Walk<'a> {
    let links = BTreeSet::from(["198.51.100.0/24".parse().unwrap()]);
    let local = BTreeSet::from(["192.0.2.1".parse().unwrap()]);
    walk(
        table,
        TableFamily::Inet,
        HookPoint::Forward,
        packet,
        &Surroundings { local, links, ..Surroundings::default() },
    )
}

fn trace(walk: &Walk<'_>) -> String {
    let names = walk.trace.iter().map(|step| step.rule.comment.clone().unwrap_or_default());
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_match_compares_the_packets_field_and_a_missing_field_never_matches() {
    use Value::{Ether, Ipv4, Ipv6, Mark, Name, Number, Port, Prefix};
    let (v4, v6) = ("10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap());
    let name = |name: &str| Name(name.into());
    let net = |net: &str| Prefix(net.parse().unwrap());
    // field, value, whether `==` matches, whether `!=` matches
    let cases = [
        (Field::Iifname, name("sw0"), true, false),
        (Field::Iifname, name("sw*"), true, false),
        (Field::Iifname, name("sw"), false, true),
        (Field::Oifname, name("eth1"), false, true),
        (Field::EtherSaddr, Ether(Mac([2; 6])), true, false),
        (Field::EtherDaddr, Ether(Mac([2; 6])), false, true),
        (Field::EtherType, Port(0x0800), true, false),
        (Field::Ip4Saddr, Ipv4(v4), true, false),
        (Field::Ip4Saddr, net("10.0.0.0/8"), true, false),
        (Field::Ip4Daddr, net("10.0.0.0/8"), false, true),
        (Field::Ip6Saddr, Ipv6(v6), false, false),
        (Field::Ip6Daddr, net("::/0"), false, false),
        (Field::ArpSaddrIp, Ipv4(v4), false, false),
        (Field::ArpSaddrEther, Ether(Mac([2; 6])), false, false),
        (Field::Nfproto, Number(2), true, false),
        (Field::L4proto, Number(17), false, true),
        (Field::Sport, Port(999), true, false),
        (Field::Dport, Port(81), false, true),
        (Field::Icmpv6Type, Number(134), false, false),
        (Field::Mark, Mark(5), true, false),
        (Field::FibDaddrType, Number(fib_type::LOCAL), true, false),
    ];
    for (field, value, equal, unequal) in cases {
        for (op, expected) in [(Op::Eq, equal), (Op::Ne, unequal)] {
            let statements =
                vec![Statement::Match(field, op, value.clone()), verdict(Verdict::Drop)];
            let rows = [(key("c"), base(ChainKind::Filter, 0, vec![rule("r", statements)]))];
            let dropped = run(&rows.into_iter().collect(), &packet()).outcome == Outcome::Drop;
            assert_eq!(dropped, expected, "{field:?} {op:?} {value:?}");
        }
    }
}

#[test]
fn verdicts_lead_through_chains_as_in_the_kernel() {
    use Verdict::{Accept, Drop, Goto, Jump, Return};
    // verdict of the first rule, and the trace with the rule after it, one called chain, one later
    // base chain
    let cases = [
        (Accept, Accept, "first later", Outcome::Accept),
        (Drop, Accept, "first", Outcome::Drop),
        (Return, Accept, "first later", Outcome::Accept),
        (Jump(chain("called")), Return, "first called second later", Outcome::Accept),
        (Jump(chain("called")), Accept, "first called later", Outcome::Accept),
        (Jump(chain("called")), Drop, "first called", Outcome::Drop),
        (Goto(chain("called")), Return, "first called later", Outcome::Accept),
        (Jump(chain("absent")), Return, "first second later", Outcome::Accept),
    ];
    for (first, called, expected, outcome) in cases {
        let rules = vec![
            rule("first", vec![verdict(first.clone())]),
            rule("second", vec![Statement::Counter]),
        ];
        let callee = Chain { hook: None, rules: vec![rule("called", vec![verdict(called)])] };
        let later = vec![rule("later", vec![Statement::Counter])];
        let rows = [
            (key("a"), base(ChainKind::Filter, 7, later)),
            (key("b"), base(ChainKind::Filter, -7, rules)),
            (key("called"), Row::Chain(callee)),
        ];
        let table = rows.into_iter().collect();
        let walk = run(&table, &packet());
        assert_eq!((trace(&walk).as_str(), walk.outcome), (expected, outcome), "{first:?}");
    }
}

#[test]
fn sets_hold_exact_keys_and_interval_sets_the_longest_prefix() {
    let declared = |interval| {
        Row::Set(
            Set { key: vec![Type::Ipv4Addr], data: None, interval, size: None, dynamic: None }
                .into(),
        )
    };
    let fields = vec![Field::Ip4Saddr];
    let cases =
        [("10.0.0.0/8", true), ("10.0.0.1/32", true), ("0.0.0.0/0", true), ("11.0.0.0/8", false)];
    for (prefix, found) in cases {
        for (op, expected) in [(Op::Eq, found), (Op::Ne, !found)] {
            let statements =
                vec![Statement::Lookup(fields.clone(), op, set("s")), verdict(Verdict::Drop)];
            let table = [
                (Key::Set(TableFamily::Inet, set("s")), declared(true)),
                element("s", vec![Value::Prefix(prefix.parse().unwrap())], None),
                (key("c"), base(ChainKind::Filter, 0, vec![rule("r", statements)])),
            ];
            let dropped = run(&table.into_iter().collect(), &packet()).outcome == Outcome::Drop;
            assert_eq!(dropped, expected, "{prefix} {op:?}");
        }
    }
}

#[test]
fn a_verdict_map_leads_on_and_a_miss_goes_to_the_next_rule() {
    let vmap = Statement::Vmap(vec![Field::L4proto, Field::Dport], set("m"));
    for (port, outcome) in [(80, Outcome::Drop), (81, Outcome::Accept)] {
        let to = Some(Data::Verdict(Verdict::Drop));
        let table = [
            element("m", vec![Value::Number(6), Value::Port(port)], to),
            (key("c"), base(ChainKind::Filter, 0, vec![rule("r", vec![vmap.clone()])])),
        ];
        assert_eq!(run(&table.into_iter().collect(), &packet()).outcome, outcome, "{port}");
    }
}

#[test]
fn nat_is_chosen_once_for_the_first_packet_of_a_flow_by_the_first_map_that_leads_somewhere() {
    let nat = |map: &str| {
        let source = NatSource::Map { ipv6: false, fields: vec![Field::Dport], map: set(map) };
        rule(map, vec![Statement::Nat(Nat::Dnat, source)])
    };
    let to = vec![Value::Ipv4("10.0.0.9".parse().unwrap()), Value::Port(8080)];
    let masquerade = rule("masquerade", vec![Statement::Masquerade { fully_random: true }]);
    let table: Table<Key, Row> = [
        element("full", vec![Value::Port(80)], Some(Data::Values(to.into()))),
        (key("a"), base(ChainKind::Nat, -100, vec![nat("empty"), nat("full"), nat("full")])),
        (key("b"), base(ChainKind::Nat, 100, vec![masquerade])),
    ]
    .into_iter()
    .collect();
    let addr = "10.0.0.9".parse().unwrap();
    let rewrite = Rewrite::To { side: Nat::Dnat, addr, port: 8080 };
    let walk = run(&table, &packet());
    assert_eq!((walk.rewrite, trace(&walk).as_str()), (Some(rewrite), "full"));
    let later = Packet { ct_state: CtState::Established, ..packet() };
    assert_eq!(run(&table, &later).rewrite, None);
}

#[test]
fn flags_match_when_one_is_set_and_marks_stay_for_later_chains() {
    let states = BTreeSet::from([CtState::Established, CtState::New]);
    let status = BTreeSet::from([crate::nft::CtStatus::Dnat]);
    let reject = Statement::Reject(RejectWith::TcpReset);
    let table: Table<Key, Row> = [
        (
            key("a"),
            base(
                ChainKind::Filter,
                0,
                vec![
                    rule("state", vec![Statement::CtState(states), Statement::SetMark(9)]),
                    rule("status", vec![Statement::CtStatus(status), Statement::SetMark(1)]),
                ],
            ),
        ),
        (
            key("b"),
            base(
                ChainKind::Filter,
                1,
                vec![rule(
                    "mark",
                    vec![Statement::Match(Field::Mark, Op::Eq, Value::Mark(9)), reject],
                )],
            ),
        ),
    ]
    .into_iter()
    .collect();
    let walk = run(&table, &packet());
    assert_eq!((trace(&walk).as_str(), walk.mark), ("state mark", 9));
    assert_eq!(walk.outcome, Outcome::Reject(RejectWith::TcpReset));
}

#[test]
fn chains_behind_a_translation_see_what_it_made_and_marks_keep_foreign_bits() {
    let equals = |field, value| Statement::Match(field, Op::Eq, value);
    let status = || Statement::CtStatus([crate::nft::CtStatus::Dnat].into());
    let source = NatSource::Map { ipv6: false, fields: vec![Field::Dport], map: set("m") };
    let to = vec![Value::Ipv4("10.0.0.9".parse().unwrap()), Value::Port(8080)];
    let mark = |name, direction, bit| {
        let direction = equals(Field::CtDirection, Value::Number(direction));
        let port = equals(Field::Dport, Value::Port(8080));
        rule(name, vec![status(), direction, port, Statement::SetMarkBits(bit)])
    };
    let behind = vec![mark("there", ORIGINAL, 0x100), mark("back", REPLY, 0x200)];
    let table: Table<Key, Row> = [
        element("m", vec![Value::Port(80)], Some(Data::Values(to.into()))),
        (
            key("a"),
            base(ChainKind::Nat, -100, vec![rule("dnat", vec![Statement::Nat(Nat::Dnat, source)])]),
        ),
        (key("b"), base(ChainKind::Filter, -90, behind)),
    ]
    .into_iter()
    .collect();
    let walk = run(&table, &packet());
    assert_eq!((trace(&walk).as_str(), walk.mark), ("dnat there", 0x105));
    let transport = Transport::Ports { protocol: 6, sport: 999, dport: 8080 };
    let network = match packet().network {
        Network::Ip { src, dst, .. } => Network::Ip { src, dst, transport },
        other @ (Network::Arp { .. } | Network::Other(_)) => other,
    };
    let status = [crate::nft::CtStatus::Dnat].into();
    let state = CtState::Established;
    let answer = Packet { network, ct_state: state, ct_status: status, is_reply: true, ..packet() };
    assert_eq!(run(&table, &answer).mark, 0x205);
    let untracked = Packet { ct_state: CtState::Untracked, ..answer };
    assert_eq!(run(&table, &untracked).mark, 5);
}

/// NP-U2: the destination is where a translation leads, the source who began, on the way back as well.
#[test]
fn a_connection_is_known_by_its_ends_and_its_mark_whichever_way_a_packet_goes() {
    let ends = |client: &str, server: &str| Connection {
        client: client.parse().unwrap(),
        server: server.parse().unwrap(),
        mark: 0x77,
    };
    let of = |connection| Packet { connection, ..packet() };
    let lookup = |fields: &[Field]| Statement::Lookup(fields.to_vec(), Op::Eq, set("ends"));
    let port = Statement::Within(Field::ServerPort, 8080, 8081);
    let admit = Statement::SetConnectionMark { mask: 0xf0, value: 0x50 };
    let rules = vec![
        rule(
            "admitted",
            vec![Statement::ConnectionMarkIn(0xf0, set("now")), verdict(Verdict::Accept)],
        ),
        rule("of IPv6", vec![lookup(&[Field::Client6])]),
        rule("ends", vec![lookup(&[Field::Client4, Field::Server4]), port, admit]),
    ];
    let addr = |addr: &str| Value::Ipv4(addr.parse().unwrap());
    let table: Table<Key, Row> = [
        element("ends", vec![addr("10.0.0.1"), addr("10.0.0.9")], None),
        element("now", vec![Value::Mark(0x50)], None),
        (key("forward"), base(ChainKind::Filter, 0, rules)),
    ]
    .into_iter()
    .collect();
    let cases = [
        (Some(ends("10.0.0.1", "10.0.0.9:8080")), "ends", Some(0x57)),
        (
            Some(Connection { mark: 0x1_0057, ..ends("10.0.0.1", "10.0.0.9:8080") }),
            "admitted",
            Some(0x1_0057),
        ),
        (Some(ends("10.0.0.1", "10.0.0.9:8082")), "", Some(0x77)),
        (Some(ends("10.0.0.9", "10.0.0.1:8080")), "", Some(0x77)),
        (Some(ends("fd00::1", "[fd00::9]:8080")), "", Some(0x77)),
        (None, "", None),
    ];
    for (connection, rules, mark) in cases {
        let packet = of(connection);
        let walk = run(&table, &packet);
        assert_eq!((trace(&walk).as_str(), walk.connection_mark), (rules, mark), "{connection:?}");
    }
}

#[test]
fn address_types_follow_the_nodes_addresses_and_links() {
    let surroundings = Surroundings {
        local: BTreeSet::from(["192.0.2.1".parse().unwrap()]),
        links: BTreeSet::from(["192.0.2.0/24".parse().unwrap()]),
        ..Surroundings::default()
    };
    let cases = [
        ("192.0.2.1", fib_type::LOCAL),
        ("127.0.0.5", fib_type::LOCAL),
        ("::1", fib_type::LOCAL),
        ("192.0.2.255", fib_type::BROADCAST),
        ("255.255.255.255", fib_type::BROADCAST),
        ("224.0.0.1", fib_type::MULTICAST),
        ("ff02::1", fib_type::MULTICAST),
        ("198.51.100.1", fib_type::UNICAST),
    ];
    for (addr, expected) in cases {
        assert_eq!(surroundings.fib_type(addr.parse().unwrap()), expected, "{addr}");
    }
}

#[test]
fn a_packet_learns_and_is_remembered_by_chance_and_priority() {
    let choose = |key: &str| {
        vec![
            Statement::SetFrom(Writable::Priority, vec![Field::Random(2)], set(key)),
            Statement::Dynamic {
                op: DynamicOp::Update,
                map: set("learned"),
                key: vec![Field::Ip4Saddr],
                data: vec![Field::Priority],
            },
            Statement::SetMarkBits(0x10),
        ]
    };
    let recall = Statement::SetFrom(Writable::Priority, vec![Field::Ip4Saddr], set("learned"));
    let done = verdict(Verdict::Accept);
    let rules = vec![
        rule("remembered", vec![recall, done]),
        rule("no such map", choose("nothing")),
        rule("chosen", choose("chances")),
    ];
    let chances = [(0, 7), (1, 8)].map(|(chance, class)| {
        let leads_to = Data::Values([Value::ClassId(class)].into());
        element("chances", vec![Value::Mark(chance)], Some(leads_to))
    });
    let forward = (key("forward"), base(ChainKind::Filter, 0, rules));
    let table: Table<Key, Row> = chances.into_iter().chain([forward]).collect();
    let mut surroundings = Surroundings { random: 5, ..Surroundings::default() };
    let at = |surroundings: &Surroundings| {
        walk(&table, TableFamily::Inet, HookPoint::Forward, &packet(), surroundings)
    };
    let first = at(&surroundings);
    assert_eq!((first.mark, first.chances), (0x15, 2), "chosen");
    assert_eq!(first.learned.values().collect::<Vec<_>>(), [&[Value::ClassId(8)].into()]);
    surroundings.learned = first.learned.clone();
    surroundings.random = 4;
    let second = at(&surroundings);
    assert_eq!((second.mark, second.chances), (5, 1), "remembered");
    assert_eq!(second.learned, first.learned);
}
