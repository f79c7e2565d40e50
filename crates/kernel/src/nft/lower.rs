//! Rules as the kernel's expressions.
//!
//! A field that only some packets have is read after a check that this packet does: the same checks
//! that nft adds, so that `nft list` hides them again.

use std::sync::Arc;

use plan::nft::{
    CtState, CtStatus, Field, NFPROTO_IPV4, NFPROTO_IPV6, Nat, NatSource, Op, RejectWith, Rule,
    SetName, Statement, TableFamily, Type, Value, Writable, ether_type,
};

use super::abi::{ct, masq, meta, payload};
use super::bytes;
use super::expression::{Expression, Load, LookupTo, Slot};

/// `ARPHRD_ETHER`.
const ETHERNET: u16 = 1;
/// Protocol number of ICMPv6.
const ICMPV6: u8 = 58;
/// `NF_LOG_PREFIXLEN`, without the zero byte at its end.
const PREFIX: usize = 127;
/// Registers that one lookup can use, in slots.
const SLOTS: u32 = 16;

/// A rule that has no expressions in this family: why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Inexpressible(pub(super) String);

/// A check that must come before fields of one header are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// The packet came from an Ethernet link.
    Ethernet,
    /// It is of this EtherType.
    Network(u16),
    /// It is ICMPv6.
    Icmpv6,
}

/// The expressions of `rule` in a table of `family`.
///
/// # Errors
/// [`Inexpressible`] when a value does not fit its field, or the family does not have the field.
pub(super) fn lower(family: TableFamily, rule: &Rule) -> Result<Vec<Expression>, Inexpressible> {
    let mut lowering = Lowering { family, known: Vec::new(), out: Vec::new() };
    rule.statements.iter().try_for_each(|statement| lowering.statement(statement))?;
    Ok(lowering.out)
}

struct Lowering {
    family: TableFamily,
    known: Vec<Check>,
    out: Vec<Expression>,
}

impl Lowering {
    fn statement(&mut self, statement: &Statement) -> Result<(), Inexpressible> {
        match statement {
            Statement::Match(field, op, value) => {
                self.load(&[*field])?;
                self.compare(*field, *op, value)
            }
            Statement::Within(field, first, last) => self.within(*field, *first, *last),
            Statement::Lookup(fields, op, set) => {
                self.load(fields)?;
                let (set, inverted) = (set.clone(), *op == Op::Ne);
                self.push(Expression::Lookup { set, inverted, to: LookupTo::Nothing })
            }
            Statement::Vmap(fields, map) => {
                self.load(fields)?;
                let (set, inverted) = (map.clone(), false);
                self.push(Expression::Lookup { set, inverted, to: LookupTo::Verdict })
            }
            Statement::CtState(states) => {
                self.flags(Load::Ct(ct::STATE), states.iter().map(|state| state_bit(*state)).sum())
            }
            Statement::CtStatus(bits) => {
                self.flags(Load::Ct(ct::STATUS), bits.iter().map(|bit| status_bit(*bit)).sum())
            }
            Statement::Counter => self.push(Expression::Counter),
            Statement::Notrack => self.push(Expression::Notrack),
            Statement::SetMark(mark) => self.set_mark(*mark),
            Statement::SetMarkBits(bits) => {
                let set = Expression::SetMeta(meta::MARK);
                self.set_bits(Load::Meta(meta::MARK), *bits, *bits, set)
            }
            Statement::MarkBits(bits) => self.flags(Load::Meta(meta::MARK), *bits),
            Statement::ConnectionMarkIn(mask, set) => self.connection_mark_in(*mask, set),
            Statement::SetConnectionMark { mask, value } => {
                self.set_bits(Load::Ct(ct::MARK), *mask, *value, Expression::SetConnectionMark)
            }
            Statement::SetFrom(to, fields, map) => {
                self.look_up(fields, map)?;
                self.push(Expression::SetMeta(writable(*to)))
            }
            Statement::Dynamic { op, map, key, data } => {
                let data = self.load_both(key, data)?;
                self.push(Expression::Dynamic { op: *op, set: map.clone(), data })
            }
            Statement::Excess { set, key, rate } => {
                self.load(key)?;
                self.push(Expression::Excess { set: set.clone(), rate: *rate })
            }
            Statement::Limit(rate) => self.push(Expression::Limit(*rate)),
            Statement::Log { prefix, group } => self.log(prefix, *group),
            Statement::Nat(side, NatSource::Map { ipv6, fields, map }) => {
                self.look_up(fields, map)?;
                self.push(nat(*side, *ipv6))
            }
            Statement::Masquerade { fully_random } => self.push(masquerade(*fully_random)),
            Statement::Reject(RejectWith::PortUnreachable) => self.push(Expression::RejectPort),
            Statement::Reject(RejectWith::TcpReset) => self.push(Expression::RejectReset),
            Statement::Verdict(verdict) => self.push(Expression::Verdict(verdict.clone())),
            Statement::Foreign => Err(Inexpressible("not an expression of Seaway's".to_owned())),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "so that every arm above ends alike")]
    fn push(&mut self, expression: Expression) -> Result<(), Inexpressible> {
        self.out.push(expression);
        Ok(())
    }

