//! Rules: what they match and what they do.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZero;
use std::sync::Arc;

use ipnet::IpNet;
use model::Mac;

use super::TableFamily;

/// Name of a set or map. Every element's key has it, so that it is shared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName(pub Arc<str>);

/// Name of a chain, shared by all that lead there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainName(pub Arc<str>);

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Matches and actions, in order.
    pub statements: Vec<Statement>,
    /// `comment "…"`: the object or the reason.
    pub comment: Option<String>,
}

/// A match or an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `FIELD [!=] VALUE`. A packet without the field (another protocol) does not match.
    Match(Field, Op, Value),
    /// `FIELD FIRST-LAST`: a port, from the first to the last.
    Within(Field, u16, u16),
    /// `FIELD . FIELD [!=] @set`.
    Lookup(Vec<Field>, Op, SetName),
    /// `FIELD . FIELD vmap @map`.
    Vmap(Vec<Field>, SetName),
    /// `ct state established,related`: matches when the flow is in one of the states.
    CtState(BTreeSet<CtState>),
    /// `ct status dnat`: matches when one of the bits is set.
    CtStatus(BTreeSet<CtStatus>),
    /// `counter`.
    Counter,
    /// `notrack`: no flow is kept of the packet, so nothing translates it. Before connection tracking
    /// only.
    Notrack,
    /// `meta mark set VALUE`.
    SetMark(u32),
    /// `meta mark set meta mark | BITS`: sets these bits and leaves the others, which are somebody
    /// else's.
    SetMarkBits(u32),
    /// `meta mark & BITS != 0`: matches when one of the bits is set.
    MarkBits(u32),
    /// `ct mark & MASK == @set`: matches when these bits of the connection's mark are in the set.
    ConnectionMarkIn(u32, SetName),
    /// `ct mark set ct mark & … | VALUE`: of the connection's mark these bits become those of the value,
    /// and the others stay. Does nothing to a packet without a connection.
    SetConnectionMark {
        /// The bits that are set.
        mask: u32,
        /// What they become; it has no others.
        value: u32,
    },
    /// `meta mark set FIELD . FIELD map @map`. A packet whose key is not in the map does not match.
    SetFrom(Writable, Vec<Field>, SetName),
    /// `update @map { KEY : VALUES }` or `delete …`: the packet writes an element of a dynamic map.
    Dynamic {
        /// What it does.
        op: DynamicOp,
        /// The map.
        map: SetName,
        /// Key of the element.
        key: Vec<Field>,
        /// What it leads to.
        data: Vec<Field>,
    },
    /// `update @set { KEY limit rate over N/second burst M packets }`: matches when more packets than
    /// that have come with the key, each of which the dynamic set has a bucket for. While it has no room
    /// for another key, packets with new ones don't match.
    Excess {
        /// The set.
        set: SetName,
        /// What shares a bucket.
        key: Vec<Field>,
        /// What is no excess.
        rate: Rate,
    },
    /// `limit rate N/second burst M packets`: matches as long as no more packets than that come by.
    Limit(Rate),
    /// `log prefix "…" group N`: the packet is shown to whoever listens to that group, with these words.
    Log {
        /// What is said of the packet, at most 127 bytes.
        prefix: Arc<str>,
        /// Number of the group.
        group: u16,
    },
    /// `dnat …` or `snat …`.
    Nat(Nat, NatSource),
    /// `masquerade`, with `fully-random` when true.
    Masquerade {
        /// Choose source ports at random and not by hash (RFC 6056).
        fully_random: bool,
    },
    /// `reject with …`.
    Reject(RejectWith),
    /// What happens to the packet.
    Verdict(Verdict),
    /// An expression that Seaway does not write. Only ever observed, where others changed a chain of
    /// Seaway's; never equal to a wanted rule, so the next pass removes it.
    Foreign,
}

/// A value read from a packet or from what the kernel knows about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `iifname`.
    Iifname,
    /// `oifname`.
    Oifname,
    /// `ether saddr`.
    EtherSaddr,
    /// `ether daddr`.
    EtherDaddr,
    /// `ether type`, in the bridge family.
    EtherType,
    /// `ip saddr`.
    Ip4Saddr,
    /// `ip daddr`.
    Ip4Daddr,
    /// `ip6 saddr`.
    Ip6Saddr,
    /// `ip6 daddr`.
    Ip6Daddr,
    /// `arp saddr ip`.
    ArpSaddrIp,
    /// `arp saddr ether`.
    ArpSaddrEther,
    /// `meta nfproto`, in the inet family.
    Nfproto,
    /// `meta l4proto`.
    L4proto,
    /// `th sport`.
    Sport,
    /// `th dport`.
    Dport,
    /// `icmpv6 type`.
    Icmpv6Type,
    /// `meta mark`.
    Mark,
    /// `meta priority`.
    Priority,
    /// `numgen random mod N`: a number below N, another one each time it is read.
    Random(u32),
    /// `fib daddr type`: whose the destination is. Of IPv4 it knows what is local, not what is
    /// unreachable.
    FibDaddrType,
    /// `fib daddr oif`, as far as there is one: 1 where the destination is another host's and a route
    /// leads there, else 0.
    FibDaddrOif,
    /// `ct direction`: [`ORIGINAL`] or [`REPLY`]. A packet outside of conntrack has none.
    CtDirection,
    /// `ct original ip saddr`: who began the connection, before anything was rewritten.
    Client4,
    /// `ct original ip6 saddr`.
    Client6,
    /// `ct reply ip saddr`: who answers, after everything was rewritten. A packet outside of conntrack has
    /// neither; like the port, it is the same for every packet of a connection, whichever way it goes.
    Server4,
    /// `ct reply ip6 saddr`.
    Server6,
    /// `ct reply proto-src`: the port that answers.
    ServerPort,
}

