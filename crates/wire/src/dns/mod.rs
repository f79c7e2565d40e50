//! DNS messages: [`read()`] takes a client's question apart, [`Reply`] writes the answer. [`Asked`] is what
//! other servers are asked, [`hear()`] what they answer.
//!
//! Nothing here is allocated but room in the caller's buffer, and no byte of a message is looked at
//! more often than a constant number of times: who asks may be anybody (DNS-162).
//!
//! Sources: RFC 1035, RFC 2181, RFC 6891 (EDNS), RFC 7873 (cookies), RFC 8482 (ANY); DNS-60 to DNS-79.

mod ask;
mod name;
mod query;
mod reply;

use std::fmt;

pub use ask::{Asked, Heard, HeardRecord, hear};
pub use query::{Edns, Query, Refusal, Unanswered, read};
pub use reply::{Body, Full, Reply, Section, Transport, refuse};

/// Bytes of a message's header.
const HEADER: usize = 12;

/// The largest message over UDP that a client takes who says nothing (RFC 1035 §4.2.1).
const PLAIN_UDP: usize = 512;

/// The largest message that is sent over UDP, and what the server says that it takes: it fits any
/// path's MTU (DNS flag day 2020).
pub const LARGEST_UDP: u16 = 1232;

/// Class IN.
const INTERNET: u16 = 1;

/// Header bits.
mod bit {
    /// It is an answer.
    pub(super) const RESPONSE: u16 = 0x8000;
    /// The operation; 0 is a query.
    pub(super) const OPCODE: u16 = 0x7800;
    /// Who answers has authority over the name.
    pub(super) const AUTHORITATIVE: u16 = 0x0400;
    /// There is more than fits.
    pub(super) const TRUNCATED: u16 = 0x0200;
    /// The client wants the server to ask others.
    pub(super) const RECURSION_DESIRED: u16 = 0x0100;
    /// The server does ask others.
    pub(super) const RECURSION_AVAILABLE: u16 = 0x0080;
    /// What is answered has been verified; or the client wants to know whether it has (RFC 6840 §5.7).
    pub(super) const AUTHENTIC: u16 = 0x0020;
    /// The client verifies by itself (RFC 4035 §3.2.2).
    pub(super) const CHECKING_DISABLED: u16 = 0x0010;
}

/// Type of a record, or of a question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

macro_rules! types {
    ($($(#[$doc:meta])* $name:ident = $number:literal),+ $(,)?) => {
        impl RecordType {
            $($(#[$doc])* pub const $name: RecordType = RecordType($number);)+
        }

        /// By name, or like `TYPE1234` (RFC 3597).
        impl fmt::Display for RecordType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(RecordType::$name => f.write_str(stringify!($name)),)+
                    RecordType(number) => write!(f, "TYPE{number}"),
                }
            }
        }
    };
}

types! {
    /// An IPv4 address.
    A = 1,
    /// A name server.
    NS = 2,
    /// Another name for the same.
    CNAME = 5,
    /// Start of a zone.
    SOA = 6,
    /// The name of an address.
    PTR = 12,
    /// What a host is; the answer to ANY.
    HINFO = 13,
    /// A mail server.
    MX = 15,
    /// Text.
    TXT = 16,
    /// An IPv6 address.
    AAAA = 28,
    /// Where a service is.
    SRV = 33,
    /// EDNS.
    OPT = 41,
    /// How a service is reached (RFC 9460).
    SVCB = 64,
    /// The same for HTTP.
    HTTPS = 65,
    /// What changed in a zone.
    IXFR = 251,
    /// A whole zone.
    AXFR = 252,
    /// Any type.
    ANY = 255,
}

impl fmt::Debug for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How a question fared.
///
/// Source: RFC 1035 §4.1.1, RFC 6891 §9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rcode {
    /// The name exists, whether or not it has records of that type.
    NoError,
    /// The message is none.
    FormErr,
    /// The server can't tell now.
    ServFail,
    /// The name does not exist.
    NxDomain,
    /// The server does not do that.
    NotImp,
    /// The server won't.
    Refused,
    /// An EDNS version that the server does not know.
    BadVers,
    /// The client is to ask again, with the cookie that comes with this (RFC 7873 §8).
    BadCookie,
}

impl Rcode {
    /// The one with this number, of those that are told apart here.
    pub fn of(number: u16) -> Option<Self> {
        let all = [
            Rcode::NoError,
            Rcode::FormErr,
            Rcode::ServFail,
            Rcode::NxDomain,
            Rcode::NotImp,
            Rcode::Refused,
            Rcode::BadVers,
        ];
        all.into_iter().find(|rcode| rcode.number() == number)
    }

    /// The number: four bits in the header, the others in the OPT record.
    pub fn number(self) -> u16 {
        match self {
            Rcode::NoError => 0,
            Rcode::FormErr => 1,
            Rcode::ServFail => 2,
            Rcode::NxDomain => 3,
            Rcode::NotImp => 4,
            Rcode::Refused => 5,
            Rcode::BadVers => 16,
            Rcode::BadCookie => 23,
        }
    }
}

/// As `dig` prints them.
impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rcode::NoError => "NOERROR",
            Rcode::FormErr => "FORMERR",
            Rcode::ServFail => "SERVFAIL",
            Rcode::NxDomain => "NXDOMAIN",
            Rcode::NotImp => "NOTIMP",
            Rcode::Refused => "REFUSED",
            Rcode::BadVers => "BADVERS",
            Rcode::BadCookie => "BADCOOKIE",
        })
    }
}

/// The two bytes at `at`, if the message is that long.
fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([two[0], two[1]]))
}
