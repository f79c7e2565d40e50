//! A line for each question, or for some of them.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use model::DomainName;
use wire::dns::{Rcode, RecordType, Transport};

use super::counts::{Origin, Told};

/// A question and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Who wanted to know.
    pub client: SocketAddr,
    /// How the question came.
    pub transport: Transport,
    /// What the client tells its answers by.
    pub id: u16,
    /// The name, in lower case.
    pub name: DomainName,
    /// The type.
    pub kind: RecordType,
    /// Whether the client wants signatures.
    pub dnssec_ok: bool,
    /// The largest answer that the client says it takes, in bytes; `None` without EDNS.
    pub takes: Option<u16>,
    /// Length of the question, in bytes.
    pub question: usize,
    /// How it fared.
    pub rcode: Rcode,
    /// Where the answer is from.
    pub origin: Origin,
    /// Which name of its search list the client was answered by, if by one of them: counted from 0 after
    /// the one in question.
    pub searched: Option<u8>,
    /// The second two bytes of the answer: its flags.
    pub flags: u16,
    /// Length of the answer, in bytes.
    pub answer: usize,
    /// How long it took until it was answered.
    pub took: Duration,
}

/// As CoreDNS's plugin `log` has it, in its common log format:
/// `10.244.1.5:50759 - 29008 "A IN example.org. udp 41 false 4096" NOERROR qr,rd,ra 68 0.037990251s`.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a client takes who says nothing (RFC 1035 §2.3.4), and over TCP any (§4.2.2).
        let (proto, takes) = match self.transport {
            Transport::Udp => ("udp", self.takes.unwrap_or(512).max(512)),
            Transport::Tcp => ("tcp", u16::MAX),
        };
        let Asked { client, id, name, kind, dnssec_ok, question, rcode, answer, .. } = self;
        write!(f, "{client} - {id} ")?;
        write!(f, "\"{kind} IN {name} {proto} {question} {dnssec_ok} {takes}\" {rcode} ")?;
        let mut between = "";
        for (bit, flag) in FLAGS {
            if self.flags & bit != 0 {
                write!(f, "{between}{flag}")?;
                between = ",";
            }
        }
        write!(f, " {answer} {:.9}s", self.took.as_secs_f64())
    }
}

/// Bits of a message's header (RFC 1035 §4.1.1, RFC 2535 §6.1), in the order in which they are written.
const FLAGS: [(u16, &str); 7] = [
    (0x8000, "qr"),
    (0x0400, "aa"),
    (0x0200, "tc"),
    (0x0100, "rd"),
    (0x0080, "ra"),
    (0x0020, "ad"),
    (0x0010, "cd"),
];

/// Which questions are told of, and to whom.
#[derive(Debug)]
pub struct Log {
    every: NonZero<u32>,
    to: SyncSender<Asked>,
    answered: AtomicU32,
    lost: Arc<AtomicU64>,
}

/// A question and its answer, as they were on their way.
pub(super) struct Exchange<'e> {
    pub(super) client: SocketAddr,
    pub(super) transport: Transport,
    pub(super) question: &'e [u8],
    pub(super) answer: &'e [u8],
}

impl Log {
    /// Tells `to` of one question of so many: of all, if it is one. What there is no room for is added
    /// to `lost`: nobody waits for a log.
    pub fn new(every: NonZero<u32>, to: SyncSender<Asked>, lost: Arc<AtomicU64>) -> Self {
        Log { every, to, answered: AtomicU32::new(0), lost }
    }

    /// Tells of a question, if it is one of those to be told of. What is no question is not.
    pub(super) fn say(&self, exchange: &Exchange<'_>, told: Told, took: Duration) {
        if !self.answered.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.every.get()) {
            return;
        }
        let Exchange { client, transport, question, answer } = *exchange;
        let Ok(query) = wire::dns::read(question) else { return };
        let asked = Asked {
            client,
            transport,
            id: query.id,
            name: query.name,
            kind: query.kind,
            dnssec_ok: query.edns.is_some_and(|edns| edns.dnssec_ok),
            takes: query.edns.map(|edns| edns.size),
            question: question.len(),
            rcode: told.rcode,
            origin: told.origin,
            searched: told.searched,
            flags: answer.get(2..4).map_or(0, |two| u16::from_be_bytes([two[0], two[1]])),
            answer: answer.len(),
            took,
        };
        if self.to.try_send(asked).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
