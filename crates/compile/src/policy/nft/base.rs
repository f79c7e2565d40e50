//! The chains and sets that are there whatever policies say.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZero;

use model::{Direction, DropReason, Family, Protocol};
use plan::Table;
use plan::nft::{
    ChainKind, ChainName, CtState, Field, Hook, HookPoint, Key, ORIGINAL, Op, REPLY, Rate, Row,
    Rule, Statement, TableFamily, Type, Value, Verdict,
};

use super::super::Places;
use super::super::dns::OVER;
use super::super::endings::{Ending, LOG_GROUP, Way};
use super::super::judge::DISCOVERY;
use super::Around;
use crate::ruleset::{self, Ruleset, by_family, lookup, name};

/// The bits of a connection's mark that hold the number of the policies that allowed it: the byte that is
/// Seaway's in marks of packets, too.
pub const GENERATION: u32 = 0xff00_0000;

/// The number that allowed connections bear.
const ALLOWED_BY: &str = "policy_generation";

/// What has no connection ends here.
const STRAYS: &str = "policy_strays";

/// How many packets of each ending and way are shown: enough to find out what is wrong, and no work worth
/// mentioning where a pod floods.
const SHOWN: Rate = Rate {
    per_second: NonZero::new(10).expect("not zero"),
    burst: NonZero::new(50).expect("not zero"),
};

/// What is allowed ends here.
const ALLOWED: &str = "policy_allowed";

/// Protocol numbers of ICMP and ICMPv6.
const ERRORS: [u8; 2] = [1, 58];

/// The map that leads from a pod's address to what is asked about it.
pub(super) fn dispatch(direction: Direction, family: Family) -> &'static str {
    match direction {
        Direction::Egress => by_family(family, "policy_egress4", "policy_egress6"),
        Direction::Ingress => by_family(family, "policy_ingress4", "policy_ingress6"),
    }
}

/// The map that leads from a pod's address to what is asked about what it sends its own node.
pub(super) fn to_node(family: Family) -> &'static str {
    by_family(family, "policy_to_node4", "policy_to_node6")
}

/// The addresses of pods that are asked about.
pub(super) fn policed(family: Family) -> &'static str {
    by_family(family, "policed4", "policed6")
}

/// Pairs of one address with itself.
pub(super) fn itself(family: Family) -> &'static str {
    by_family(family, "policy_self4", "policy_self6")
}

/// The node's own addresses.
pub(super) fn own_node(family: Family) -> &'static str {
    by_family(family, "policy_node4", "policy_node6")
}

/// Who began a connection.
pub(super) fn client(family: Family) -> Field {
    by_family(family, Field::Client4, Field::Client6)
}

/// Who answers it.
pub(super) fn server(family: Family) -> Field {
    by_family(family, Field::Server4, Field::Server6)
}

/// The map that leads from a pod's address to what is said of its questions to the cluster's DNS.
pub(super) fn questions(family: Family) -> &'static str {
    by_family(family, "policy_dns4", "policy_dns6")
}

/// Pods that are asked about and may ask the cluster's DNS, each with the protocols that they may use.
pub(super) fn askers(family: Family) -> &'static str {
    by_family(family, "policy_dns_askers4", "policy_dns_askers6")
}

/// The addresses of all nodes, which answer each other's pods.
fn nodes(family: Family) -> &'static str {
    by_family(family, "policy_dns_nodes4", "policy_dns_nodes6")
}

/// The type of a family's addresses.
pub(super) fn addr_type(family: Family) -> Type {
    by_family(family, Type::Ipv4Addr, Type::Ipv6Addr)
}

/// The constant rows. Packets that are dropped are shown where the kernel `has_log`; questions to the cluster's
/// DNS are asked about where nodes answer them.
pub(super) fn lower(
    number: NonZero<u8>,
    has_log: bool,
    dns: Option<&Places>,
    rules: &mut Ruleset<'_>,
) {
    for family in Family::ALL {
        let addr = addr_type(family);
        for direction in [Direction::Egress, Direction::Ingress] {
            rules.verdicts(dispatch(direction, family), &[addr]);
        }
        rules.verdicts(to_node(family), &[addr]);
        rules.set(policed(family), &[addr]);
        rules.set(itself(family), &[addr, addr]);
        rules.set(own_node(family), &[addr]);
        if dns.is_some() {
            rules.verdicts(questions(family), &[addr]);
            rules.set(askers(family), &[addr, Type::InetProto]);
            rules.set(nodes(family), &[addr]);
        }
    }
    // Every packet is looked up here. It has one number, and another one while that comes.
    rules.small_set(ALLOWED_BY, &[Type::Mark], 16);
    numbered(number, rules);
    let filter = |point| Hook { kind: ChainKind::Filter, point, priority: 0 };
    if dns.is_some() {
        let ends = || goto(&unknown(Direction::Egress));
        let over =
            |by: Protocol| Statement::Match(Field::L4proto, Op::Eq, Value::Number(by.number()));
        let rules_of =
            OVER.map(|by| ruleset::rule(vec![over(by), ends()], "nobody knows who asks"));
        rules.chain(UNKNOWN_ASKS, rules_of.into());
    }
    let node_port = dns.map(|places| places.node_port);
    rules.base_chain("policy_forward", filter(HookPoint::Forward), forward(node_port));
    rules.base_chain("policy_input", filter(HookPoint::Input), input(node_port));
    rules.chain(STRAYS, strays());
    for ending in Ending::all() {
        rules.chain(&ending.chain(), ended(ending, has_log));
    }
}

