//! The kernel's expressions, read from their netlink form. What Seaway does not write is
//! [`Expression::Foreign`].

use std::num::NonZero;

use plan::nft::{ChainName, DynamicOp, Rate, SetName, Verdict};

use super::abi;
use super::expression::{Expression, LIMIT, Load, LookupTo, REG32, SLOTS, Slot};
use super::wire::Attrs;

impl Expression {
    /// The expression in one element of a rule's list.
    pub(super) fn read(element: Attrs<'_>) -> Expression {
        let name = element.text(abi::expr::NAME).unwrap_or_default();
        let attrs = element.nested(abi::expr::DATA).unwrap_or(Attrs(&[]));
        let read = match name {
            "meta" => read_meta(attrs),
            "payload" => read_payload(attrs),
            "ct" => read_ct(attrs),
            "fib" => read_fib(attrs),
            "cmp" => read_cmp(attrs),
            "range" => read_range(attrs),
            "bitwise" => read_bits(attrs),
            "lookup" => read_lookup(attrs),
            "immediate" => read_immediate(attrs),
            LIMIT => read_limit(attrs, 0).map(Expression::Limit),
            "log" => read_log(attrs),
            "counter" => Some(Expression::Counter),
            "notrack" => Some(Expression::Notrack),
            "nat" => read_nat(attrs),
            "masq" => read_masquerade(attrs),
            "numgen" => read_random(attrs),
            "dynset" => read_dynamic(attrs),
            "reject" => read_reject(attrs),
            _ => None,
        };
        read.unwrap_or(Expression::Foreign)
    }
}

/// Reads the attributes of a verdict.
pub(super) fn read_verdict(attrs: Attrs<'_>) -> Option<Verdict> {
    let verdict = attrs.nested(abi::data::VERDICT)?;
    let chain = || Some(ChainName(verdict.text(abi::data::VERDICT_CHAIN)?.into()));
    Some(match verdict.be32(abi::data::VERDICT_CODE)?.cast_signed() {
        abi::data::ACCEPT => Verdict::Accept,
        abi::data::DROP => Verdict::Drop,
        abi::data::RETURN => Verdict::Return,
        abi::data::JUMP => Verdict::Jump(chain()?),
        abi::data::GOTO => Verdict::Goto(chain()?),
        _ => return None,
    })
}

/// The slot of a register that the kernel names: a 16-byte register by its own number, 1 to 4, where
/// the slot is the first of one.
fn slot(register: u32) -> Option<Slot> {
    let slot = match register {
        1..=SLOTS => (register - 1) * SLOTS,
        REG32.. => register - REG32,
        _ => return None,
    };
    u8::try_from(slot).ok().filter(|slot| *slot < 16)
}

fn first(attrs: Attrs<'_>, kind: u16) -> Option<()> {
    (slot(attrs.be32(kind)?)? == 0).then_some(())
}

fn read_meta(attrs: Attrs<'_>) -> Option<Expression> {
    let key = attrs.be32(abi::meta::KEY)?;
    if attrs.get(abi::meta::SREG).is_some() {
        first(attrs, abi::meta::SREG)?;
        let written = [abi::meta::MARK, abi::meta::PRIORITY].contains(&key);
        return written.then_some(Expression::SetMeta(key));
    }
    Some(Expression::Load { load: Load::Meta(key), to: slot(attrs.be32(abi::meta::DREG)?)? })
}

fn read_payload(attrs: Attrs<'_>) -> Option<Expression> {
    let load = Load::Payload {
        base: attrs.be32(abi::payload::BASE)?,
        offset: attrs.be32(abi::payload::OFFSET)?,
        len: attrs.be32(abi::payload::LEN)?,
    };
    Some(Expression::Load { load, to: slot(attrs.be32(abi::payload::DREG)?)? })
}

fn read_ct(attrs: Attrs<'_>) -> Option<Expression> {
    let key = attrs.be32(abi::ct::KEY)?;
    if attrs.get(abi::ct::SREG).is_some() {
        first(attrs, abi::ct::SREG)?;
        return (key == abi::ct::MARK).then_some(Expression::SetConnectionMark);
    }
    let load = match attrs.get(abi::ct::DIRECTION) {
        None => Load::Ct(key),
        Some(direction) => Load::Tuple { key, direction: *direction.first()? },
    };
    Some(Expression::Load { load, to: slot(attrs.be32(abi::ct::DREG)?)? })
}

