//! The kernel's expressions as rules: [`lower`] backwards.
//!
//! Whatever is read here is lowered again and compared, so a rule that is not one of Seaway's can't
//! be taken for one: it becomes [`Statement::Foreign`].

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use plan::nft::{
    CtState, CtStatus, Field, NFPROTO_IPV6, Nat, NatSource, Op, RejectWith, Rule, Statement,
    TableFamily, Type, Value, Writable,
};

use super::abi::{ct, masq, meta};
use super::bytes;
use super::expression::{Expression, Load, LookupTo, Slot};
use super::lower::{Check, load, lower, missing, slots, state_bit, status_bit, writable};

const STATES: [CtState; 5] =
    [CtState::Invalid, CtState::Established, CtState::Related, CtState::New, CtState::Untracked];

const STATUSES: [CtStatus; 7] = [
    CtStatus::Expected,
    CtStatus::SeenReply,
    CtStatus::Assured,
    CtStatus::Confirmed,
    CtStatus::Snat,
    CtStatus::Dnat,
    CtStatus::Dying,
];

/// The rule that lowers to `expressions`, without its comment.
pub(super) fn raise(family: TableFamily, expressions: &[Expression]) -> Rule {
    let mut raising = Raising { family, known: Vec::new(), rest: expressions };
    let mut statements = Vec::new();
    while !raising.rest.is_empty() {
        statements.push(raising.statement().unwrap_or(Statement::Foreign));
        if statements.last() == Some(&Statement::Foreign) {
            break;
        }
    }
    let rule = Rule { statements, comment: None };
    if lower(family, &rule).as_deref() == Ok(expressions) {
        rule
    } else {
        Rule { statements: vec![Statement::Foreign], comment: None }
    }
}

struct Raising<'a> {
    family: TableFamily,
    known: Vec<Check>,
    rest: &'a [Expression],
}

