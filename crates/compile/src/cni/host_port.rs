//! hostPorts: ports of the node that lead to a container.
//!
//! A packet to an address of this node (`fib daddr type local`, and nothing else: T08) and a mapped
//! port goes to the container. An entry with a `hostIP` wins over one without. Packets of the node
//! itself follow the same maps, unless they come from 127/8 or ::1: those never leave the machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::{AttachmentKey, Dns, Family, PortMapping, Protocol, World};
use plan::Plan;
use plan::nft::{
    ChainName, CtStatus, Field, HookPoint, Nat, NatSource, Op, Rule, Statement, TableFamily, Type,
    Value, Verdict,
};

use super::Joined;
use crate::ruleset::{self, Ruleset, by_family, lookup};

/// Why a port mapping is not honored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Port 0 on either side.
    #[error("port 0 is no port: {host_port} to {container_port}")]
    Zero {
        /// On the node.
        host_port: u16,
        /// In the container.
        container_port: u16,
    },
    /// The address is not this node's.
    #[error("hostIP {0} is no address of this node")]
    Foreign(IpAddr),
    /// The node answers DNS there itself.
    #[error("hostPort {0}/{1} is where other nodes ask this one about names (--dns-node-port)")]
    Dns(u16, Protocol),
    /// Another container has the port.
    #[error("hostPort {port}/{protocol} is taken by {holder}")]
    Taken {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
        /// Who has it.
        holder: AttachmentKey,
    },
}

/// Whether `port` makes sense on this machine. An unspecified hostIP (0.0.0.0, ::) means every
/// address of its family; loopback is the machine's own.
pub(super) fn usable(port: &PortMapping, world: &World) -> Result<(), PortError> {
    let PortMapping { host_port, container_port, host_ip, protocol } = *port;
    if host_port == 0 || container_port == 0 {
        return Err(PortError::Zero { host_port, container_port });
    }
    let dns = &world.config.dns;
    if dns.is_served && host_port == dns.node_port && protocol != Protocol::Sctp {
        return Err(PortError::Dns(host_port, protocol));
    }
    let is_ours = |ip| world.host.uplink_of(ip).is_some();
    match host_ip {
        Some(ip) if !ip.is_unspecified() && !ip.is_loopback() && !is_ours(ip) => {
            Err(PortError::Foreign(ip))
        }
        _ => Ok(()),
    }
}

/// The hostPorts that are taken so far.
#[derive(Debug, Default)]
pub(super) struct Claims {
    taken: BTreeMap<(Protocol, u16), Vec<Claim>>,
}

/// The hostIP a port is taken on, and who has it there.
type Claim = (Option<IpAddr>, AttachmentKey);

impl Claims {
    /// Takes `port` for `key`, unless another has it on an address that `port` wants as well.
    pub(super) fn claim(
        &mut self,
        key: &AttachmentKey,
        port: &PortMapping,
    ) -> Result<(), PortError> {
        let holders = self.taken.entry((port.protocol, port.host_port)).or_default();
        match holders.iter().find(|(ip, _)| clash(*ip, port.host_ip)) {
            Some((_, holder)) => Err(PortError::Taken {
                port: port.host_port,
                protocol: port.protocol,
                holder: holder.clone(),
            }),
            None => {
                holders.push((port.host_ip, key.clone()));
                Ok(())
            }
        }
    }
}

/// Whether two hostIPs stand for a common address. (Source: the scheduler's NodePorts filter, which
/// knows 0.0.0.0; :: likewise for IPv6.)
fn clash(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return true };
    a == b || (Family::of(a) == Family::of(b) && (a.is_unspecified() || b.is_unspecified()))
}

/// Maps and chains of the node.
pub(super) fn node(dns: &Dns, plan: &mut Plan) {
    let mut rules = Ruleset::new(&mut plan.nft, TableFamily::Inet);
    let (proto, port) = (Type::InetProto, Type::InetService);
    for (v4, addr) in [(true, Type::Ipv4Addr), (false, Type::Ipv6Addr)] {
        let pick = |four, six| if v4 { four } else { six };
        rules.map(pick("host_ports4", "host_ports6"), &[proto, port], &[addr, port]);
        rules.map(pick("host_ip_ports4", "host_ip_ports6"), &[addr, proto, port], &[addr, port]);
    }
    let jump = || Statement::Verdict(Verdict::Jump(ChainName("host_ports".into())));
    let local = || Statement::Match(Field::FibDaddrType, Op::Eq, ruleset::FIB_LOCAL);
    let localhost4 = IpNet::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8).expect("8 bits fit");
    let not_loopback = |field, value| Statement::Match(field, Op::Ne, value);
    rules.base_chain(
        "host_ports_in",
        ruleset::destination_nat(HookPoint::Prerouting),
        vec![ruleset::rule(vec![local(), jump()], "hostPorts of this node's addresses only")],
    );
    let why = "the node's own connections, except from loopback";
    rules.base_chain(
        "host_ports_out",
        ruleset::destination_nat(HookPoint::Output),
        vec![
            ruleset::rule(
                vec![not_loopback(Field::Ip4Saddr, localhost4.into()), local(), jump()],
                why,
            ),
            ruleset::rule(
                vec![
                    not_loopback(Field::Ip6Saddr, Value::Ipv6(Ipv6Addr::LOCALHOST)),
                    local(),
                    jump(),
                ],
                why,
            ),
        ],
    );
    rules.chain("host_ports", [names(dns), translations()].concat());
    hairpin(&mut rules);
}