/// What becomes of packets at their ending: some are shown, all are counted, and dropped unless they only would be.
fn ended(ending: Ending, has_log: bool) -> Vec<Rule> {
    let shown = |(going, way): (Option<Statement>, Option<Way>)| {
        let prefix = ending.prefix(way).as_str().into();
        let log = Statement::Log { prefix, group: LOG_GROUP };
        let statements = going.into_iter().chain([Statement::Limit(SHOWN), log]).collect();
        Rule { statements, comment: None }
    };
    let going = |number| Statement::Match(Field::CtDirection, Op::Eq, Value::Number(number));
    let both = [(going(ORIGINAL), Way::There), (going(REPLY), Way::Back)];
    let both = both.map(|(going, way)| (Some(going), Some(way)));
    // Of what goes out only questions to the node's own DNS are not tracked, so they have no direction.
    let question = (Some(Statement::CtState([CtState::Untracked].into())), Some(Way::There));
    let ways = match ending.direction {
        _ if !has_log => Vec::new(),
        None => vec![(None, None)],
        Some(Direction::Egress) => both.into_iter().chain([question]).collect(),
        Some(Direction::Ingress) => both.into(),
    };
    let last = match ending.is_audit {
        true => ruleset::rule(vec![Statement::Counter], &ending.comment()),
        false => ruleset::drop(Vec::new(), &ending.comment()),
    };
    ways.into_iter().map(shown).chain([last]).collect()
}

/// To where packets end that are dropped for this reason, or would be.
pub(super) fn ends(reason: DropReason, direction: Direction, is_audit: bool) -> Verdict {
    let ending = Ending { reason, direction: Some(direction), is_audit };
    Verdict::Goto(ChainName(ending.chain().into()))
}

/// Where questions of pods lead that are not known yet. Of what is not tracked, discovery has no such protocol.
pub(super) const UNKNOWN_ASKS: &str = "policy_dns_unknown";

/// Where pods lead that are not known yet.
pub(super) fn unknown(direction: Direction) -> String {
    let reason = DropReason::UnknownPod;
    Ending { reason, direction: Some(direction), is_audit: false }.chain()
}

/// Brings the node's own addresses from those of `old` to those of `new`, and those of all nodes.
pub(super) fn node(old: &Around, new: &Around, rules: &mut Ruleset<'_>) {
    follow(own_node, &old.node, &new.node, rules);
    if let Some(dns) = &new.dns {
        let none = BTreeSet::new();
        follow(nodes, old.dns.as_ref().map_or(&none, |old| &old.nodes), &dns.nodes, rules);
    }
}

/// Brings the sets of both families from `old` to `new`.
fn follow(
    set: fn(Family) -> &'static str,
    old: &BTreeSet<IpAddr>,
    new: &BTreeSet<IpAddr>,
    rules: &mut Ruleset<'_>,
) {
    for addr in old.difference(new) {
        rules.remove(set(Family::of(*addr)), vec![(*addr).into()]);
    }
    for addr in new.difference(old) {
        rules.element(set(Family::of(*addr)), vec![(*addr).into()]);
    }
}

/// The rows that say which number the policies have.
pub(super) fn numbered(number: NonZero<u8>, rules: &mut Ruleset<'_>) {
    let value = mark(number);
    rules.element(ALLOWED_BY, vec![Value::Mark(value)]);
    let mark = Statement::SetConnectionMark { mask: GENERATION, value };
    rules.chain(ALLOWED, vec![ruleset::rule(vec![mark], "by the policies of this number")]);
}

/// The element that is the number.
pub(super) fn allowed_by(number: NonZero<u8>) -> Key {
    Key::Element(TableFamily::Inet, name(ALLOWED_BY), [Value::Mark(mark(number))].into())
}

/// The number as it stands in a connection's mark.
fn mark(number: NonZero<u8>) -> u32 {
    u32::from(number.get()) << GENERATION.trailing_zeros()
}

/// The number that the policies of these rows have; `None` where there are no policies.
pub fn generation(rows: &Table<Key, Row>) -> Option<NonZero<u8>> {
    let key = Key::Chain(TableFamily::Inet, ChainName(ALLOWED.into()));
    let Some(Row::Chain(chain)) = rows.get(&key) else { return None };
    let mut statements = chain.rules.iter().flat_map(|rule| &rule.statements);
    statements.find_map(|statement| {
        let Statement::SetConnectionMark { mask: GENERATION, value } = statement else {
            return None;
        };
        u8::try_from(value >> GENERATION.trailing_zeros()).ok().and_then(NonZero::new)
    })
}

