//! The kernel's expressions, the instructions that rules are made of, and their netlink form.

use plan::nft::{ChainName, DynamicOp, SetName, Verdict};

use super::abi;
use super::wire::{Attrs, Writer};

/// A register in units of four bytes: the first of the sixteen is 0.
pub(super) type Slot = u8;

/// `NFT_REG32_00`.
const REG32: u32 = 8;
/// How many slots a 16-byte register holds.
const SLOTS: u32 = 4;

/// An expression that Seaway writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// Reads a field into the register `to`.
    Load { load: Load, to: Slot },
    /// Goes on if the first register equals `bytes`, or does not.
    Cmp { equal: bool, bytes: Vec<u8> },
    /// Keeps the first register's bits in `mask`, then flips those in `xor`, which is as long.
    Bits { mask: Vec<u8>, xor: Vec<u8> },
    /// Looks the first register up; `inverted` goes on when it is not there.
    Lookup { set: SetName, inverted: bool, to: LookupTo },
    /// Fills the first register.
    Fill { bytes: Vec<u8> },
    /// Sets a fact about the packet, `NFT_META_`, to the first register.
    SetMeta(u32),
    /// Writes an element: its key is the first register, what it leads to stands at `data`.
    Dynamic { op: DynamicOp, set: SetName, data: Slot },
    /// Counts.
    Counter,
    /// Rewrites the flow's addresses to what the registers hold.
    Nat { destination: bool, family: u8, addr: Slot, port: Slot },
    /// Masquerades with these flags.
    Masquerade { flags: u32 },
    /// Answers by ICMP or ICMPv6, port unreachable.
    RejectPort,
    /// Answers with a TCP reset.
    RejectReset,
    /// Ends with a verdict.
    Verdict(Verdict),
    /// Anything else.
    Foreign,
}

/// Where the value that a map's key leads to goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookupTo {
    /// It is a set.
    Nothing,
    /// To the first register.
    Register,
    /// It is the verdict.
    Verdict,
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// A fact about the packet, `NFT_META_`.
    Meta(u32),
    /// Bytes of the packet.
    Payload { base: u32, offset: u32, len: u32 },
    /// A fact about the flow, `NFT_CT_`.
    Ct(u32),
    /// A number below this one.
    Random(u32),
    /// The type of the destination address.
    FibDaddrType,
}

impl Expression {
    /// Writes it as one element of a rule's list.
    pub(super) fn write(&self, out: &mut Writer) {
        let (name, start) = (self.name(), out.open_nest(abi::NFTA_LIST_ELEM));
        out.text(abi::expr::NAME, name);
        out.nest(abi::expr::DATA, |out| self.write_attrs(out));
        out.close_attr(start);
    }