    fn set_mark(&mut self, mark: u32) -> Result<(), Inexpressible> {
        self.out.push(Expression::Fill { bytes: mark.to_ne_bytes().to_vec() });
        self.push(Expression::SetMeta(meta::MARK))
    }

    fn log(&mut self, prefix: &Arc<str>, group: u16) -> Result<(), Inexpressible> {
        if prefix.is_empty() || prefix.len() > PREFIX || prefix.contains('\0') {
            return Err(Inexpressible(format!("{prefix:?} is no prefix of a log's lines")));
        }
        self.push(Expression::Log { prefix: Arc::clone(prefix), group })
    }

    /// Reads what `fields` lead to in `map`.
    fn look_up(&mut self, fields: &[Field], map: &SetName) -> Result<(), Inexpressible> {
        self.load(fields)?;
        let (set, to) = (map.clone(), LookupTo::Register);
        self.push(Expression::Lookup { set, inverted: false, to })
    }

    /// Reads `fields` one behind the other, after the checks that are still missing.
    fn load(&mut self, fields: &[Field]) -> Result<(), Inexpressible> {
        self.load_both(fields, &[]).map(|_| ())
    }

    /// Reads `fields` and `more` behind them; returns the slot where those begin.
    fn load_both(&mut self, fields: &[Field], more: &[Field]) -> Result<Slot, Inexpressible> {
        if let Some(field) = fields.iter().chain(more).find(|field| !field.is_of(self.family)) {
            return Err(Inexpressible(format!("the {} family has no {field}", self.family)));
        }
        let all: Vec<Field> = fields.iter().chain(more).copied().collect();
        for check in missing(self.family, &all, &self.known) {
            self.known.push(check);
            self.out.extend(check.expressions(self.family));
        }
        let mut to = 0;
        for field in &all {
            self.out.push(Expression::Load { load: load(*field), to: slot(to)? });
            to += slots(*field);
        }
        if to > SLOTS {
            return Err(Inexpressible("key longer than 64 bytes".to_owned()));
        }
        let behind: u32 = fields.iter().map(|field| slots(*field)).sum();
        Ok(slot(behind).unwrap_or_default())
    }

    fn compare(&mut self, field: Field, op: Op, value: &Value) -> Result<(), Inexpressible> {
        let misfit = || Inexpressible(format!("{field} is never {value}"));
        if let Value::Prefix(net) = value {
            self.out.push(keep(bytes::mask(net).as_slice()));
        }
        let bytes = constant(field, value).ok_or_else(misfit)?;
        self.push(Expression::Cmp { equal: op == Op::Eq, bytes })
    }

    fn connection_mark_in(&mut self, mask: u32, set: &SetName) -> Result<(), Inexpressible> {
        self.out.push(Expression::Load { load: Load::Ct(ct::MARK), to: 0 });
        self.out.push(keep(&mask.to_ne_bytes()));
        let (set, to) = (set.clone(), LookupTo::Nothing);
        self.push(Expression::Lookup { set, inverted: false, to })
    }

    fn within(&mut self, field: Field, first: u16, last: u16) -> Result<(), Inexpressible> {
        if bytes::kind(field) != Type::InetService {
            return Err(Inexpressible(format!("{field} is no port")));
        }
        self.load(&[field])?;
        let [first, last] = [first, last].map(u16::to_be_bytes);
        self.push(Expression::Range { first, last })
    }

