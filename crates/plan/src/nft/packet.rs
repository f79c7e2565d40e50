//! A packet at a hook, as the rules of a table see it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use model::{IfName, Mac};

use super::walk::Rewrite;
use super::{CtState, CtStatus, Field, Nat, SetName, Value, Values};

/// Protocol number of ICMPv6.
const ICMPV6: u8 = 58;

/// A packet at a hook, with what the kernel knows about it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Link it came in by; `None` when the node itself sent it.
    pub iif: Option<IfName>,
    /// Link it leaves by; `None` before routing and when it is for the node.
    pub oif: Option<IfName>,
    /// Source and destination of its Ethernet header, where it came in with one.
    pub ether: Option<(Mac, Mac)>,
    /// What it carries.
    pub network: Network,
    /// State of its flow.
    pub ct_state: CtState,
    /// Facts about its flow.
    pub ct_status: BTreeSet<CtStatus>,
    /// Whether it answers the first packet of its flow.
    pub is_reply: bool,
    /// The connection it is of; `None` outside of conntrack, or where no rule asks.
    pub connection: Option<Connection>,
    /// Its mark.
    pub mark: u32,
    /// Its priority.
    pub priority: u32,
}

/// A connection, as conntrack knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Source of its first packet, before anything was rewritten.
    pub client: IpAddr,
    /// Source of what answers, as far as its destination is chosen. The port means nothing where the
    /// protocol has none.
    pub server: SocketAddr,
    /// Its mark.
    pub mark: u32,
}

/// Network header of a packet and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// IPv4 or IPv6, by the addresses, which are of one family.
    Ip {
        /// Source.
        src: IpAddr,
        /// Destination.
        dst: IpAddr,
        /// Transport header.
        transport: Transport,
    },
    /// ARP over Ethernet for IPv4.
    Arp {
        /// The sender's protocol address.
        sender_ip: Ipv4Addr,
        /// The sender's hardware address.
        sender_mac: Mac,
    },
    /// A frame of another EtherType.
    Other(u16),
}

/// Transport header of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A protocol whose header starts with the ports: TCP, UDP, SCTP.
    Ports {
        /// Protocol number.
        protocol: u8,
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
    },
    /// ICMPv6.
    Icmpv6 {
        /// Its type.
        kind: u8,
    },
    /// Another protocol, by its number.
    Other(u8),
}

/// Elements of dynamic maps and sets, by map and key; one of a set leads to nothing.
pub type Learned = BTreeMap<(SetName, Values), Values>;

/// What stands around a packet: the routes that `fib` asks, chance, and what packets before it left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The node's own addresses. Loopback addresses are local even when they are not listed.
    pub local: BTreeSet<IpAddr>,
    /// Prefixes of the node's links, for their broadcast addresses.
    pub links: BTreeSet<IpNet>,
    /// Types of the routes to other destinations, as numbers of [`fib_type`]; where none leads, packets
    /// go to another host.
    pub routes: BTreeMap<IpNet, u8>,
    /// What chance gives: `numgen random mod N` is this modulo N.
    pub random: u32,
    /// What rules, or others than the plan, have put into dynamic sets.
    pub learned: Learned,
}

/// Numbers of `fib` address types, `RTN_` in linux/rtnetlink.h.
pub mod fib_type {
    /// To another host.
    pub const UNICAST: u8 = 1;
    /// To this node.
    pub const LOCAL: u8 = 2;
    /// To every host of a link.
    pub const BROADCAST: u8 = 3;
    /// To a group.
    pub const MULTICAST: u8 = 5;
    /// Nowhere, and the sender is told.
    pub const UNREACHABLE: u8 = 7;
}

impl Surroundings {
    /// The type of `addr`, as a number of [`fib_type`].
    pub fn fib_type(&self, addr: IpAddr) -> u8 {
        if self.local.contains(&addr) || addr.is_loopback() {
            fib_type::LOCAL
        } else if addr.is_multicast() {
            fib_type::MULTICAST
        } else if addr == Ipv4Addr::BROADCAST || self.is_link_broadcast(addr) {
            fib_type::BROADCAST
        } else {
            let routes = self.routes.iter().filter(|(net, _)| net.contains(&addr));
            let longest = routes.max_by_key(|(net, _)| net.prefix_len());
            longest.map_or(fib_type::UNICAST, |(_, kind)| *kind)
        }
    }

    fn is_link_broadcast(&self, addr: IpAddr) -> bool {
        addr.is_ipv4()
            && self.links.iter().any(|net| net.prefix_len() < 31 && net.broadcast() == addr)
    }
}

impl Transport {
    /// The protocol number.
    pub fn protocol(self) -> u8 {
        match self {
            Transport::Ports { protocol, .. } | Transport::Other(protocol) => protocol,
            Transport::Icmpv6 { .. } => ICMPV6,
        }
    }
}