fn read_fib(attrs: Attrs<'_>) -> Option<Expression> {
    const PRESENT: u32 = abi::fib::F_DADDR | abi::fib::F_PRESENT;
    let load = match (attrs.be32(abi::fib::RESULT)?, attrs.be32(abi::fib::FLAGS)?) {
        (abi::fib::ADDRTYPE, abi::fib::F_DADDR) => Load::FibDaddrType,
        (abi::fib::OIF, PRESENT) => Load::FibDaddrOif,
        _ => return None,
    };
    Some(Expression::Load { load, to: slot(attrs.be32(abi::fib::DREG)?)? })
}

fn read_random(attrs: Attrs<'_>) -> Option<Expression> {
    let asked = (attrs.be32(abi::numgen::TYPE)?, attrs.be32(abi::numgen::OFFSET).unwrap_or(0));
    (asked == (abi::numgen::RANDOM, 0)).then_some(())?;
    let load = Load::Random(attrs.be32(abi::numgen::MODULUS)?);
    Some(Expression::Load { load, to: slot(attrs.be32(abi::numgen::DREG)?)? })
}

/// Elements last as long as their map says, and carry a rate or nothing.
fn read_dynamic(attrs: Attrs<'_>) -> Option<Expression> {
    first(attrs, abi::dynset::SREG_KEY)?;
    let op = match attrs.be32(abi::dynset::OP)? {
        abi::dynset::UPDATE => DynamicOp::Update,
        abi::dynset::DELETE => DynamicOp::Delete,
        _ => return None,
    };
    let timeout = attrs.get(abi::dynset::TIMEOUT).unwrap_or_default();
    let plain = timeout.iter().all(|byte| *byte == 0)
        && attrs.be32(abi::dynset::FLAGS).unwrap_or_default() == 0
        && attrs.get(abi::dynset::EXPRESSIONS).is_none();
    plain.then_some(())?;
    let set = SetName(attrs.text(abi::dynset::SET)?.into());
    match (attrs.nested(abi::dynset::EXPR), attrs.be32(abi::dynset::SREG_DATA)) {
        (None, Some(data)) => Some(Expression::Dynamic { op, set, data: slot(data)? }),
        (Some(limit), None) if op == DynamicOp::Update => {
            Some(Expression::Excess { set, rate: read_excess(limit)? })
        }
        _ => None,
    }
}

fn read_excess(expression: Attrs<'_>) -> Option<Rate> {
    (expression.text(abi::expr::NAME) == Some(LIMIT)).then_some(())?;
    read_limit(expression.nested(abi::expr::DATA)?, abi::limit::F_INV)
}

fn read_limit(attrs: Attrs<'_>, flags: u32) -> Option<Rate> {
    let long = |kind| Some(u64::from_be_bytes(attrs.get(kind)?.try_into().ok()?));
    let is_ours = long(abi::limit::UNIT)? == abi::limit::SECOND
        && attrs.be32(abi::limit::TYPE)? == abi::limit::PACKETS
        && attrs.be32(abi::limit::FLAGS)? == flags;
    is_ours.then_some(())?;
    let per_second = NonZero::new(u32::try_from(long(abi::limit::RATE)?).ok()?)?;
    Some(Rate { per_second, burst: NonZero::new(attrs.be32(abi::limit::BURST)?)? })
}

/// To a group, of which nothing else is said.
fn read_log(attrs: Attrs<'_>) -> Option<Expression> {
    let known = |kind| [abi::log::PREFIX, abi::log::GROUP].contains(&kind);
    attrs.into_iter().all(|(kind, _)| known(kind)).then_some(())?;
    let group = u16::from_be_bytes(attrs.get(abi::log::GROUP)?.try_into().ok()?);
    Some(Expression::Log { prefix: attrs.text(abi::log::PREFIX)?.into(), group })
}

fn read_cmp(attrs: Attrs<'_>) -> Option<Expression> {
    first(attrs, abi::cmp::SREG)?;
    let equal = match attrs.be32(abi::cmp::OP)? {
        abi::cmp::EQ => true,
        abi::cmp::NEQ => false,
        _ => return None,
    };
    let bytes = attrs.nested(abi::cmp::DATA)?.get(abi::data::VALUE)?.to_owned();
    Some(Expression::Cmp { equal, bytes })
}

