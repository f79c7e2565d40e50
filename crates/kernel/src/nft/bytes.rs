//! Values as the kernel holds them in registers and elements.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use model::Mac;
use plan::nft::{Field, Type, Value};

/// Length of an interface name in a register, `IFNAMSIZ`.
pub(super) const IFNAME: usize = 16;

/// Bytes of one value, at most those of an IPv6 address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes {
    buffer: [u8; 16],
    len: usize,
}

impl Bytes {
    fn new(bytes: &[u8]) -> Self {
        let mut buffer = [0; 16];
        buffer[..bytes.len()].copy_from_slice(bytes);
        Bytes { buffer, len: bytes.len() }
    }

    /// The bytes.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// The bytes of `value`; a prefix is its network address. `None` for a name too long.
pub(super) fn encode(value: &Value) -> Option<Bytes> {
    Some(match value {
        Value::Ipv4(addr) => Bytes::new(&addr.octets()),
        Value::Ipv6(addr) => Bytes::new(&addr.octets()),
        Value::Prefix(IpNet::V4(net)) => Bytes::new(&net.network().octets()),
        Value::Prefix(IpNet::V6(net)) => Bytes::new(&net.network().octets()),
        Value::Ether(mac) => Bytes::new(&mac.0),
        Value::Name(name) => {
            let mut bytes = [0; IFNAME];
            bytes
                .get_mut(..name.len())
                .filter(|_| name.len() < IFNAME)?
                .copy_from_slice(name.as_bytes());
            Bytes::new(&bytes)
        }
        Value::Number(number) => Bytes::new(&[*number]),
        Value::Port(port) => Bytes::new(&port.to_be_bytes()),
        Value::Mark(number) | Value::ClassId(number) => Bytes::new(&number.to_ne_bytes()),
    })
}

/// The value that `bytes` are as a `kind`.
pub(super) fn decode(kind: Type, bytes: &[u8]) -> Option<Value> {
    Some(match kind {
        Type::Ipv4Addr => Value::Ipv4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        Type::Ipv6Addr => Value::Ipv6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        Type::EtherAddr => Value::Ether(Mac(bytes.try_into().ok()?)),
        Type::InetProto => Value::Number(<[u8; 1]>::try_from(bytes).ok()?[0]),
        Type::InetService => Value::Port(u16::from_be_bytes(bytes.try_into().ok()?)),
        Type::IfName => Value::Name(name(<[u8; IFNAME]>::try_from(bytes).ok()?.as_slice())?),
        Type::Mark => Value::Mark(u32::from_ne_bytes(bytes.try_into().ok()?)),
        Type::ClassId => Value::ClassId(u32::from_ne_bytes(bytes.try_into().ok()?)),
    })
}

/// Text up to the zero byte that must be there, with nothing behind it.
fn name(bytes: &[u8]) -> Option<Arc<str>> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    bytes[end..].iter().all(|byte| *byte == 0).then_some(())?;
    Some(std::str::from_utf8(&bytes[..end]).ok()?.into())
}

/// Whether `value` is one that an element's field of type `kind` can hold.
pub(super) fn is_of(value: &Value, kind: Type) -> bool {
    matches!(
        (value, kind),
        (Value::Ipv4(_) | Value::Prefix(IpNet::V4(_)), Type::Ipv4Addr)
            | (Value::Ipv6(_) | Value::Prefix(IpNet::V6(_)), Type::Ipv6Addr)
            | (Value::Ether(_), Type::EtherAddr)
            | (Value::Number(_), Type::InetProto)
            | (Value::Port(_), Type::InetService)
            | (Value::Name(_), Type::IfName)
            | (Value::Mark(_), Type::Mark)
            | (Value::ClassId(_), Type::ClassId)
    )
}

/// Number of bytes of a field of type `kind`.
pub(super) fn width(kind: Type) -> u32 {
    match kind {
        Type::InetProto => 1,
        Type::InetService => 2,
        Type::Ipv4Addr | Type::Mark | Type::ClassId => 4,
        Type::EtherAddr => 6,
        Type::Ipv6Addr | Type::IfName => 16,
    }
}

/// What a field of a packet is in a set. Five fields are read that no set of Seaway's holds; they
/// have the type of their width.
pub(super) fn kind(field: Field) -> Type {
    match field {
        Field::Iifname | Field::Oifname => Type::IfName,
        Field::EtherSaddr | Field::EtherDaddr | Field::ArpSaddrEther => Type::EtherAddr,
        Field::Ip4Saddr | Field::Ip4Daddr | Field::ArpSaddrIp | Field::Client4 | Field::Server4 => {
            Type::Ipv4Addr
        }
        Field::Ip6Saddr | Field::Ip6Daddr | Field::Client6 | Field::Server6 => Type::Ipv6Addr,
        Field::Nfproto | Field::L4proto | Field::Icmpv6Type | Field::CtDirection => Type::InetProto,
        Field::Sport | Field::Dport | Field::EtherType | Field::ServerPort => Type::InetService,
        Field::Mark | Field::FibDaddrType | Field::FibDaddrOif | Field::Random(_) => Type::Mark,
        Field::Priority => Type::ClassId,
    }
}

/// The last address of `net`.
pub(super) fn last(net: &IpNet) -> Value {
    net.broadcast().into()
}

/// Netmask of `net`.
pub(super) fn mask(net: &IpNet) -> Bytes {
    match net {
        IpNet::V4(net) => Bytes::new(&net.netmask().octets()),
        IpNet::V6(net) => Bytes::new(&net.netmask().octets()),
    }
}