impl Packet {
    /// The value of `field`; `None` when the packet has no such field.
    ///
    /// A link that the packet does not have is the empty name, as in the kernel.
    pub fn field(&self, field: Field, surroundings: &Surroundings) -> Option<Value> {
        match field {
            Field::Iifname => Some(name(self.iif.as_ref())),
            Field::Oifname => Some(name(self.oif.as_ref())),
            Field::EtherSaddr => self.ether.map(|(src, _)| Value::Ether(src)),
            Field::EtherDaddr => self.ether.map(|(_, dst)| Value::Ether(dst)),
            Field::EtherType => Some(Value::Port(self.ether_type())),
            Field::Ip4Saddr => self.addrs().filter(|(src, _)| src.is_ipv4()).map(|a| a.0.into()),
            Field::Ip4Daddr => self.addrs().filter(|(_, dst)| dst.is_ipv4()).map(|a| a.1.into()),
            Field::Ip6Saddr => self.addrs().filter(|(src, _)| src.is_ipv6()).map(|a| a.0.into()),
            Field::Ip6Daddr => self.addrs().filter(|(_, dst)| dst.is_ipv6()).map(|a| a.1.into()),
            Field::ArpSaddrIp => self.arp().map(|(ip, _)| Value::Ipv4(ip)),
            Field::ArpSaddrEther => self.arp().map(|(_, mac)| Value::Ether(mac)),
            Field::Nfproto => self.addrs().map(|(src, _)| {
                Value::Number(if src.is_ipv4() { super::NFPROTO_IPV4 } else { super::NFPROTO_IPV6 })
            }),
            Field::L4proto => self.transport().map(|t| Value::Number(t.protocol())),
            Field::Sport => self.ports().map(|(sport, _)| Value::Port(sport)),
            Field::Dport => self.ports().map(|(_, dport)| Value::Port(dport)),
            Field::Icmpv6Type => self.icmpv6().map(Value::Number),
            Field::Mark => Some(Value::Mark(self.mark)),
            Field::Priority => Some(Value::ClassId(self.priority)),
            Field::Random(modulus) => surroundings.random.checked_rem(modulus).map(Value::Mark),
            Field::FibDaddrType => {
                self.addrs().map(|(_, dst)| Value::Number(surroundings.fib_type(dst)))
            }
            Field::FibDaddrOif => self.addrs().map(|(_, dst)| {
                Value::Number(u8::from(surroundings.fib_type(dst) == fib_type::UNICAST))
            }),
            Field::CtDirection => self.direction(),
            Field::Client4 => {
                self.connection.map(|of| of.client).filter(IpAddr::is_ipv4).map(Value::from)
            }
            Field::Client6 => {
                self.connection.map(|of| of.client).filter(IpAddr::is_ipv6).map(Value::from)
            }
            Field::Server4 => {
                self.connection.map(|of| of.server.ip()).filter(IpAddr::is_ipv4).map(Value::from)
            }
            Field::Server6 => {
                self.connection.map(|of| of.server.ip()).filter(IpAddr::is_ipv6).map(Value::from)
            }
            Field::ServerPort => {
                self.ports().and(self.connection).map(|of| Value::Port(of.server.port()))
            }
        }
    }

    fn direction(&self) -> Option<Value> {
        let tracked = !matches!(self.ct_state, CtState::Invalid | CtState::Untracked);
        tracked.then_some(Value::Number(if self.is_reply { super::REPLY } else { super::ORIGINAL }))
    }

    /// Sets bits of its connection's mark, if it has one.
    pub(super) fn set_connection_mark(&mut self, mask: u32, value: u32) {
        if let Some(connection) = &mut self.connection {
            connection.mark = connection.mark & !mask | value;
        }
    }

    /// Applies a rewrite of its flow. Where it is masqueraded, its source is known later.
    pub(super) fn rewrite(&mut self, rewrite: Rewrite) {
        let status = match rewrite {
            Rewrite::To { side: Nat::Dnat, .. } => CtStatus::Dnat,
            Rewrite::To { side: Nat::Snat, .. } | Rewrite::Masquerade { .. } => CtStatus::Snat,
        };
        self.ct_status.insert(status);
        let Rewrite::To { side, addr, port } = rewrite else { return };
        if let (Nat::Dnat, Some(connection)) = (side, &mut self.connection) {
            connection.server = SocketAddr::new(addr, port);
        }
        let Network::Ip { src, dst, transport } = &mut self.network else { return };
        let (own, own_port) = match (side, transport) {
            (Nat::Dnat, Transport::Ports { dport, .. }) => (dst, dport),
            (Nat::Snat, Transport::Ports { sport, .. }) => (src, sport),
            (_, Transport::Icmpv6 { .. } | Transport::Other(_)) => return,
        };
        (*own, *own_port) = (addr, port);
    }

    fn ether_type(&self) -> u16 {
        match &self.network {
            Network::Ip { src: IpAddr::V4(_), .. } => super::ether_type::IP,
            Network::Ip { src: IpAddr::V6(_), .. } => super::ether_type::IP6,
            Network::Arp { .. } => super::ether_type::ARP,
            Network::Other(kind) => *kind,
        }
    }

    fn addrs(&self) -> Option<(IpAddr, IpAddr)> {
        match self.network {
            Network::Ip { src, dst, .. } => Some((src, dst)),
            Network::Arp { .. } | Network::Other(_) => None,
        }
    }

    fn arp(&self) -> Option<(Ipv4Addr, Mac)> {
        match self.network {
            Network::Arp { sender_ip, sender_mac } => Some((sender_ip, sender_mac)),
            Network::Ip { .. } | Network::Other(_) => None,
        }
    }

    fn transport(&self) -> Option<Transport> {
        match self.network {
            Network::Ip { transport, .. } => Some(transport),
            Network::Arp { .. } | Network::Other(_) => None,
        }
    }

    fn ports(&self) -> Option<(u16, u16)> {
        match self.transport()? {
            Transport::Ports { sport, dport, .. } => Some((sport, dport)),
            Transport::Icmpv6 { .. } | Transport::Other(_) => None,
        }
    }

    fn icmpv6(&self) -> Option<u8> {
        match self.transport()? {
            Transport::Icmpv6 { kind } => Some(kind),
            Transport::Ports { .. } | Transport::Other(_) => None,
        }
    }
}

fn name(link: Option<&IfName>) -> Value {
    Value::Name(link.map_or("", IfName::as_str).into())
}