fn read_range(attrs: Attrs<'_>) -> Option<Expression> {
    first(attrs, abi::range::SREG)?;
    (attrs.be32(abi::range::OP)? == abi::range::EQ).then_some(())?;
    let port = |kind| attrs.nested(kind)?.get(abi::data::VALUE)?.try_into().ok();
    Some(Expression::Range { first: port(abi::range::FROM)?, last: port(abi::range::TO)? })
}

fn read_bits(attrs: Attrs<'_>) -> Option<Expression> {
    first(attrs, abi::bitwise::SREG)?;
    first(attrs, abi::bitwise::DREG)?;
    (attrs.be32(abi::bitwise::OP).unwrap_or_default() == 0).then_some(())?;
    let bytes = |kind| Some(attrs.nested(kind)?.get(abi::data::VALUE)?.to_owned());
    let (mask, xor): (Vec<u8>, Vec<u8>) = (bytes(abi::bitwise::MASK)?, bytes(abi::bitwise::XOR)?);
    (mask.len() == xor.len()).then_some(Expression::Bits { mask, xor })
}

fn read_lookup(attrs: Attrs<'_>) -> Option<Expression> {
    first(attrs, abi::lookup::SREG)?;
    let to = match attrs.be32(abi::lookup::DREG) {
        None => LookupTo::Nothing,
        Some(0) => LookupTo::Verdict,
        Some(register) => (slot(register)? == 0).then_some(LookupTo::Register)?,
    };
    let set = SetName(attrs.text(abi::lookup::SET)?.into());
    let flags = attrs.be32(abi::lookup::FLAGS).unwrap_or_default();
    Some(Expression::Lookup { set, inverted: flags & abi::lookup::F_INV != 0, to })
}

fn read_immediate(attrs: Attrs<'_>) -> Option<Expression> {
    let (to, data) = (attrs.be32(abi::immediate::DREG)?, attrs.nested(abi::immediate::DATA)?);
    if to == 0 {
        return read_verdict(data).map(Expression::Verdict);
    }
    (slot(to)? == 0)
        .then(|| data.get(abi::data::VALUE))
        .flatten()
        .map(|bytes| Expression::Fill { bytes: bytes.to_owned() })
}

fn read_nat(attrs: Attrs<'_>) -> Option<Expression> {
    let destination = match attrs.be32(abi::nat::TYPE)? {
        abi::nat::DNAT => true,
        abi::nat::SNAT => false,
        _ => return None,
    };
    let (addr, port) = (attrs.be32(abi::nat::ADDR_MIN)?, attrs.be32(abi::nat::PROTO_MIN)?);
    let no_range = attrs.be32(abi::nat::ADDR_MAX).is_none_or(|max| max == addr)
        && attrs.be32(abi::nat::PROTO_MAX).is_none_or(|max| max == port);
    let flags = attrs.be32(abi::nat::FLAGS).unwrap_or_default() & !abi::nat::F_IMPLIED;
    (no_range && flags == 0).then_some(())?;
    let family = u8::try_from(attrs.be32(abi::nat::FAMILY)?).ok()?;
    Some(Expression::Nat { destination, family, addr: slot(addr)?, port: slot(port)? })
}

/// Flags are the only attribute that Seaway writes; a port range is not.
fn read_masquerade(attrs: Attrs<'_>) -> Option<Expression> {
    let only_flags = attrs.into_iter().all(|(kind, _)| kind == abi::masq::FLAGS);
    let flags = attrs.be32(abi::masq::FLAGS).unwrap_or_default();
    only_flags.then_some(Expression::Masquerade { flags })
}

fn read_reject(attrs: Attrs<'_>) -> Option<Expression> {
    match attrs.be32(abi::reject::TYPE)? {
        abi::reject::TCP_RST => Some(Expression::RejectReset),
        abi::reject::ICMPX => (attrs.get(abi::reject::CODE)? == [abi::reject::ICMPX_PORT_UNREACH])
            .then_some(Expression::RejectPort),
        _ => None,
    }
}