    fn name(&self) -> &'static str {
        match self {
            Expression::Load { load: Load::Meta(_), .. } | Expression::SetMeta(_) => "meta",
            Expression::Load { load: Load::Payload { .. }, .. } => "payload",
            Expression::Load { load: Load::Ct(_), .. } => "ct",
            Expression::Load { load: Load::Random(_), .. } => "numgen",
            Expression::Load { load: Load::FibDaddrType, .. } => "fib",
            Expression::Dynamic { .. } => "dynset",
            Expression::Cmp { .. } => "cmp",
            Expression::Bits { .. } => "bitwise",
            Expression::Lookup { .. } => "lookup",
            Expression::Fill { .. } | Expression::Verdict(_) => "immediate",
            Expression::Counter => "counter",
            Expression::Nat { .. } => "nat",
            Expression::Masquerade { .. } => "masq",
            Expression::RejectPort | Expression::RejectReset => "reject",
            Expression::Foreign => "",
        }
    }

    fn write_attrs(&self, out: &mut Writer) {
        match self {
            Expression::Load { load, to } => write_load(out, *load, register(*to)),
            Expression::Cmp { equal, bytes } => {
                out.be32(abi::cmp::SREG, register(0));
                out.be32(abi::cmp::OP, if *equal { abi::cmp::EQ } else { abi::cmp::NEQ });
                out.nest(abi::cmp::DATA, |out| out.attr(abi::data::VALUE, bytes));
            }
            Expression::Bits { mask, xor } => write_bits(out, mask, xor),
            Expression::Lookup { set, inverted, to } => {
                out.text(abi::lookup::SET, &set.0);
                out.be32(abi::lookup::SREG, register(0));
                match to {
                    LookupTo::Nothing => {}
                    LookupTo::Register => out.be32(abi::lookup::DREG, register(0)),
                    LookupTo::Verdict => out.be32(abi::lookup::DREG, 0),
                }
                out.be32(abi::lookup::FLAGS, if *inverted { abi::lookup::F_INV } else { 0 });
            }
            Expression::Fill { bytes } => {
                out.be32(abi::immediate::DREG, register(0));
                out.nest(abi::immediate::DATA, |out| out.attr(abi::data::VALUE, bytes));
            }
            Expression::SetMeta(key) => {
                out.be32(abi::meta::KEY, *key);
                out.be32(abi::meta::SREG, register(0));
            }
            Expression::Dynamic { op, set, data } => write_dynamic(out, *op, set, *data),
            Expression::Nat { destination, family, addr, port } => {
                let kind = if *destination { abi::nat::DNAT } else { abi::nat::SNAT };
                out.be32(abi::nat::TYPE, kind);
                out.be32(abi::nat::FAMILY, u32::from(*family));
                out.be32(abi::nat::ADDR_MIN, register(*addr));
                out.be32(abi::nat::PROTO_MIN, register(*port));
            }
            Expression::Masquerade { flags: 0 } | Expression::Counter | Expression::Foreign => {}
            Expression::Masquerade { flags } => out.be32(abi::masq::FLAGS, *flags),
            Expression::RejectPort => {
                out.be32(abi::reject::TYPE, abi::reject::ICMPX);
                out.attr(abi::reject::CODE, &[abi::reject::ICMPX_PORT_UNREACH]);
            }
            Expression::RejectReset => {
                out.be32(abi::reject::TYPE, abi::reject::TCP_RST);
                out.attr(abi::reject::CODE, &[0]);
            }
            Expression::Verdict(verdict) => {
                out.be32(abi::immediate::DREG, 0);
                out.nest(abi::immediate::DATA, |out| write_verdict(out, verdict));
            }
        }
    }

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
            "bitwise" => read_bits(attrs),
            "lookup" => read_lookup(attrs),
            "immediate" => read_immediate(attrs),
            "counter" => Some(Expression::Counter),
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