    /// Sets those of a mark's bits that are in `mask` to `value`'s.
    fn set_bits(
        &mut self,
        load: Load,
        mask: u32,
        value: u32,
        set: Expression,
    ) -> Result<(), Inexpressible> {
        self.out.push(Expression::Load { load, to: 0 });
        let xor = (value & mask).to_ne_bytes().to_vec();
        self.out.push(Expression::Bits { mask: (!mask).to_ne_bytes().to_vec(), xor });
        self.push(set)
    }

    /// Goes on when one of `mask`'s bits is set.
    fn flags(&mut self, load: Load, mask: u32) -> Result<(), Inexpressible> {
        self.out.push(Expression::Load { load, to: 0 });
        self.out.push(keep(&mask.to_ne_bytes()));
        self.push(Expression::Cmp { equal: false, bytes: vec![0; 4] })
    }
}

/// Key of what a map can set, `NFT_META_`.
pub(super) fn writable(to: Writable) -> u32 {
    match to {
        Writable::Mark => meta::MARK,
        Writable::Priority => meta::PRIORITY,
    }
}

/// Keeps the bits in `mask` and no others.
fn keep(mask: &[u8]) -> Expression {
    Expression::Bits { mask: mask.to_owned(), xor: vec![0; mask.len()] }
}

/// The checks that `fields` need and `known` does not hold, in the order in which they are made.
pub(super) fn missing(family: TableFamily, fields: &[Field], known: &[Check]) -> Vec<Check> {
    let mut missing = Vec::new();
    for check in fields.iter().flat_map(|field| checks(family, *field)) {
        if !known.contains(check) && !missing.contains(check) {
            missing.push(*check);
        }
    }
    missing
}

fn checks(family: TableFamily, field: Field) -> &'static [Check] {
    match (field, family) {
        (Field::EtherSaddr | Field::EtherDaddr | Field::EtherType, TableFamily::Inet) => {
            &[Check::Ethernet]
        }
        (Field::Ip4Saddr | Field::Ip4Daddr, _) => &[Check::Network(ether_type::IP)],
        (Field::Ip6Saddr | Field::Ip6Daddr, _) => &[Check::Network(ether_type::IP6)],
        (Field::ArpSaddrIp | Field::ArpSaddrEther, _) => &[Check::Network(ether_type::ARP)],
        (Field::Icmpv6Type, _) => &[Check::Network(ether_type::IP6), Check::Icmpv6],
        (
            Field::EtherSaddr
            | Field::EtherDaddr
            | Field::EtherType
            | Field::Iifname
            | Field::Oifname
            | Field::Nfproto
            | Field::L4proto
            | Field::Sport
            | Field::Dport
            | Field::Mark
            | Field::Priority
            | Field::Random(_)
            | Field::FibDaddrType
            | Field::FibDaddrOif
            | Field::CtDirection
            | Field::Client4
            | Field::Client6
            | Field::Server4
            | Field::Server6
            | Field::ServerPort,
            _,
        ) => &[],
    }
}

impl Check {
    /// The check itself.
    pub(super) fn expressions(self, family: TableFamily) -> [Expression; 2] {
        let (key, bytes) = match (self, family) {
            (Check::Ethernet, _) => (meta::IIFTYPE, ETHERNET.to_ne_bytes().to_vec()),
            (Check::Network(ether_type::IP), TableFamily::Inet) => {
                (meta::NFPROTO, vec![NFPROTO_IPV4])
            }
            (Check::Network(ether_type::IP6), TableFamily::Inet) => {
                (meta::NFPROTO, vec![NFPROTO_IPV6])
            }
            (Check::Network(kind), _) => (meta::PROTOCOL, kind.to_be_bytes().to_vec()),
            (Check::Icmpv6, _) => (meta::L4PROTO, vec![ICMPV6]),
        };
        let load = Expression::Load { load: Load::Meta(key), to: 0 };
        [load, Expression::Cmp { equal: true, bytes }]
    }
}

