//! Rows as text, in nft's own notation.

use std::fmt::{self, Display, Formatter};

use model::Family;

use super::{
    Chain, ChainKind, ChainName, CtState, CtStatus, Data, DataType, Dynamic, Field, HookPoint, Key,
    Row, Set, SetName, TABLE, TableFamily, Type, Value, Values, Verdict, symbol,
};

impl Display for TableFamily {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TableFamily::Inet => "inet",
            TableFamily::Bridge => "bridge",
        })
    }
}

impl Display for SetName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Display for ChainName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As after `nft add`: `chain inet seaway forward`, `element inet seaway cluster 10.0.0.0/8`.
impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Key::Table(family) => write!(f, "table {family} {TABLE}"),
            Key::Set(family, name) => write!(f, "set {family} {TABLE} {name}"),
            Key::Chain(family, name) => write!(f, "chain {family} {TABLE} {name}"),
            Key::Element(family, set, key) => {
                write!(f, "element {family} {TABLE} {set} {key}")
            }
        }
    }
}

/// What follows the key, on one line.
impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Row::Table | Row::Element(None) => Ok(()),
            Row::Set(set) => {
                write!(f, "{{ type {set}; ")?;
                if set.interval {
                    f.write_str("flags interval; ")?;
                }
                if let Some(size) = set.size {
                    write!(f, "size {size}; ")?;
                }
                if let Some(Dynamic { timeout }) = set.dynamic {
                    let time = symbol::time(timeout.as_secs());
                    write!(f, "flags dynamic,timeout; timeout {time}; ")?;
                }
                f.write_str("}")
            }
            Row::Chain(chain) => chain.fmt(f),
            Row::Element(Some(data)) => write!(f, ": {data}"),
        }
    }
}

/// The type alone, `ipv4_addr . mark : verdict`.
impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        join(f, " . ", &self.key)?;
        match &self.data {
            None => Ok(()),
            Some(DataType::Verdict) => f.write_str(" : verdict"),
            Some(DataType::Values(types)) => {
                f.write_str(" : ")?;
                join(f, " . ", types)
            }
        }
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Ipv4Addr => "ipv4_addr",
            Type::Ipv6Addr => "ipv6_addr",
            Type::EtherAddr => "ether_addr",
            Type::InetProto => "inet_proto",
            Type::InetService => "inet_service",
            Type::IfName => "ifname",
            Type::Mark => "mark",
            Type::ClassId => "classid",
        })
    }
}

/// Hook and rules on one line, between braces.
impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("{ ")?;
        if let Some(hook) = self.hook {
            let (kind, point) = (hook.kind, hook.point);
            write!(f, "type {kind} hook {point} priority {}; ", hook.priority)?;
        }
        self.rules.iter().try_for_each(|rule| write!(f, "{rule}; "))?;
        f.write_str("}")
    }
}

impl Display for ChainKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        })
    }
}

impl Display for HookPoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HookPoint::Prerouting => "prerouting",
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Output => "output",
            HookPoint::Postrouting => "postrouting",
        })
    }
}

impl Display for Data {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Data::Values(values) => values.fmt(f),
            Data::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

/// As in an element: numbers are protocols. In a rule the field decides what a number is called.
impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Ipv4(addr) => addr.fmt(f),
            Value::Ipv6(addr) => addr.fmt(f),
            Value::Prefix(net) if net.prefix_len() == Family::of(net.addr()).host_prefix() => {
                net.addr().fmt(f)
            }
            Value::Prefix(net) => net.fmt(f),
            Value::Ether(mac) => mac.fmt(f),
            Value::Name(name) => write!(f, "\"{name}\""),
            Value::Number(number) => f.write_str(&symbol::protocol(*number)),
            Value::Port(port) => port.fmt(f),
            Value::Mark(mark) => write!(f, "{mark:#010x}"),
            Value::ClassId(class) => f.write_str(&symbol::class(*class)),
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Iifname => "iifname",
            Field::Oifname => "oifname",
            Field::EtherSaddr => "ether saddr",
            Field::EtherDaddr => "ether daddr",
            Field::EtherType => "ether type",
            Field::Ip4Saddr => "ip saddr",
            Field::Ip4Daddr => "ip daddr",
            Field::Ip6Saddr => "ip6 saddr",
            Field::Ip6Daddr => "ip6 daddr",
            Field::ArpSaddrIp => "arp saddr ip",
            Field::ArpSaddrEther => "arp saddr ether",
            Field::Nfproto => "meta nfproto",
            Field::L4proto => "meta l4proto",
            Field::Sport => "th sport",
            Field::Dport => "th dport",
            Field::Icmpv6Type => "icmpv6 type",
            Field::Mark => "meta mark",
            Field::Priority => "meta priority",
            Field::Random(modulus) => return write!(f, "numgen random mod {modulus}"),
            Field::FibDaddrType => "fib daddr type",
            Field::FibDaddrOif => "fib daddr oif",
            Field::CtDirection => "ct direction",
            Field::Client4 => "ct original ip saddr",
            Field::Client6 => "ct original ip6 saddr",
            Field::Server4 => "ct reply ip saddr",
            Field::Server6 => "ct reply ip6 saddr",
            Field::ServerPort => "ct reply proto-src",
        })
    }
}

impl Display for CtState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CtState::Invalid => "invalid",
            CtState::Established => "established",
            CtState::Related => "related",
            CtState::New => "new",
            CtState::Untracked => "untracked",
        })
    }
}

impl Display for CtStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CtStatus::Expected => "expected",
            CtStatus::SeenReply => "seen-reply",
            CtStatus::Assured => "assured",
            CtStatus::Confirmed => "confirmed",
            CtStatus::Snat => "snat",
            CtStatus::Dnat => "dnat",
            CtStatus::Dying => "dying",
        })
    }
}

/// A concatenation, with dots between its parts.
impl Display for Values {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        join(f, " . ", self.iter())
    }
}

pub(super) fn join<T: Display>(
    f: &mut Formatter<'_>,
    between: &str,
    parts: impl IntoIterator<Item = T>,
) -> fmt::Result {
    for (at, part) in parts.into_iter().enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        part.fmt(f)?;
    }
    Ok(())
}