/// The register's number for the kernel.
fn register(slot: Slot) -> u32 {
    REG32 + u32::from(slot)
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

fn write_load(out: &mut Writer, load: Load, to: u32) {
    match load {
        Load::Meta(key) => {
            out.be32(abi::meta::KEY, key);
            out.be32(abi::meta::DREG, to);
        }
        Load::Payload { base, offset, len } => {
            out.be32(abi::payload::DREG, to);
            out.be32(abi::payload::BASE, base);
            out.be32(abi::payload::OFFSET, offset);
            out.be32(abi::payload::LEN, len);
        }
        Load::Ct(key) => {
            out.be32(abi::ct::KEY, key);
            out.be32(abi::ct::DREG, to);
        }
        Load::Random(modulus) => {
            out.be32(abi::numgen::DREG, to);
            out.be32(abi::numgen::MODULUS, modulus);
            out.be32(abi::numgen::TYPE, abi::numgen::RANDOM);
            out.be32(abi::numgen::OFFSET, 0);
        }
        Load::FibDaddrType => {
            out.be32(abi::fib::FLAGS, abi::fib::F_DADDR);
            out.be32(abi::fib::RESULT, abi::fib::ADDRTYPE);
            out.be32(abi::fib::DREG, to);
        }
    }
}

fn write_dynamic(out: &mut Writer, op: DynamicOp, set: &SetName, data: Slot) {
    let op = match op {
        DynamicOp::Update => abi::dynset::UPDATE,
        DynamicOp::Delete => abi::dynset::DELETE,
    };
    out.text(abi::dynset::SET, &set.0);
    out.be32(abi::dynset::OP, op);
    out.be32(abi::dynset::SREG_KEY, register(0));
    out.be32(abi::dynset::SREG_DATA, register(data));
}

fn write_bits(out: &mut Writer, mask: &[u8], xor: &[u8]) {
    out.be32(abi::bitwise::SREG, register(0));
    out.be32(abi::bitwise::DREG, register(0));
    out.be32(abi::bitwise::LEN, u32::try_from(mask.len()).expect("at most an IPv6 address"));
    out.nest(abi::bitwise::MASK, |out| out.attr(abi::data::VALUE, mask));
    out.nest(abi::bitwise::XOR, |out| out.attr(abi::data::VALUE, xor));
}

/// Writes the attributes of a verdict, in a rule or an element.
pub(super) fn write_verdict(out: &mut Writer, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (abi::data::ACCEPT, None),
        Verdict::Drop => (abi::data::DROP, None),
        Verdict::Return => (abi::data::RETURN, None),
        Verdict::Jump(chain) => (abi::data::JUMP, Some(chain)),
        Verdict::Goto(chain) => (abi::data::GOTO, Some(chain)),
    };
    out.nest(abi::data::VERDICT, |out| {
        out.be32(abi::data::VERDICT_CODE, code.cast_unsigned());
        if let Some(chain) = chain {
            out.text(abi::data::VERDICT_CHAIN, &chain.0);
        }
    });
}

/// Reads the attributes of a verdict.
pub(super) fn read_verdict(attrs: Attrs<'_>) -> Option<Verdict> {
    let verdict = attrs.nested(abi::data::VERDICT)?;
    let chain = || Some(ChainName(verdict.text(abi::data::VERDICT_CHAIN)?.to_owned()));
    Some(match verdict.be32(abi::data::VERDICT_CODE)?.cast_signed() {
        abi::data::ACCEPT => Verdict::Accept,
        abi::data::DROP => Verdict::Drop,
        abi::data::RETURN => Verdict::Return,
        abi::data::JUMP => Verdict::Jump(chain()?),
        abi::data::GOTO => Verdict::Goto(chain()?),
        _ => return None,
    })
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
    if attrs.get(abi::ct::DIRECTION).is_some() {
        return None;
    }
    let load = Load::Ct(attrs.be32(abi::ct::KEY)?);
    Some(Expression::Load { load, to: slot(attrs.be32(abi::ct::DREG)?)? })
}

fn read_fib(attrs: Attrs<'_>) -> Option<Expression> {
    let asked = (attrs.be32(abi::fib::RESULT)?, attrs.be32(abi::fib::FLAGS)?);
    (asked == (abi::fib::ADDRTYPE, abi::fib::F_DADDR)).then_some(())?;
    Some(Expression::Load { load: Load::FibDaddrType, to: slot(attrs.be32(abi::fib::DREG)?)? })
}

fn read_random(attrs: Attrs<'_>) -> Option<Expression> {
    let asked = (attrs.be32(abi::numgen::TYPE)?, attrs.be32(abi::numgen::OFFSET).unwrap_or(0));
    (asked == (abi::numgen::RANDOM, 0)).then_some(())?;
    let load = Load::Random(attrs.be32(abi::numgen::MODULUS)?);
    Some(Expression::Load { load, to: slot(attrs.be32(abi::numgen::DREG)?)? })
}

/// Elements last as long as their map says, and carry no expressions.
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
        && attrs.get(abi::dynset::EXPR).is_none()
        && attrs.get(abi::dynset::EXPRESSIONS).is_none();
    plain.then_some(())?;
    let set = SetName(attrs.text(abi::dynset::SET)?.into());
    Some(Expression::Dynamic { op, set, data: slot(attrs.be32(abi::dynset::SREG_DATA)?)? })
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
