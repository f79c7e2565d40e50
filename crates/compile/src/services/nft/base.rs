//! The chains that are there whatever Services there are.

use model::Family;
use plan::nft::{
    Chain, ChainKind, ChainName, CtStatus, Field, Hook, HookPoint, Op, RejectWith, Rule, Statement,
    Value, Verdict,
};

use super::names::{Map, Names, Place, frontend};
use crate::ruleset::{self, MASQUERADE, by_family};

/// Before hostPorts (-100): a Service has a frontend that a container wants, too.
const BEFORE_HOST_PORTS: i32 = -105;

/// Where packets of Services end that change in this moment: what went on would go on untranslated.
pub(super) const CHANGED: &str = "changed";

/// The chains by name.
pub(super) fn chains(names: &mut Names) -> Vec<(ChainName, Chain)> {
    let dnat = |point| Hook { kind: ChainKind::Nat, point, priority: BEFORE_HOST_PORTS };
    let go = Statement::Verdict(Verdict::Goto(name("services")));
    let enter = |why| vec![ruleset::rule(vec![go.clone()], why)];
    let masquerade = vec![
        Statement::CtStatus([CtStatus::Dnat].into()),
        Statement::MarkBits(MASQUERADE),
        Statement::Masquerade { fully_random: true },
    ];
    let leaving = vec![ruleset::rule(masquerade, "so that answers come by here")];
    let base = |hook, rules| Chain { hook: Some(hook), rules };
    let plain = |rules| Chain { hook: None, rules };
    vec![
        (name("services_in"), base(dnat(HookPoint::Prerouting), enter("first packets of flows"))),
        (name("services_out"), base(dnat(HookPoint::Output), enter("the node's own"))),
        (name("services_leaving"), base(ruleset::source_nat(), leaving)),
        (name("services"), plain(services(names))),
        (name("refused"), plain(refused())),
        (name("dropped"), plain(vec![ruleset::drop(Vec::new(), "no endpoint to use")])),
        (name(CHANGED), plain(vec![ruleset::drop(Vec::new(), "its client sends it again")])),
    ]
}

fn name(chain: &str) -> ChainName {
    ChainName(chain.into())
}

/// By frontend; what is left is no Service's.
fn services(names: &mut Names) -> Vec<Rule> {
    let mut rules = Vec::new();
    let daddr = |family| by_family(family, Field::Ip4Daddr, Field::Ip6Daddr);
    for family in Family::ALL {
        let map = names.of(Map::Frontends, Place::Address, family);
        let find = Statement::Vmap(frontend(Place::Address, family), map);
        rules.push(ruleset::rule(vec![find], "a Service's address and port"));
    }
    for family in Family::ALL {
        let addrs = names.of(Map::NodeAddrs, Place::Address, family);
        let here = Statement::Lookup(vec![daddr(family)], Op::Eq, addrs);
        let map = names.of(Map::Frontends, Place::Node, family);
        let find = Statement::Vmap(frontend(Place::Node, family), map);
        rules.push(ruleset::rule(vec![here, find], "a node port"));
    }
    for family in Family::ALL {
        let ips = names.of(Map::Ips, Place::Address, family);
        let active = Statement::Lookup(vec![daddr(family)], Op::Eq, ips);
        let refuse = Statement::Verdict(Verdict::Goto(name("refused")));
        rules.push(ruleset::rule(vec![active, refuse], "no port of the Service"));
        let cidrs = names.of(Map::Cidrs, Place::Address, family);
        let within = Statement::Lookup(vec![daddr(family)], Op::Eq, cidrs);
        rules.push(ruleset::drop(vec![within], "no Service has this address"));
        rules.push(strayed(names, family));
    }
    rules
}

/// Whoever sent it here takes the address for this node's, and would again if it were routed on.
fn strayed(names: &mut Names, family: Family) -> Rule {
    let (saddr, daddr) =
        by_family(family, (Field::Ip4Saddr, Field::Ip4Daddr), (Field::Ip6Saddr, Field::Ip6Daddr));
    let pods = by_family(family, "local_pods4", "local_pods6");
    let vips = names.of(Map::Vips, Place::Address, family);
    let statements = vec![
        Statement::Lookup(vec![daddr], Op::Eq, vips),
        Statement::Match(Field::Iifname, Op::Ne, Value::Name("".into())),
        ruleset::lookup(&[saddr], Op::Ne, pods),
        Statement::Match(Field::FibDaddrType, Op::Ne, ruleset::FIB_LOCAL),
    ];
    ruleset::drop(statements, "no Service has this port of its address")
}

/// The client knows at once.
fn refused() -> Vec<Rule> {
    let tcp = Statement::Match(Field::L4proto, Op::Eq, Value::Number(6));
    let reset = Statement::Reject(RejectWith::TcpReset);
    let unreachable = Statement::Reject(RejectWith::PortUnreachable);
    vec![
        ruleset::rule(vec![tcp, Statement::Counter, reset], "connection refused"),
        ruleset::rule(vec![Statement::Counter, unreachable], "port unreachable"),
    ]
}