/// Where every node answers DNS for itself, nobody else does, whether it answers or not (T08). What is a
/// Service's has gone to the Service before.
fn names(dns: &Dns) -> Vec<Rule> {
    let addrs = dns.local_addrs.iter().filter(|_| dns.is_served);
    let rule = |addr: &IpAddr| {
        let daddr = by_family(Family::of(*addr), Field::Ip4Daddr, Field::Ip6Daddr);
        let is_there = Statement::Match(daddr, Op::Eq, (*addr).into());
        ruleset::rule(vec![is_there, Statement::Verdict(Verdict::Return)], "DNS of the node")
    };
    addrs.map(rule).collect()
}

/// The more specific map first.
fn translations() -> Vec<Rule> {
    let to = |ipv6, fields: Vec<Field>, map: &str, why| {
        let source = NatSource::Map { ipv6, fields, map: ruleset::name(map) };
        ruleset::rule(vec![Statement::Nat(Nat::Dnat, source)], why)
    };
    let (proto, port) = (Field::L4proto, Field::Dport);
    vec![
        to(false, vec![Field::Ip4Daddr, proto, port], "host_ip_ports4", "with a hostIP"),
        to(false, vec![proto, port], "host_ports4", "on every address"),
        to(true, vec![Field::Ip6Daddr, proto, port], "host_ip_ports6", "with a hostIP"),
        to(true, vec![proto, port], "host_ports6", "on every address"),
    ]
}

/// A container that reaches itself by way of the node must see the node instead: it would take its own
/// answers for strangers'.
fn hairpin(rules: &mut Ruleset<'_>) {
    let ends = [
        (Type::Ipv4Addr, Field::Ip4Saddr, Field::Ip4Daddr, "hairpins4"),
        (Type::Ipv6Addr, Field::Ip6Saddr, Field::Ip6Daddr, "hairpins6"),
    ];
    let chain = ends.map(|(addr, saddr, daddr, set)| {
        rules.set(set, &[addr, addr]);
        let translated = Statement::CtStatus([CtStatus::Dnat].into());
        let masquerade = Statement::Masquerade { fully_random: false };
        let matches = vec![translated, lookup(&[saddr, daddr], Op::Eq, set), masquerade];
        ruleset::rule(matches, "a pod that reaches itself")
    });
    rules.base_chain("hairpin", ruleset::source_nat(), chain.into());
}

/// Pods of another network, which Services may lead to themselves as well.
pub(super) fn others(world: &World, plan: &mut Plan) {
    let mut rules = Ruleset::new(&mut plan.nft, TableFamily::Inet);
    for (addr, _) in world.others.keys() {
        let hairpins = by_family(Family::of(*addr), "hairpins4", "hairpins6");
        rules.element(hairpins, vec![(*addr).into(), (*addr).into()]);
    }
}

/// The elements of one container.
/// A Service may lead any of them to itself, and so may its own hostPort.
pub(super) fn attachment(joined: &Joined, plan: &mut Plan) {
    let mut rules = Ruleset::new(&mut plan.nft, TableFamily::Inet);
    for addr in &joined.addrs {
        let family = Family::of(*addr);
        let hairpins = by_family(family, "hairpins4", "hairpins6");
        rules.element(hairpins, vec![(*addr).into(), (*addr).into()]);
        for port in &joined.ports {
            let mut key = vec![Value::Number(port.protocol.number()), Value::Port(port.host_port)];
            let to = vec![(*addr).into(), Value::Port(port.container_port)];
            match port.host_ip {
                Some(ip) if Family::of(ip) != family => {}
                Some(ip) if !ip.is_unspecified() => {
                    key.insert(0, ip.into());
                    rules.entry(by_family(family, "host_ip_ports4", "host_ip_ports6"), key, to);
                }
                _ => rules.entry(by_family(family, "host_ports4", "host_ports6"), key, to),
            }
        }
    }
}
