//! Tables against text that nft 1.0.6 printed for them. `kernel/tests/nft.rs` asks nft itself.

use std::collections::BTreeSet;

use super::*;
use crate::nft::{
    ChainKind, ChainName, CtState, DataType, Field, Hook, HookPoint, Nat, NatSource, Op, Rule,
    Statement, Value, Verdict,
};

fn key(element: &str, of: &str) -> Key {
    let values = element.split(' ').map(|word| match word.parse() {
        Ok(addr) => Value::from(std::net::IpAddr::V4(addr)),
        Err(_) => word.parse().map_or(Value::Number(6), Value::Port),
    });
    Key::Element(TableFamily::Inet, SetName(of.into()), values.collect())
}

fn matches(field: Field, value: Value) -> Statement {
    Statement::Match(field, Op::Eq, value)
}

fn rule(statements: Vec<Statement>, comment: Option<&str>) -> Rule {
    Rule { statements, comment: comment.map(str::to_owned) }
}

fn forward() -> Chain {
    let lookup = vec![Field::Iifname, Field::EtherSaddr, Field::Ip4Saddr];
    let ports = vec![Field::Ip4Daddr, Field::L4proto, Field::Dport];
    let source = NatSource::Map { ipv6: false, fields: ports, map: SetName("ports".into()) };
    let states = BTreeSet::from([CtState::Related, CtState::Established]);
    Chain {
        hook: Some(Hook { kind: ChainKind::Filter, point: HookPoint::Forward, priority: 5 }),
        rules: vec![
            rule(
                vec![
                    matches(Field::Iifname, Value::Name("sw*".into())),
                    Statement::CtState(states),
                    Statement::Verdict(Verdict::Accept),
                ],
                Some("flows that began"),
            ),
            rule(
                vec![
                    Statement::Lookup(lookup, Op::Ne, SetName("pods".into())),
                    Statement::Counter,
                    Statement::Verdict(Verdict::Jump(ChainName("spoofed".into()))),
                ],
                None,
            ),
            rule(
                vec![
                    matches(Field::L4proto, Value::Number(17)),
                    matches(Field::Icmpv6Type, Value::Number(134)),
                    matches(Field::Dport, Value::Port(53)),
                    matches(Field::L4proto, Value::Number(6)),
                    Statement::SetMark(1),
                ],
                None,
            ),
            rule(vec![Statement::Nat(Nat::Dnat, source)], None),
        ],
    }
}

#[test]
fn a_table_prints_as_nft_lists_it() {
    let inet = TableFamily::Inet;
    let map = Set {
        key: vec![Type::Ipv4Addr, Type::InetProto, Type::InetService],
        data: Some(DataType::Values(vec![Type::Ipv4Addr, Type::InetService])),
        interval: false,
        size: None,
        dynamic: None,
    };
    let set =
        Set { key: vec![Type::Ipv4Addr], data: None, interval: true, size: None, dynamic: None };
    let cluster = SetName("cluster".into());
    let prefix = |net: &str| {
        Key::Element(inet, cluster.clone(), [Value::Prefix(net.parse().unwrap())].into())
    };
    let to = vec![Value::Ipv4([10, 244, 1, 2].into()), Value::Port(8080)];
    let table: Table<Key, Row> = [
        (Key::Table(inet), Row::Table),
        (Key::Set(inet, cluster.clone()), Row::Set(set.into())),
        (Key::Set(inet, SetName("ports".into())), Row::Set(map.into())),
        (prefix("10.244.0.0/16"), Row::Element(None)),
        (prefix("192.0.2.1/32"), Row::Element(None)),
        (prefix("198.51.100.0/24"), Row::Element(None)),
        (key("10.0.0.1 tcp 80", "ports"), Row::Element(Some(Data::Values(to.into())))),
        (Key::Chain(inet, ChainName("forward".into())), Row::Chain(forward())),
        (Key::Chain(inet, ChainName("spoofed".into())), Row::Chain(Chain::default())),
    ]
    .into_iter()
    .collect();
    let expected = r#"table inet seaway {
	set cluster {
		type ipv4_addr
		flags interval
		elements = { 10.244.0.0/16, 192.0.2.1,
			     198.51.100.0/24 }
	}

	map ports {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
		elements = { 10.0.0.1 . tcp . 80 : 10.244.1.2 . 8080 }
	}

	chain forward {
		type filter hook forward priority filter + 5; policy accept;
		iifname "sw*" ct state established,related accept comment "flows that began"
		iifname . ether saddr . ip saddr != @pods counter jump spoofed
		icmpv6 type nd-router-advert udp dport 53 meta l4proto tcp meta mark set 0x00000001
		dnat ip to ip daddr . meta l4proto . th dport map @ports
	}

	chain spoofed {
	}
}
"#;
    assert_eq!(list(&table, inet), expected);
}

#[test]
fn rows_print_on_one_line() {
    let element = key("10.0.0.1 tcp 80", "ports");
    assert_eq!(element.to_string(), "element inet seaway ports 10.0.0.1 . tcp . 80");
    let chain = Chain {
        hook: Some(Hook { kind: ChainKind::Nat, point: HookPoint::Output, priority: -100 }),
        rules: vec![rule(vec![Statement::Masquerade { fully_random: true }], Some("x"))],
    };
    assert_eq!(
        Row::Chain(chain).to_string(),
        "{ type nat hook output priority -100; masquerade fully-random comment \"x\"; }"
    );
}
