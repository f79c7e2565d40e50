//! The kernel's expressions, the instructions that rules are made of, and their netlink form.

use std::sync::Arc;

use plan::nft::{DynamicOp, Rate, SetName, Verdict};

use super::abi;
use super::wire::Writer;

/// A register in units of four bytes: the first of the sixteen is 0.
pub(super) type Slot = u8;

/// `NFT_REG32_00`.
pub(super) const REG32: u32 = 8;
/// How many slots a 16-byte register holds.
pub(super) const SLOTS: u32 = 4;

/// The kernel's name of [`Expression::Limit`], which is inside of [`Expression::Excess`], too.
pub(super) const LIMIT: &str = "limit";

/// An expression that Seaway writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// Reads a field into the register `to`.
    Load { load: Load, to: Slot },
    /// Goes on if the first register equals `bytes`, or does not.
    Cmp { equal: bool, bytes: Vec<u8> },
    /// Goes on if the first register is `first`, `last` or between.
    Range { first: [u8; 2], last: [u8; 2] },
    /// Keeps the first register's bits in `mask`, then flips those in `xor`, which is as long.
    Bits { mask: Vec<u8>, xor: Vec<u8> },
    /// Looks the first register up; `inverted` goes on when it is not there.
    Lookup { set: SetName, inverted: bool, to: LookupTo },
    /// Fills the first register.
    Fill { bytes: Vec<u8> },
    /// Sets a fact about the packet, `NFT_META_`, to the first register.
    SetMeta(u32),
    /// Sets the connection's mark to the first register.
    SetConnectionMark,
    /// Writes an element: its key is the first register, what it leads to stands at `data`.
    Dynamic { op: DynamicOp, set: SetName, data: Slot },
    /// Goes on if more packets than this come with the first register as the key of an element.
    Excess { set: SetName, rate: Rate },
    /// Goes on as long as no more packets than this come.
    Limit(Rate),
    /// Shows the packet to those who listen to a group.
    Log { prefix: Arc<str>, group: u16 },
    /// Counts.
    Counter,
    /// Keeps no flow of the packet.
    Notrack,
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
    /// A part, `NFT_CT_`, of the addresses of a flow's packets in one direction, `IP_CT_DIR_`.
    Tuple { key: u32, direction: u8 },
    /// A number below this one.
    Random(u32),
    /// The type of the destination address.
    FibDaddrType,
    /// Whether a route leads to the destination.
    FibDaddrOif,
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
            Expression::Load { load: Load::Ct(_) | Load::Tuple { .. }, .. }
            | Expression::SetConnectionMark => "ct",
            Expression::Range { .. } => "range",
            Expression::Load { load: Load::Random(_), .. } => "numgen",
            Expression::Load { load: Load::FibDaddrType | Load::FibDaddrOif, .. } => "fib",
            Expression::Dynamic { .. } | Expression::Excess { .. } => "dynset",
            Expression::Cmp { .. } => "cmp",
            Expression::Bits { .. } => "bitwise",
            Expression::Lookup { .. } => "lookup",
            Expression::Fill { .. } | Expression::Verdict(_) => "immediate",
            Expression::Limit(_) => LIMIT,
            Expression::Log { .. } => "log",
            Expression::Counter => "counter",
            Expression::Notrack => "notrack",
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
            Expression::Range { first, last } => write_range(out, *first, *last),
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
            Expression::SetConnectionMark => {
                out.be32(abi::ct::KEY, abi::ct::MARK);
                out.be32(abi::ct::SREG, register(0));
            }
            Expression::Dynamic { op, set, data } => {
                write_dynamic(out, *op, set);
                out.be32(abi::dynset::SREG_DATA, register(*data));
            }
            Expression::Excess { set, rate } => write_excess(out, set, *rate),
            Expression::Limit(rate) => write_limit(out, *rate, 0),
            Expression::Log { prefix, group } => {
                out.text(abi::log::PREFIX, prefix);
                out.attr(abi::log::GROUP, &group.to_be_bytes());
            }
            Expression::Nat { destination, family, addr, port } => {
                write_nat(out, *destination, *family, [*addr, *port]);
            }
            Expression::Masquerade { flags: 0 }
            | Expression::Counter
            | Expression::Notrack
            | Expression::Foreign => {}
            Expression::Masquerade { flags } => out.be32(abi::masq::FLAGS, *flags),
            Expression::RejectPort => {
                write_reject(out, abi::reject::ICMPX, abi::reject::ICMPX_PORT_UNREACH);
            }
            Expression::RejectReset => write_reject(out, abi::reject::TCP_RST, 0),
            Expression::Verdict(verdict) => {
                out.be32(abi::immediate::DREG, 0);
                out.nest(abi::immediate::DATA, |out| write_verdict(out, verdict));
            }
        }
    }
}

/// The register's number for the kernel.
fn register(slot: Slot) -> u32 {
    REG32 + u32::from(slot)
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
        Load::Tuple { key, direction } => {
            out.be32(abi::ct::KEY, key);
            out.be32(abi::ct::DREG, to);
            out.attr(abi::ct::DIRECTION, &[direction]);
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
        Load::FibDaddrOif => {
            out.be32(abi::fib::FLAGS, abi::fib::F_DADDR | abi::fib::F_PRESENT);
            out.be32(abi::fib::RESULT, abi::fib::OIF);
            out.be32(abi::fib::DREG, to);
        }
    }
}

fn write_dynamic(out: &mut Writer, op: DynamicOp, set: &SetName) {
    let op = match op {
        DynamicOp::Update => abi::dynset::UPDATE,
        DynamicOp::Delete => abi::dynset::DELETE,
    };
    out.text(abi::dynset::SET, &set.0);
    out.be32(abi::dynset::OP, op);
    out.be32(abi::dynset::SREG_KEY, register(0));
}

/// Matches what is over the rate.
fn write_excess(out: &mut Writer, set: &SetName, rate: Rate) {
    write_dynamic(out, DynamicOp::Update, set);
    out.nest(abi::dynset::EXPR, |out| {
        out.text(abi::expr::NAME, LIMIT);
        out.nest(abi::expr::DATA, |out| write_limit(out, rate, abi::limit::F_INV));
    });
}

fn write_limit(out: &mut Writer, rate: Rate, flags: u32) {
    out.attr(abi::limit::RATE, &u64::from(rate.per_second.get()).to_be_bytes());
    out.attr(abi::limit::UNIT, &abi::limit::SECOND.to_be_bytes());
    out.be32(abi::limit::BURST, rate.burst.get());
    out.be32(abi::limit::TYPE, abi::limit::PACKETS);
    out.be32(abi::limit::FLAGS, flags);
}

fn write_nat(out: &mut Writer, destination: bool, family: u8, [addr, port]: [Slot; 2]) {
    out.be32(abi::nat::TYPE, if destination { abi::nat::DNAT } else { abi::nat::SNAT });
    out.be32(abi::nat::FAMILY, u32::from(family));
    out.be32(abi::nat::ADDR_MIN, register(addr));
    out.be32(abi::nat::PROTO_MIN, register(port));
}

fn write_reject(out: &mut Writer, kind: u32, code: u8) {
    out.be32(abi::reject::TYPE, kind);
    out.attr(abi::reject::CODE, &[code]);
}

fn write_range(out: &mut Writer, first: [u8; 2], last: [u8; 2]) {
    out.be32(abi::range::SREG, register(0));
    out.be32(abi::range::OP, abi::range::EQ);
    out.nest(abi::range::FROM, |out| out.attr(abi::data::VALUE, &first));
    out.nest(abi::range::TO, |out| out.attr(abi::data::VALUE, &last));
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