/// Between pods and anybody who is not a process of the node: both ends are asked. Where the own node has no
/// agent, questions to the cluster's DNS go to another node's port, which has been led there by the Service's
/// rules; whoever may ask the one may ask the other.
fn forward(node_port: Option<u16>) -> Vec<Rule> {
    let stray = Statement::CtState([CtState::Invalid, CtState::Untracked].into());
    let mut rules = established();
    rules.push(ruleset::rule(vec![stray, goto(STRAYS)], "no connection to judge"));
    for (port, family) in node_port.into_iter().flat_map(|port| Family::ALL.map(|f| (port, f))) {
        let may = lookup(&[client(family), Field::L4proto], Op::Eq, askers(family));
        let node = lookup(&[server(family)], Op::Eq, nodes(family));
        let statements = vec![at_port(port), may, node, goto(ALLOWED)];
        rules.push(ruleset::rule(statements, "another node's DNS, by who may ask"));
    }
    rules.extend(asked(Direction::Egress));
    rules.extend(asked(Direction::Ingress));
    rules.push(ruleset::rule(vec![goto(ALLOWED)], "both ends allow it"));
    rules
}

/// From pods to the node itself, which is no matter of NetworkPolicies (NP-N24). What it sends them is not asked about (NP-N19). What is not tracked here is
/// discovery, and questions to the cluster's DNS: those are asked about although they go to the own node (NP-U9),
/// at its port, too.
fn input(node_port: Option<u16>) -> Vec<Rule> {
    let stray = Statement::CtState([CtState::Invalid].into());
    let untracked = || Statement::CtState([CtState::Untracked].into());
    let ask = |end, family| leads(end, questions(family));
    let mut rules = established();
    for family in Family::ALL.into_iter().filter(|_| node_port.is_some()) {
        let saddr = by_family(family, Field::Ip4Saddr, Field::Ip6Saddr);
        rules.push(ruleset::rule(vec![untracked(), ask(saddr, family)], "who asks the DNS"));
    }
    rules.push(ruleset::rule(vec![untracked(), accept()], "the node's own DNS"));
    rules.push(ruleset::rule(vec![stray, goto(STRAYS)], "no connection to judge"));
    for (port, family) in node_port.into_iter().flat_map(|port| Family::ALL.map(|f| (port, f))) {
        let statements = vec![at_port(port), ask(client(family), family)];
        rules.push(ruleset::rule(statements, "who asks the DNS at the node's port"));
    }
    rules.extend(
        Family::ALL.map(|family| {
            ruleset::rule(vec![leads(client(family), to_node(family))], "who began it")
        }),
    );
    rules.push(ruleset::rule(vec![goto(ALLOWED)], "its pod may send it"));
    rules
}

/// What is not asked about again: an error has its connection's mark, but not its protocol.
fn established() -> Vec<Rule> {
    let known = Statement::ConnectionMarkIn(GENERATION, name(ALLOWED_BY));
    let mut rules = vec![ruleset::rule(vec![known, accept()], "allowed by these policies")];
    rules.extend(ERRORS.map(|protocol| {
        let icmp = Statement::Match(Field::L4proto, Op::Eq, Value::Number(protocol));
        let related = Statement::CtState([CtState::Related].into());
        ruleset::rule(vec![icmp, related, accept()], "errors of connections")
    }));
    rules
}

fn asked(direction: Direction) -> [Rule; 2] {
    Family::ALL.map(|family| {
        let (end, why) = match direction {
            Direction::Egress => (client(family), "who began it"),
            Direction::Ingress => (server(family), "who answers it"),
        };
        ruleset::rule(vec![leads(end, dispatch(direction, family))], why)
    })
}

/// Packets that belong to no connection, by their addresses: nothing else is known of them.
fn strays() -> Vec<Rule> {
    let mut rules: Vec<Rule> = DISCOVERY
        .map(|kind| {
            let of_type = Statement::Match(Field::Icmpv6Type, Op::Eq, Value::Number(kind));
            ruleset::rule(vec![of_type, accept()], "what addresses are found by")
        })
        .into();
    let ending = Ending { reason: DropReason::NoConnection, direction: None, is_audit: false };
    let (stray, why) = (ending.chain(), ending.reason.to_string());
    for family in Family::ALL {
        let (saddr, daddr) = by_family(
            family,
            (Field::Ip4Saddr, Field::Ip4Daddr),
            (Field::Ip6Saddr, Field::Ip6Daddr),
        );
        for end in [saddr, daddr] {
            let is_policed = lookup(&[end], Op::Eq, policed(family));
            rules.push(ruleset::rule(vec![is_policed, goto(&stray)], &why));
        }
    }
    rules
}

/// The server answers at `port`.
fn at_port(port: u16) -> Statement {
    Statement::Match(Field::ServerPort, Op::Eq, Value::Port(port))
}

/// Where `map` leads this end of a connection.
fn leads(end: Field, map: &str) -> Statement {
    Statement::Vmap(vec![end], name(map))
}

fn accept() -> Statement {
    Statement::Verdict(Verdict::Accept)
}

fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(ChainName(chain.into())))
}