/// What the kernel compares `field` with; `None` when `value` is nothing the field could be.
fn constant(field: Field, value: &Value) -> Option<Vec<u8>> {
    if let (Field::Iifname | Field::Oifname, Value::Name(name)) = (field, value)
        && let Some(prefix) = name.strip_suffix('*')
    {
        let fits = (1..bytes::IFNAME).contains(&prefix.len());
        return fits.then(|| prefix.as_bytes().to_owned());
    }
    match (field, value) {
        (Field::FibDaddrType | Field::FibDaddrOif, Value::Number(found)) => {
            Some(u32::from(*found).to_ne_bytes().to_vec())
        }
        (Field::FibDaddrType | Field::FibDaddrOif, _) => None,
        _ if !bytes::is_of(value, bytes::kind(field)) => None,
        _ => Some(bytes::encode(value)?.as_slice().to_owned()),
    }
}

/// How `field` is read.
pub(super) fn load(field: Field) -> Load {
    let len = bytes::width(bytes::kind(field));
    let link = |offset| Load::Payload { base: payload::LINK, offset, len };
    let network = |offset| Load::Payload { base: payload::NETWORK, offset, len };
    let transport = |offset| Load::Payload { base: payload::TRANSPORT, offset, len };
    match field {
        Field::Iifname => Load::Meta(meta::IIFNAME),
        Field::Oifname => Load::Meta(meta::OIFNAME),
        Field::EtherDaddr => link(0),
        Field::EtherSaddr => link(6),
        Field::EtherType => link(12),
        Field::Ip4Saddr => network(12),
        Field::Ip4Daddr => network(16),
        Field::Ip6Saddr => network(8),
        Field::Ip6Daddr => network(24),
        Field::ArpSaddrEther => network(8),
        Field::ArpSaddrIp => network(14),
        Field::Nfproto => Load::Meta(meta::NFPROTO),
        Field::L4proto => Load::Meta(meta::L4PROTO),
        Field::Sport | Field::Icmpv6Type => transport(0),
        Field::Dport => transport(2),
        Field::Mark => Load::Meta(meta::MARK),
        Field::Priority => Load::Meta(meta::PRIORITY),
        Field::Random(modulus) => Load::Random(modulus),
        Field::FibDaddrType => Load::FibDaddrType,
        Field::FibDaddrOif => Load::FibDaddrOif,
        Field::CtDirection => Load::Ct(ct::KEY_DIRECTION),
        Field::Client4 => Load::Tuple { key: ct::SRC_IP, direction: ct::ORIGINAL },
        Field::Client6 => Load::Tuple { key: ct::SRC_IP6, direction: ct::ORIGINAL },
        Field::Server4 => Load::Tuple { key: ct::SRC_IP, direction: ct::REPLY },
        Field::Server6 => Load::Tuple { key: ct::SRC_IP6, direction: ct::REPLY },
        Field::ServerPort => Load::Tuple { key: ct::PROTO_SRC, direction: ct::REPLY },
    }
}

/// How many slots `field` takes in a key.
pub(super) fn slots(field: Field) -> u32 {
    bytes::width(bytes::kind(field)).div_ceil(4)
}

fn slot(at: u32) -> Result<Slot, Inexpressible> {
    let slot = Slot::try_from(at).ok().filter(|_| at < SLOTS);
    slot.ok_or_else(|| Inexpressible("key longer than 64 bytes".to_owned()))
}

fn masquerade(fully_random: bool) -> Expression {
    Expression::Masquerade { flags: if fully_random { masq::F_FULLY_RANDOM } else { 0 } }
}

/// The address stands in the first slot, the port behind it.
pub(super) fn nat(side: Nat, ipv6: bool) -> Expression {
    let (family, port) = if ipv6 { (NFPROTO_IPV6, 4) } else { (NFPROTO_IPV4, 1) };
    Expression::Nat { destination: side == Nat::Dnat, family, addr: 0, port }
}

/// `NF_CT_STATE_`: `nft_ct_get_eval()` makes a bit of the state.
pub(super) fn state_bit(state: CtState) -> u32 {
    match state {
        CtState::Invalid => 1,
        CtState::Established => 2,
        CtState::Related => 4,
        CtState::New => 8,
        CtState::Untracked => 0x40,
    }
}

/// `IPS_` of linux/netfilter/nf_conntrack_common.h.
pub(super) fn status_bit(status: CtStatus) -> u32 {
    match status {
        CtStatus::Expected => 1,
        CtStatus::SeenReply => 2,
        CtStatus::Assured => 4,
        CtStatus::Confirmed => 8,
        CtStatus::Snat => 0x10,
        CtStatus::Dnat => 0x20,
        CtStatus::Dying => 0x200,
    }
}
