//! Rules and rows as text, in nft's own notation.

use std::fmt::{self, Display, Formatter};

use model::Family;

use super::{
    Chain, ChainKind, ChainName, CtState, CtStatus, Data, DataType, Dynamic, DynamicOp, Field,
    HookPoint, Key, Nat, NatSource, Op, Rate, RejectWith, Row, Rule, Set, SetName, Statement,
    TABLE, TableFamily, Type, Value, Values, Verdict, symbol,
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
                if let Some(Dynamic { timeout, size }) = set.dynamic {
                    let time = symbol::time(timeout.as_secs());
                    write!(f, "size {size}; flags dynamic,timeout; timeout {time}; ")?;
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

/// A rule as nft lists it: once it has matched the protocol, it says `tcp dport` for `th dport`, and
/// leaves the match itself away.
impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut header = None;
        let mut space = "";
        for (at, statement) in self.statements.iter().enumerate() {
            if let Statement::Match(Field::L4proto, Op::Eq, Value::Number(number)) = statement {
                header = symbol::port_header(*number);
                if header.is_some() && ports_follow(&self.statements[at + 1..]) {
                    continue;
                }
            }
            f.write_str(space)?;
            write_statement(f, statement, header.unwrap_or("th"))?;
            space = " ";
        }
        match &self.comment {
            Some(comment) => write!(f, "{space}comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

/// Whether a port is read before the protocol is matched again.
fn ports_follow(statements: &[Statement]) -> bool {
    let again = |s: &&Statement| !matches!(s, Statement::Match(Field::L4proto, Op::Eq, _));
    let ports = |field: &Field| matches!(field, Field::Sport | Field::Dport);
    statements.iter().take_while(again).any(|statement| statement.fields().iter().any(ports))
}

impl Statement {
    /// The fields of the packet that it reads, as a key where it has one.
    pub fn fields(&self) -> &[Field] {
        match self {
            Statement::Match(field, ..) => std::slice::from_ref(field),
            Statement::Lookup(fields, ..)
            | Statement::Vmap(fields, _)
            | Statement::SetFrom(_, fields, _)
            | Statement::Dynamic { key: fields, .. }
            | Statement::Excess { key: fields, .. }
            | Statement::Nat(_, NatSource::Map { fields, .. }) => fields,
            Statement::CtState(_)
            | Statement::CtStatus(_)
            | Statement::Counter
            | Statement::Notrack
            | Statement::SetMark(_)
            | Statement::SetMarkBits(_)
            | Statement::MarkBits(_)
            | Statement::Masquerade { .. }
            | Statement::Reject(_)
            | Statement::Verdict(_)
            | Statement::Foreign => &[],
        }
    }
}

/// On its own, outside the context of a rule.
impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_statement(f, self, "th")
    }
}

/// Writes `statement` where `header` is the transport header that ports are known to be in.
fn write_statement(f: &mut Formatter<'_>, statement: &Statement, header: &str) -> fmt::Result {
    let key = |fields: &[Field]| {
        let names =
            fields.iter().map(|field| field.to_string().replace("th ", &format!("{header} ")));
        names.collect::<Vec<_>>().join(" . ")
    };
    let not = |op: &Op| match op {
        Op::Eq => "",
        Op::Ne => " !=",
    };
    match statement {
        Statement::Match(field, op, value) => {
            write!(f, "{}{} ", key(&[*field]), not(op))?;
            write_constant(f, *field, value)
        }
        Statement::Lookup(fields, op, set) => write!(f, "{}{} @{set}", key(fields), not(op)),
        Statement::Vmap(fields, map) => write!(f, "{} vmap @{map}", key(fields)),
        Statement::CtState(states) => {
            f.write_str("ct state ")?;
            join(f, ",", states)
        }
        Statement::CtStatus(bits) => {
            f.write_str("ct status ")?;
            join(f, ",", bits)
        }
        Statement::Counter => f.write_str("counter"),
        Statement::Notrack => f.write_str("notrack"),
        Statement::SetMark(mark) => write!(f, "meta mark set {mark:#010x}"),
        Statement::SetMarkBits(bits) => write!(f, "meta mark set meta mark | {bits:#010x}"),
        Statement::MarkBits(bits) => write!(f, "meta mark & {bits:#010x} != 0x00000000"),
        Statement::SetFrom(to, fields, map) => {
            write!(f, "{} set {} map @{map}", to.field(), key(fields))
        }
        Statement::Dynamic { op, map, key: fields, data } => {
            let op = match op {
                DynamicOp::Update => "update",
                DynamicOp::Delete => "delete",
            };
            write!(f, "{op} @{map} {{ {} : {} }}", key(fields), key(data))
        }
        Statement::Excess { set, key: fields, rate: Rate { per_second, burst } } => {
            let limit = format!("limit rate over {per_second}/second");
            write!(f, "update @{set} {{ {} {limit} burst {burst} packets }}", key(fields))
        }
        Statement::Nat(side, NatSource::Map { ipv6, fields, map }) => {
            let side = match side {
                Nat::Dnat => "dnat",
                Nat::Snat => "snat",
            };
            let family = if *ipv6 { "ip6" } else { "ip" };
            write!(f, "{side} {family} to {} map @{map}", key(fields))
        }
        Statement::Masquerade { fully_random: false } => f.write_str("masquerade"),
        Statement::Masquerade { fully_random: true } => f.write_str("masquerade fully-random"),
        Statement::Reject(RejectWith::PortUnreachable) => f.write_str("reject"),
        Statement::Reject(RejectWith::TcpReset) => f.write_str("reject with tcp reset"),
        Statement::Verdict(verdict) => verdict.fmt(f),
        Statement::Foreign => f.write_str("# not written by seaway"),
    }
}

/// Writes `value` as one that `field` has.
fn write_constant(f: &mut Formatter<'_>, field: Field, value: &Value) -> fmt::Result {
    match (field, value) {
        (_, Value::Number(number)) => f.write_str(&symbol::number(field, *number)),
        (Field::EtherType, Value::Port(kind)) => f.write_str(&symbol::ether(*kind)),
        (Field::Random(_), Value::Mark(number)) => number.fmt(f),
        _ => value.fmt(f),
    }
}

/// A concatenation, with dots between its parts.
impl Display for Values {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        join(f, " . ", self.iter())
    }
}

fn join<T: Display>(
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
