//! Rules by which packets of DNS pass connection tracking by.
//!
//! What is not tracked is not translated: the rules of Services never see it, and it reaches who listens
//! on this node. So parallel questions from one port can't lose each other either (DNS-110).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use model::{Family, Protocol};
use plan::Table;
use plan::nft::{Field, HookPoint, Key, Op, Row, Rule, Statement, TableFamily, Type, Value};

use crate::ruleset::{self, Ruleset, by_family, lookup};

/// The rows of a table that leaves packets to and from `places` untracked, over UDP and TCP.
pub fn untracked<'a>(places: impl IntoIterator<Item = &'a SocketAddr>) -> Table<Key, Row> {
    let mut rows = Table::default();
    let mut rules = Ruleset::new(&mut rows, TableFamily::Inet);
    for (set, addr) in [("answered4", Type::Ipv4Addr), ("answered6", Type::Ipv6Addr)] {
        rules.set(set, &[addr, Type::InetProto, Type::InetService]);
    }
    let places: BTreeSet<&SocketAddr> = places.into_iter().collect();
    for place in places {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let set = by_family(Family::of(place.ip()), "answered4", "answered6");
            rules.element(set, element(place.ip(), protocol, place.port()));
        }
    }
    let questions = || Family::ALL.map(|family| notrack(family, "questions", true));
    let answers = Family::ALL.map(|family| notrack(family, "answers", false));
    let before = ruleset::before_conntrack;
    rules.base_chain("from_others", before(HookPoint::Prerouting), questions().into());
    rules.base_chain("from_here", before(HookPoint::Output), [questions(), answers].concat());
    rows
}

fn element(addr: IpAddr, protocol: Protocol, port: u16) -> Vec<Value> {
    vec![addr.into(), Value::Number(protocol.number()), Value::Port(port)]
}

/// The packets of `family` that go to the places, or come from there.
fn notrack(family: Family, why: &str, is_to: bool) -> Rule {
    let (addr, port) = match is_to {
        true => (by_family(family, Field::Ip4Daddr, Field::Ip6Daddr), Field::Dport),
        false => (by_family(family, Field::Ip4Saddr, Field::Ip6Saddr), Field::Sport),
    };
    let set = by_family(family, "answered4", "answered6");
    let matches = lookup(&[addr, Field::L4proto, port], Op::Eq, set);
    ruleset::rule(vec![matches, Statement::Notrack], why)
}
