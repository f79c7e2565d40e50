//! Rules as text, in nft's own notation.

use std::fmt::{self, Display, Formatter};

use super::print::join;
use super::{
    DynamicOp, Field, Nat, NatSource, Op, Rate, RejectWith, Rule, Statement, Value, symbol,
};

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
            Statement::Match(field, ..) | Statement::Within(field, ..) => {
                std::slice::from_ref(field)
            }
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
            | Statement::Limit(_)
            | Statement::Log { .. }
            | Statement::SetMark(_)
            | Statement::SetMarkBits(_)
            | Statement::MarkBits(_)
            | Statement::ConnectionMarkIn(..)
            | Statement::SetConnectionMark { .. }
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
        Statement::Within(field, first, last) => write!(f, "{} {first}-{last}", key(&[*field])),
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
        Statement::ConnectionMarkIn(mask, set) => write!(f, "ct mark & {mask:#010x} == @{set}"),
        Statement::SetConnectionMark { mask, value } => write_connection_mark(f, *mask, *value),
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
        Statement::Excess { set, key: fields, rate } => {
            write!(f, "update @{set} {{ {} limit rate over {rate} }}", key(fields))
        }
        Statement::Limit(rate) => write!(f, "limit rate {rate}"),
        Statement::Log { prefix, group } => write!(f, "log prefix \"{prefix}\" group {group}"),
        Statement::Nat(side, NatSource::Map { ipv6, fields, map }) => {
            let family = if *ipv6 { "ip6" } else { "ip" };
            write!(f, "{} {family} to {} map @{map}", side_name(*side), key(fields))
        }
        Statement::Masquerade { fully_random: false } => f.write_str("masquerade"),
        Statement::Masquerade { fully_random: true } => f.write_str("masquerade fully-random"),
        Statement::Reject(RejectWith::PortUnreachable) => f.write_str("reject"),
        Statement::Reject(RejectWith::TcpReset) => f.write_str("reject with tcp reset"),
        Statement::Verdict(verdict) => verdict.fmt(f),
        Statement::Foreign => f.write_str("# not written by seaway"),
    }
}

impl Display for Rate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/second burst {} packets", self.per_second, self.burst)
    }
}

fn side_name(side: Nat) -> &'static str {
    match side {
        Nat::Dnat => "dnat",
        Nat::Snat => "snat",
    }
}

/// As nft takes the kernel's mask and value apart: what is set is among what is kept, and a part without
/// meaning is not printed.
fn write_connection_mark(f: &mut Formatter<'_>, mask: u32, value: u32) -> fmt::Result {
    f.write_str("ct mark set ct mark")?;
    let kept = !mask | value;
    if kept != u32::MAX {
        write!(f, " & {kept:#010x}")?;
    }
    if value == 0 { Ok(()) } else { write!(f, " | {value:#010x}") }
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
