//! nftables as data: tables, chains of typed rules, sets and maps, and their elements.
//!
//! Every chain, set and element is one row, so a change of one object touches its own elements and
//! nothing else. [`list()`] gives the text that `nft list` gives, `kernel::nft` encodes the same rows
//! as netlink messages, and [`walk()`] runs a packet through them.

mod expr;
mod list;
mod packet;
mod print;
mod statement;
mod symbol;
mod values;
mod walk;

pub use expr::{
    ChainName, CtState, CtStatus, DynamicOp, Field, Nat, NatSource, ORIGINAL, Op, REPLY, Rate,
    RejectWith, Rule, SetName, Statement, Value, Verdict, Writable,
};

pub use list::list;
pub use packet::{Connection, Learned, Network, Packet, Surroundings, Transport, fib_type};
pub use values::Values;
pub use walk::{Outcome, Rewrite, Step, Walk, walk};

use ipnet::IpNet;
use model::Mac;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Name of every nftables table Seaway owns, one per family.
pub const TABLE: &str = "seaway";

/// Number of IPv4 in `meta nfproto`.
pub const NFPROTO_IPV4: u8 = 2;

/// Number of IPv6 in `meta nfproto`.
pub const NFPROTO_IPV6: u8 = 10;

/// EtherTypes, from linux/if_ether.h.
pub mod ether_type {
    /// IPv4.
    pub const IP: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IP6: u16 = 0x86dd;
}

/// Family of a table. The order is the order in which tables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableFamily {
    /// IPv4 and IPv6.
    Inet,
    /// Bridged frames.
    Bridge,
}

/// What identifies a row. Sets come before the chains that name them, elements last; deletes run in
/// the opposite order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The table itself.
    Table(TableFamily),
    /// A named set or map.
    Set(TableFamily, SetName),
    /// A chain with its rules.
    Chain(TableFamily, ChainName),
    /// An element of a set or map: the values of its key fields.
    Element(TableFamily, SetName, Values),
}

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A table has nothing of its own.
    Table,
    /// A set or map; shared, for most rows are elements, which are small.
    Set(Arc<Set>),
    /// A chain.
    Chain(Chain),
    /// An element; `None` in a set, the value it leads to in a map.
    Element(Option<Data>),
}

/// Declaration of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Type of the key: its fields' types, concatenated. Empty only in a set that was observed and
    /// is not of Seaway's making.
    pub key: Vec<Type>,
    /// What a map leads to; `None` for a set.
    pub data: Option<DataType>,
    /// Whether the last field of a key, an address, is a prefix (`flags interval`). It is then a
    /// [`Value::Prefix`] in every element, a single address being a host prefix, and no two elements
    /// overlap.
    pub interval: bool,
    /// How many elements it has room for; `None` for as many as there are. The kernel finds the elements of a
    /// set faster that has few and says so.
    pub size: Option<u32>,
    /// Whether others than the plan write its elements, which are then no rows: packets, by rules that learn
    /// and forget, or DNS.
    pub dynamic: Option<Dynamic>,
}

/// How a set, which then has a size, holds what others than the plan put into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dynamic {
    /// How long an element stays after it was last put, in whole seconds, unless it says so itself.
    pub timeout: Duration,
}

/// Types of key and data fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `ipv4_addr`.
    Ipv4Addr,
    /// `ipv6_addr`.
    Ipv6Addr,
    /// `ether_addr`.
    EtherAddr,
    /// `inet_proto`.
    InetProto,
    /// `inet_service`, a port.
    InetService,
    /// `ifname`.
    IfName,
    /// `mark`, 32 bits.
    Mark,
    /// `classid`, a packet's priority.
    ClassId,
}

impl Type {
    /// Every type there is.
    pub const ALL: [Type; 8] = [
        Type::Ipv4Addr,
        Type::Ipv6Addr,
        Type::EtherAddr,
        Type::InetProto,
        Type::InetService,
        Type::IfName,
        Type::Mark,
        Type::ClassId,
    ];
}

/// What a map's elements hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataType {
    /// Values of these types, concatenated.
    Values(Vec<Type>),
    /// A verdict.
    Verdict,
}

/// What a map's element leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Values, one per field of the map's data type.
    Values(Values),
    /// A verdict.
    Verdict(Verdict),
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// Where the kernel calls it; `None` for a chain that others jump to.
    pub hook: Option<Hook>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Where a base chain hangs. The policy is always accept: Seaway drops by rule, never by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: ChainKind,
    /// The hook.
    pub point: HookPoint,
    /// Order among the chains of the hook, lowest first.
    pub priority: i32,
}

/// Type of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// `filter`.
    Filter,
    /// `nat`: sees the first packet of a flow.
    Nat,
}

/// Netfilter hooks of the inet and bridge families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPoint {
    /// Before routing.
    Prerouting,
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// After routing.
    Postrouting,
}

impl From<IpAddr> for Value {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => Value::Ipv4(addr),
            IpAddr::V6(addr) => Value::Ipv6(addr),
        }
    }
}

impl From<IpNet> for Value {
    fn from(net: IpNet) -> Self {
        Value::Prefix(net)
    }
}

impl From<Mac> for Value {
    fn from(mac: Mac) -> Self {
        Value::Ether(mac)
    }
}