impl Raising<'_> {
    fn statement(&mut self) -> Option<Statement> {
        let first = &self.rest[0];
        let (statement, taken) = match first {
            Expression::Load { load: Load::Ct(key @ (ct::STATE | ct::STATUS)), .. } => {
                (self.flags(*key)?, 3)
            }
            Expression::Load { load: Load::Ct(ct::MARK), .. } => (self.connection_mark()?, 3),
            Expression::Load { .. } => {
                let fields = self.fields()?;
                return self.use_of(fields);
            }
            Expression::Fill { bytes } => {
                let mark = u32::from_ne_bytes(bytes.as_slice().try_into().ok()?);
                (Statement::SetMark(mark), 2)
            }
            Expression::Limit(rate) => (Statement::Limit(*rate), 1),
            Expression::Log { prefix, group } => {
                (Statement::Log { prefix: Arc::clone(prefix), group: *group }, 1)
            }
            Expression::Counter => (Statement::Counter, 1),
            Expression::Notrack => (Statement::Notrack, 1),
            Expression::Masquerade { flags } => {
                (Statement::Masquerade { fully_random: *flags == masq::F_FULLY_RANDOM }, 1)
            }
            Expression::RejectPort => (Statement::Reject(RejectWith::PortUnreachable), 1),
            Expression::RejectReset => (Statement::Reject(RejectWith::TcpReset), 1),
            Expression::Verdict(verdict) => (Statement::Verdict(verdict.clone()), 1),
            Expression::Cmp { .. }
            | Expression::Bits { .. }
            | Expression::Lookup { .. }
            | Expression::Range { .. }
            | Expression::SetMeta(_)
            | Expression::SetConnectionMark
            | Expression::Dynamic { .. }
            | Expression::Excess { .. }
            | Expression::Nat { .. }
            | Expression::Foreign => return None,
        };
        self.rest = self.rest.get(taken..)?;
        Some(statement)
    }

    /// Takes the checks and the reads of one statement. The longest run of checks that are exactly
    /// what the fields behind them need is theirs; any other check is a statement of its own.
    fn fields(&mut self) -> Option<Vec<Field>> {
        for checks in (0..=self.rest.len() / 2).rev() {
            let Some(reads) = self.rest.get(2 * checks..) else { continue };
            let fields = Self::reads(reads);
            let needed = missing(self.family, &fields, &self.known);
            let written = needed.iter().flat_map(|check| check.expressions(self.family));
            if !fields.is_empty()
                && needed.len() == checks
                && self.rest[..2 * checks].iter().eq(written.collect::<Vec<_>>().iter())
            {
                self.rest = &reads[fields.len()..];
                self.known.extend(needed);
                return Some(fields);
            }
        }
        None
    }

    /// The fields that `expressions` begin with, each in the slot behind the one before.
    fn reads(expressions: &[Expression]) -> Vec<Field> {
        let (mut fields, mut at) = (Vec::new(), 0);
        for expression in expressions {
            let Expression::Load { load, to } = expression else { break };
            let Some(field) = field(*load).filter(|_| u32::from(*to) == at) else { break };
            at += slots(field);
            fields.push(field);
        }
        fields
    }

    /// The statement that uses `fields`, by what follows the reads.
    fn use_of(&mut self, fields: Vec<Field>) -> Option<Statement> {
        let (statement, taken) = match self.rest {
            [Expression::Cmp { equal, bytes }, ..] => {
                (Statement::Match(fields[0], op(*equal), value(fields[0], bytes)?), 1)
            }
            [Expression::Range { first, last }, ..] => {
                let [first, last] = [first, last].map(|port| u16::from_be_bytes(*port));
                (Statement::Within(fields[0], first, last), 1)
            }
            [Expression::Bits { xor, .. }, Expression::SetMeta(meta::MARK), ..] => {
                (Statement::SetMarkBits(number(xor)?), 2)
            }
            [Expression::Bits { mask, .. }, Expression::Cmp { equal: false, bytes }, ..]
                if fields[0] == Field::Mark && number(bytes) == Some(0) =>
            {
                (Statement::MarkBits(number(mask)?), 2)
            }
            [Expression::Bits { mask, .. }, Expression::Cmp { equal, bytes }, ..] => {
                let prefix = Value::Prefix(prefix(bytes, mask)?);
                (Statement::Match(fields[0], op(*equal), prefix), 2)
            }
            [Expression::Lookup { set, to: LookupTo::Verdict, .. }, ..] => {
                (Statement::Vmap(fields, set.clone()), 1)
            }
            [Expression::Lookup { set, inverted, to: LookupTo::Nothing }, ..] => {
                (Statement::Lookup(fields, op(!inverted), set.clone()), 1)
            }
            [
                Expression::Lookup { set, to: LookupTo::Register, .. },
                Expression::SetMeta(key),
                ..,
            ] => {
                let mut known = [Writable::Mark, Writable::Priority].into_iter();
                let to = known.find(|to| writable(*to) == *key)?;
                (Statement::SetFrom(to, fields, set.clone()), 2)
            }
            [Expression::Dynamic { op, set, data }, ..] => {
                let (key, data) = split(fields, *data)?;
                (Statement::Dynamic { op: *op, map: set.clone(), key, data }, 1)
            }
            [Expression::Excess { set, rate }, ..] => {
                (Statement::Excess { set: set.clone(), key: fields, rate: *rate }, 1)
            }
            [
                Expression::Lookup { set, to: LookupTo::Register, .. },
                Expression::Nat { destination, family, .. },
                ..,
            ] => {
                let side = if *destination { Nat::Dnat } else { Nat::Snat };
                let ipv6 = *family == NFPROTO_IPV6;
                (Statement::Nat(side, NatSource::Map { ipv6, fields, map: set.clone() }), 2)
            }
            _ => return None,
        };
        self.rest = &self.rest[taken..];
        Some(statement)
    }

    /// The statement that begins with a read of the connection's mark.
    fn connection_mark(&self) -> Option<Statement> {
        match self.rest {
            [_, Expression::Bits { mask, .. }, Expression::Lookup { set, .. }, ..] => {
                Some(Statement::ConnectionMarkIn(number(mask)?, set.clone()))
            }
            [_, Expression::Bits { mask, xor }, Expression::SetConnectionMark, ..] => {
                Some(Statement::SetConnectionMark { mask: !number(mask)?, value: number(xor)? })
            }
            _ => None,
        }
    }

    fn flags(&self, key: u32) -> Option<Statement> {
        let [_, Expression::Bits { mask, .. }, Expression::Cmp { .. }, ..] = self.rest else {
            return None;
        };
        let mask = u32::from_ne_bytes(mask.as_slice().try_into().ok()?);
        match key {
            ct::STATE => {
                let set = STATES.into_iter().filter(|state| mask & state_bit(*state) != 0);
                Some(Statement::CtState(set.collect::<BTreeSet<_>>()))
            }
            ct::STATUS => {
                let set = STATUSES.into_iter().filter(|status| mask & status_bit(*status) != 0);
                Some(Statement::CtStatus(set.collect::<BTreeSet<_>>()))
            }
            _ => None,
        }
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Those of `fields` before the slot `at`, and those from there on.
fn split(mut fields: Vec<Field>, at: Slot) -> Option<(Vec<Field>, Vec<Field>)> {
    let mut slot = 0;
    let behind = fields.iter().position(|field| {
        let found = slot == u32::from(at);
        slot += slots(*field);
        found
    })?;
    let data = fields.split_off(behind);
    Some((fields, data))
}

/// The field that `read` reads. The type of ICMPv6 is the only byte of a transport header read.
fn field(read: Load) -> Option<Field> {
    if let Load::Random(modulus) = read {
        return Some(Field::Random(modulus));
    }
    Field::ALL.into_iter().find(|field| load(*field) == read)
}

fn op(equal: bool) -> Op {
    if equal { Op::Eq } else { Op::Ne }
}

fn value(field: Field, bytes: &[u8]) -> Option<Value> {
    let kind = bytes::kind(field);
    if matches!(field, Field::FibDaddrType | Field::FibDaddrOif) {
        let number = u32::from_ne_bytes(bytes.try_into().ok()?);
        return Some(Value::Number(u8::try_from(number).ok()?));
    }
    if kind == Type::IfName && bytes.len() < bytes::IFNAME {
        return Some(Value::Name(format!("{}*", std::str::from_utf8(bytes).ok()?).into()));
    }
    bytes::decode(kind, bytes)
}

fn prefix(addr: &[u8], mask: &[u8]) -> Option<IpNet> {
    if let (Ok(addr), Ok(mask)) = (<[u8; 4]>::try_from(addr), <[u8; 4]>::try_from(mask)) {
        return Ipv4Net::with_netmask(addr.into(), mask.into()).ok().map(IpNet::V4);
    }
    let (addr, mask) = (<[u8; 16]>::try_from(addr).ok()?, <[u8; 16]>::try_from(mask).ok()?);
    Ipv6Net::with_netmask(addr.into(), mask.into()).ok().map(IpNet::V6)
}
