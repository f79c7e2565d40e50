//! Rules for packets of DNS, while somebody on the node answers.
//!
//! To addresses that every node has for itself they pass connection tracking by. What is not tracked is
//! not translated: the rules of Services never see it, and it reaches who listens on this node. So
//! parallel questions from one port can't lose each other either (DNS-110).
//!
//! What a client sends beyond its rate is dropped before it gets to a socket: what waits there is what
//! all clients have in common, and it is full long before somebody reads who has filled it (DNS-96;
//! docs/decisions/0029).

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::time::Duration;

use model::{Family, Protocol};
use plan::nft::{
    ChainName, Field, HookPoint, Key, Op, Rate, Row, Rule, Statement, TableFamily, Type, Value,
    Verdict,
};
use plan::{Listener, Table};

use crate::ruleset::{self, Ruleset, by_family, lookup, name};

/// How many clients have a bucket. It is full again long before it is forgotten.
const BUCKETS: (u32, Duration) = (1 << 16, Duration::from_secs(10));

/// A bucket holds what comes in a tenth of a second.
const BURSTS_PER_SECOND: u32 = 10;

/// The rows of a table for packets to `listeners`, over UDP and TCP, of which each client may send
/// `packets_per_second`, if that is bounded at all.
pub fn untracked<'a>(
    listeners: impl IntoIterator<Item = &'a Listener>,
    packets_per_second: Option<NonZero<u32>>,
) -> Table<Key, Row> {
    let mut rows = Table::default();
    let mut rules = Ruleset::new(&mut rows, TableFamily::Inet);
    for set in [ANSWERED, BY_NODES] {
        for family in Family::ALL {
            rules.set(set.of(family), &[address(family), Type::InetProto, Type::InetService]);
        }
    }
    for listener in listeners {
        let (set, place) = match listener {
            Listener::Local(place) => (ANSWERED, place),
            Listener::Node(place) => (BY_NODES, place),
            Listener::Client(_) => continue,
        };
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let set = set.of(Family::of(place.ip()));
            rules.element(set, element(*place, protocol));
        }
    }
    let excess = |family| packets_per_second.map(|rate| excess(family, rate));
    let mut from_others = Vec::new();
    for family in Family::ALL {
        if packets_per_second.is_some() {
            rules.learned(CLIENTS.of(family), &[address(family)], BUCKETS);
        }
        let notrack = ruleset::rule(vec![Statement::Notrack], "questions");
        rules.chain(QUESTIONS.of(family), excess(family).into_iter().chain([notrack]).collect());
        let ask = Verdict::Goto(ChainName(QUESTIONS.of(family).into()));
        let asks = vec![to(family, ANSWERED), Statement::Verdict(ask)];
        from_others.push(ruleset::rule(asks, "questions"));
        from_others.extend(excess(family).map(|mut rule| {
            rule.statements.insert(0, to(family, BY_NODES));
            rule
        }));
    }
    let notrack = |matches| vec![matches, Statement::Notrack];
    let questions = Family::ALL.map(|f| ruleset::rule(notrack(to(f, ANSWERED)), "questions"));
    let answers = Family::ALL.map(|f| ruleset::rule(notrack(from(f, ANSWERED)), "answers"));
    let before = ruleset::before_conntrack;
    rules.base_chain("from_others", before(HookPoint::Prerouting), from_others);
    // What processes here ask comes by the other chain afterwards.
    rules.base_chain("from_here", before(HookPoint::Output), [questions, answers].concat());
    rows
}

/// A name for each family.
#[derive(Clone, Copy)]
struct Names([&'static str; 2]);

const ANSWERED: Names = Names(["answered4", "answered6"]);
const BY_NODES: Names = Names(["by_nodes4", "by_nodes6"]);
const CLIENTS: Names = Names(["clients4", "clients6"]);
const QUESTIONS: Names = Names(["questions4", "questions6"]);

impl Names {
    fn of(self, family: Family) -> &'static str {
        by_family(family, self.0[0], self.0[1])
    }
}

fn address(family: Family) -> Type {
    by_family(family, Type::Ipv4Addr, Type::Ipv6Addr)
}

fn element(place: SocketAddr, protocol: Protocol) -> Vec<Value> {
    let addr: IpAddr = place.ip();
    vec![addr.into(), Value::Number(protocol.number()), Value::Port(place.port())]
}

/// Drops what a client sends beyond its rate.
fn excess(family: Family, per_second: NonZero<u32>) -> Rule {
    let burst = NonZero::new(per_second.get() / BURSTS_PER_SECOND).unwrap_or(NonZero::<u32>::MIN);
    let excess = Statement::Excess {
        set: name(CLIENTS.of(family)),
        key: vec![by_family(family, Field::Ip4Saddr, Field::Ip6Saddr)],
        rate: Rate { per_second, burst },
    };
    ruleset::drop(vec![excess], "more than a client may ask")
}

/// A packet of `family` goes to a place in the set.
fn to(family: Family, set: Names) -> Statement {
    let addr = by_family(family, Field::Ip4Daddr, Field::Ip6Daddr);
    lookup(&[addr, Field::L4proto, Field::Dport], Op::Eq, set.of(family))
}

/// A packet of `family` comes from a place in the set.
fn from(family: Family, set: Names) -> Statement {
    let addr = by_family(family, Field::Ip4Saddr, Field::Ip6Saddr);
    lookup(&[addr, Field::L4proto, Field::Sport], Op::Eq, set.of(family))
}

#[cfg(test)]
mod tests {
    use plan::nft::list;

    use super::*;

    fn listed(rate: Option<u32>) -> String {
        let places = ["10.96.0.10:53", "[fd00:96::a]:53"].map(|place| place.parse().unwrap());
        let node = Listener::Node("192.0.2.1:10053".parse().unwrap());
        let client = Listener::Client("10.0.0.0/8".parse().unwrap());
        let listeners = places.map(Listener::Local).into_iter().chain([node, client]);
        let listeners: Vec<Listener> = listeners.collect();
        let rows = untracked(&listeners, rate.map(|rate| NonZero::new(rate).unwrap()));
        list(&rows, TableFamily::Inet)
    }

    #[test]
    fn dns96_packets_to_places_are_bounded_by_client_and_those_of_clusters_own_are_not_tracked() {
        let text = listed(Some(5000));
        for line in [
            "elements = { 10.96.0.10 . tcp . 53,\n\t\t\t     10.96.0.10 . udp . 53 }",
            "elements = { 192.0.2.1 . tcp . 10053,\n\t\t\t     192.0.2.1 . udp . 10053 }",
            "ip daddr . meta l4proto . th dport @answered4 goto questions4",
            "ip6 daddr . meta l4proto . th dport @answered6 goto questions6",
            "ip daddr . meta l4proto . th dport @by_nodes4 update @clients4 { ip saddr limit rate over 5000/second burst 500 packets } counter drop",
            "\tchain questions6 {\n\t\tupdate @clients6 { ip6 saddr limit rate over 5000/second burst 500 packets } counter drop comment \"more than a client may ask\"\n\t\tnotrack",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert_eq!(text.matches("update @clients").count(), 4, "not of what goes out: {text}");
    }

    #[test]
    fn without_a_rate_nothing_is_dropped() {
        let text = listed(None);
        assert!(!text.contains("drop") && !text.contains("clients"), "{text}");
        assert!(text.contains("\tchain questions4 {\n\t\tnotrack"), "{text}");
    }
}
