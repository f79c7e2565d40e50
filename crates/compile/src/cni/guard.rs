//! What a container may send: packets with its own hardware and IP address, and no router's words; on the
//! bridge, to the node and to no port beside its own, where nobody would ask who may speak with whom.
//!
//! Everything else is dropped at the first hook the packet meets: `prerouting` of the bridge for
//! bridged containers (ARP included), of IP for routed ones, before conntrack in both.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use model::{Family, Mac, NodeName, PodLinkMode};
use plan::Plan;
use plan::nft::Verdict;
use plan::nft::{ChainName, Field, HookPoint, Op, Rule, Statement, TableFamily, Type, Value};

use super::{Joined, bridge};
use crate::ruleset::{self, Ruleset, by_family, lookup};

/// ICMPv6 types no container has a reason to send, with that reason. Advertisements and redirects
/// would move neighbors (T04, T05).
const NOT_FROM_PODS: [(u8, &str); 6] = [
    (133, "pods get their routes from the node"),
    (134, "pods are no routers: no advertisements"),
    (135, "neighbors are static: pods need no NDP"),
    (136, "neighbors are static: pods answer for nobody"),
    (137, "pods are no routers: no redirects"),
    (143, "nobody listens to multicast reports"),
];

/// The rules that hold for every container of the node.
pub(super) fn node(mode: PodLinkMode, me: &NodeName, plan: &mut Plan) {
    loopback(plan);
    let family = family(mode);
    let mut rules = Ruleset::new(&mut plan.nft, family);
    rules.set("pod_links", &[Type::IfName]);
    rules.set("pod_addrs4", &[Type::IfName, Type::EtherAddr, Type::Ipv4Addr]);
    rules.set("pod_addrs6", &[Type::IfName, Type::EtherAddr, Type::Ipv6Addr]);
    let goto = Statement::Verdict(Verdict::Goto(ChainName("from_pod".into())));
    rules.base_chain(
        "pod_sources",
        ruleset::before_conntrack(HookPoint::Prerouting),
        vec![ruleset::rule(
            vec![lookup(&[Field::Iifname], Op::Eq, "pod_links"), goto],
            "every packet a pod sends",
        )],
    );
    rules.chain("from_pod", from_pod(mode, me));
}

/// The elements of one container.
pub(super) fn attachment(mode: PodLinkMode, joined: &Joined, plan: &mut Plan) {
    let mut rules = Ruleset::new(&mut plan.nft, family(mode));
    let link = || Value::Name(joined.host_link.as_str().into());
    rules.element("pod_links", vec![link()]);
    for addr in &joined.addrs {
        let set = by_family(Family::of(*addr), "pod_addrs4", "pod_addrs6");
        rules.element(set, vec![link(), joined.link.mac.into(), (*addr).into()]);
    }
}

fn family(mode: PodLinkMode) -> TableFamily {
    match mode {
        PodLinkMode::Routed => TableFamily::Inet,
        PodLinkMode::Bridge => TableFamily::Bridge,
    }
}

fn from_pod(mode: PodLinkMode, me: &NodeName) -> Vec<Rule> {
    let icmpv6 = |(kind, why): (u8, &str)| {
        let of_type = Statement::Match(Field::Icmpv6Type, Op::Eq, Value::Number(kind));
        ruleset::rule(vec![of_type, Statement::Verdict(Verdict::Drop)], why)
    };
    let own = |to: Option<Statement>, fields: &[&[Field]], set: &str, why: &str| {
        let mut statements: Vec<Statement> = to.into_iter().collect();
        statements.extend(fields.iter().map(|key| lookup(key, Op::Eq, set)));
        statements.push(Statement::Verdict(Verdict::Accept));
        ruleset::rule(statements, why)
    };
    let to_node = || {
        let is_to = |mac: Mac| Statement::Match(Field::EtherDaddr, Op::Eq, mac.into());
        (mode == PodLinkMode::Bridge).then(|| is_to(bridge::mac(me)))
    };
    let (link, ether) = (Field::Iifname, Field::EtherSaddr);
    let mut rules: Vec<Rule> = NOT_FROM_PODS.into_iter().map(icmpv6).collect();
    for (addr, set) in [(Field::Ip4Saddr, "pod_addrs4"), (Field::Ip6Saddr, "pod_addrs6")] {
        rules.push(own(to_node(), &[&[link, ether, addr]], set, "its own address"));
    }
    if mode == PodLinkMode::Bridge {
        let sender: [&[Field]; 2] =
            [&[link, ether, Field::ArpSaddrIp], &[link, Field::ArpSaddrEther, Field::ArpSaddrIp]];
        rules.push(own(None, &sender, "pod_addrs4", "ARP in its own name"));
    }
    rules.push(ruleset::drop(Vec::new(), "not the pod's own address"));
    rules
}

/// 127/8 stays on the machine, whatever `route_localnet` says (T01, CVE-2020-8558).
fn loopback(plan: &mut Plan) {
    let net = IpNet::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8);
    let net = Value::Prefix(net.expect("8 bits fit an IPv4 prefix"));
    let wire = || Statement::Match(Field::Iifname, Op::Ne, Value::Name("lo".into()));
    let rules = [Field::Ip4Daddr, Field::Ip4Saddr].map(|field| {
        let matches = vec![wire(), Statement::Match(field, Op::Eq, net.clone())];
        ruleset::drop(matches, "loopback addresses come from no wire")
    });
    Ruleset::new(&mut plan.nft, TableFamily::Inet).base_chain(
        "loopback",
        ruleset::before_conntrack(HookPoint::Prerouting),
        rules.into(),
    );
}