/// Number of `ct direction original`: the packet goes the way of its flow's first.
pub const ORIGINAL: u8 = 0;

/// Number of `ct direction reply`: the packet answers.
pub const REPLY: u8 = 1;

impl Field {
    /// Every field there is, with one modulus for [`Field::Random`].
    pub const ALL: [Field; 27] = [
        Field::Iifname,
        Field::Oifname,
        Field::EtherSaddr,
        Field::EtherDaddr,
        Field::EtherType,
        Field::Ip4Saddr,
        Field::Ip4Daddr,
        Field::Ip6Saddr,
        Field::Ip6Daddr,
        Field::ArpSaddrIp,
        Field::ArpSaddrEther,
        Field::Nfproto,
        Field::L4proto,
        Field::Sport,
        Field::Dport,
        Field::Icmpv6Type,
        Field::Mark,
        Field::Priority,
        Field::Random(2),
        Field::FibDaddrType,
        Field::FibDaddrOif,
        Field::CtDirection,
        Field::Client4,
        Field::Client6,
        Field::Server4,
        Field::Server6,
        Field::ServerPort,
    ];

    /// Whether rules of `family` can read it.
    pub fn is_of(self, family: TableFamily) -> bool {
        match family {
            TableFamily::Inet => !matches!(self, Field::ArpSaddrIp | Field::ArpSaddrEther),
            TableFamily::Bridge => !matches!(self, Field::FibDaddrType | Field::FibDaddrOif),
        }
    }
}

/// State of a packet's flow in conntrack, in the order in which nft prints them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CtState {
    /// Conntrack could make nothing of it.
    Invalid,
    /// The flow has been seen in both directions.
    Established,
    /// Belongs to another flow, like an ICMP error.
    Related,
    /// First packet of a flow.
    New,
    /// Taken out of conntrack.
    Untracked,
}

/// Facts about a flow (`enum ip_conntrack_status`), in the order in which nft prints them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CtStatus {
    /// Expected by another flow.
    Expected,
    /// Answered.
    SeenReply,
    /// Will not be forgotten early.
    Assured,
    /// Its first packet has left.
    Confirmed,
    /// Its source is rewritten.
    Snat,
    /// Its destination is rewritten.
    Dnat,
    /// About to be forgotten.
    Dying,
}

/// What a map can set of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writable {
    /// [`Field::Mark`].
    Mark,
    /// [`Field::Priority`].
    Priority,
}

impl Writable {
    /// It, to read.
    pub fn field(self) -> Field {
        match self {
            Writable::Mark => Field::Mark,
            Writable::Priority => Field::Priority,
        }
    }
}

/// What a packet does to an element of a dynamic map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DynamicOp {
    /// Adds it, or gives the one that is there its time anew and leaves its value. When there is no
    /// room the rule does not match.
    Update,
    /// Takes it out. One that is not there is none the less gone.
    Delete,
}

/// How many packets may come: what is over it is more than these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Packets that may come each second, on average.
    pub per_second: NonZero<u32>,
    /// Packets that may come at once, beyond that.
    pub burst: NonZero<u32>,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Equal, or in the set.
    Eq,
    /// Not equal, or not in the set.
    Ne,
}

/// A constant of a rule or an element.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// IPv4 address.
    Ipv4(Ipv4Addr),
    /// IPv6 address.
    Ipv6(Ipv6Addr),
    /// Prefix, in interval sets and matches.
    Prefix(IpNet),
    /// Hardware address.
    Ether(Mac),
    /// Interface name; `sw*` matches by prefix in a rule.
    Name(Arc<str>),
    /// Protocol number (`meta l4proto`, `meta nfproto`), ICMP type, what `fib` finds, or direction.
    Number(u8),
    /// Port or EtherType.
    Port(u16),
    /// Mark.
    Mark(u32),
    /// Priority.
    ClassId(u32),
}

/// Which side is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// Destination.
    Dnat,
    /// Source.
    Snat,
}

/// Where the new address and port come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatSource {
    /// `ip to FIELD . FIELD map @map` (`ip6 to …` for IPv6 values), the map leading to address and port.
    Map {
        /// Whether the map's addresses are IPv6.
        ipv6: bool,
        /// The map's key.
        fields: Vec<Field>,
        /// The map.
        map: SetName,
    },
}

/// How a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectWith {
    /// ICMP or ICMPv6 port unreachable, by the packet's family.
    PortUnreachable,
    /// TCP reset.
    TcpReset,
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Leave this hook, go on.
    Accept,
    /// Drop it.
    Drop,
    /// Back to the calling chain.
    Return,
    /// Call a chain.
    Jump(ChainName),
    /// Go to a chain for good.
    Goto(ChainName),
}
