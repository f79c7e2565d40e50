//! What a client asks.

use model::DomainName;

use super::{HEADER, INTERNET, LARGEST_UDP, Rcode, RecordType, bit, name, short};

/// A question that can be answered.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// What the client tells its answers by.
    pub id: u16,
    /// Whether the client wants others to be asked.
    pub recursion_desired: bool,
    /// Whether the client verifies signatures by itself.
    pub checking_disabled: bool,
    /// Whether the client wants to know if signatures have been verified.
    pub authentic_desired: bool,
    /// The name in question, in lower case.
    pub name: DomainName,
    /// The type in question.
    pub kind: RecordType,
    /// The question as the client wrote it: name, type and class.
    pub question: &'a [u8],
    /// What the client says of itself, if it does.
    pub edns: Option<Edns<'a>>,
    /// The cookies that answers bring: the client's own 8 bytes and 16 of the server, which puts them
    /// here.
    pub cookies: Option<[u8; 24]>,
}

/// What a client can do beyond RFC 1035.
///
/// Source: RFC 6891 §6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns<'a> {
    /// The largest message over UDP that it takes, in bytes.
    pub size: u16,
    /// Whether it wants signatures.
    pub dnssec_ok: bool,
    /// Its cookie of 8 bytes, and after it the server's, if it has one (RFC 7873 §4).
    pub cookie: Option<&'a [u8]>,
}

/// A message that is no question to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered<'a> {
    /// Nothing is to be said: it is too short to have an id, or an answer itself. Two servers could
    /// answer each other's answers for ever (T25).
    Silent,
    /// The client is told why.
    Refused(Refusal<'a>),
}

/// Why a question is not looked up, in the words of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Of the message.
    pub id: u16,
    /// The reason.
    pub rcode: Rcode,
    /// Opcode, RD and CD of the message, as they stand in its header.
    pub(super) echoed: u16,
    /// The question, where it was understood.
    pub(super) question: &'a [u8],
    /// Whether the client spoke EDNS.
    pub(super) has_edns: bool,
}

/// Reads what a client sent.
///
/// Whatever else is in the message is walked over: a signature, say, or the serial of an IXFR. Bytes
/// behind the last record are nobody's.
///
/// # Errors
/// [`Unanswered`] when it is no question to be looked up: DNS-61 to DNS-64.
pub fn read(message: &[u8]) -> Result<Query<'_>, Unanswered<'_>> {
    let count = |i: usize| short(message, 4 + 2 * i);
    let (Some(id), Some(flags), Some(questions), Some(_)) =
        (short(message, 0), short(message, 2), count(0), count(3))
    else {
        return Err(Unanswered::Silent);
    };
    if flags & bit::RESPONSE != 0 {
        return Err(Unanswered::Silent);
    }
    let echoed = flags & (bit::OPCODE | bit::RECURSION_DESIRED | bit::CHECKING_DISABLED);
    let refusal = |rcode, question, has_edns| {
        Unanswered::Refused(Refusal { id, rcode, echoed, question, has_edns })
    };
    if flags & bit::OPCODE != 0 {
        return Err(refusal(Rcode::NotImp, &[], false));
    }
    let malformed = || refusal(Rcode::FormErr, &[], false);
    if questions != 1 {
        return Err(malformed());
    }
    let name = DomainName::from_wire(&message[HEADER..]).ok_or_else(malformed)?;
    let end = HEADER + name.as_wire().len();
    let kind = short(message, end).ok_or_else(malformed)?;
    let class = short(message, end + 2).ok_or_else(malformed)?;
    let question = &message[HEADER..end + 4];
    let edns = match edns(message, end + 4) {
        Ok(edns) => edns,
        Err(rcode) => return Err(refusal(rcode, question, rcode == Rcode::BadVers)),
    };
    if class != INTERNET {
        return Err(refusal(Rcode::Refused, question, edns.is_some()));
    }
    Ok(Query {
        id,
        recursion_desired: flags & bit::RECURSION_DESIRED != 0,
        checking_disabled: flags & bit::CHECKING_DISABLED != 0,
        authentic_desired: flags & bit::AUTHENTIC != 0,
        name: name.lowered(),
        kind: RecordType(kind),
        question,
        edns,
        cookies: None,
    })
}

/// The OPT record of a message whose question ends at `at`.
fn edns(message: &[u8], mut at: usize) -> Result<Option<Edns<'_>>, Rcode> {
    let count = |i: usize| short(message, 4 + 2 * i).map_or(0, u32::from);
    let (before, all) = (count(1) + count(2), count(1) + count(2) + count(3));
    let mut found = None;
    for i in 0..all {
        // A record has eleven bytes at least, so this ends with the message, whatever the counts say.
        let record = Record::at(message, at).ok_or(Rcode::FormErr)?;
        if record.kind == RecordType::OPT {
            let is_root = message.get(at) == Some(&0);
            if i < before || !is_root || found.is_some() {
                return Err(Rcode::FormErr); // RFC 6891 §6.1.1.
            }
            found = Some(record.edns()?);
        }
        at = record.end;
    }
    Ok(found)
}

/// A record of any type.
struct Record<'a> {
    kind: RecordType,
    class: u16,
    ttl: [u8; 4],
    rdata: &'a [u8],
    end: usize,
}

impl<'a> Record<'a> {
    fn at(message: &'a [u8], at: usize) -> Option<Self> {
        let at = name::end(message, at)?;
        let (kind, class) = (short(message, at)?, short(message, at + 2)?);
        let ttl = message.get(at + 4..at + 8)?.try_into().ok()?;
        let begins = at + 10;
        let end = begins + usize::from(short(message, at + 8)?);
        let rdata = message.get(begins..end)?;
        Some(Record { kind: RecordType(kind), class, ttl, rdata, end })
    }

    /// What it says, being an OPT record (RFC 6891 §6.1.2, §6.1.3).
    fn edns(&self) -> Result<Edns<'a>, Rcode> {
        let [_extended_rcode, version, high, _low] = self.ttl;
        if version != 0 {
            return Err(Rcode::BadVers);
        }
        let cookie = cookie(self.rdata).ok_or(Rcode::FormErr)?;
        Ok(Edns { size: self.class, dnssec_ok: high & 0x80 != 0, cookie })
    }
}

/// The option that holds cookies (RFC 7873 §4).
pub(super) const COOKIE: u16 = 10;

/// The cookie among `options`, if there is one; the outer `None` when the options are malformed.
fn cookie(mut options: &[u8]) -> Option<Option<&[u8]>> {
    let mut found = None;
    while !options.is_empty() {
        let (code, len) = (short(options, 0)?, usize::from(short(options, 2)?));
        let value = options.get(4..4 + len)?;
        if code == COOKIE && found.is_none() {
            // The client's own is 8 bytes, the server's 8 to 32 (RFC 7873 §5.2.2).
            found = Some(value).filter(|_| len == 8 || (16..=40).contains(&len));
            found?;
        }
        options = &options[4 + len..];
    }
    Some(found)
}

impl Query<'_> {
    /// The largest answer over UDP, in bytes (DNS-65).
    pub(super) fn udp_limit(&self) -> usize {
        match self.edns {
            None => super::PLAIN_UDP,
            Some(edns) => usize::from(edns.size.min(LARGEST_UDP)).max(super::PLAIN_UDP),
        }
    }
}
