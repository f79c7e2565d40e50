//! What a server answers.

use model::DomainName;

use super::name::Places;
use super::query::COOKIE;
use super::{HEADER, INTERNET, LARGEST_UDP, Query, Rcode, RecordType, Refusal, bit};

/// The largest message over TCP, and the largest there is.
const LARGEST: usize = 65_535;

/// Where the question is, and its name.
const QUESTION: u16 = 12;

/// A record with a pointer for its owner, up to its value.
const RECORD: usize = 12;

/// Marks two bytes that say where a name is.
const POINTER: u16 = 0xc000;

/// An OPT record without options.
const OPT: usize = 11;

/// What is before the value of an option.
const OPTION: usize = 4;

/// How the question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram: the answer fits the size that the client says.
    Udp,
    /// On a stream: any answer fits.
    Tcp,
}

/// A part of a message, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// What was asked for. When some of it does not fit, the client is told (TC).
    Answer,
    /// Whose the zone is.
    Authority,
    /// What helps: left out where it does not fit (RFC 2181 §9).
    Additional,
}

/// There is no room for the record. It is left out as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// An answer that is being written to the end of a buffer.
#[derive(Debug)]
pub struct Reply<'q, 'b> {
    query: &'q Query<'q>,
    out: &'b mut Vec<u8>,
    /// Where the message begins in `out`.
    start: usize,
    /// Bytes of the message without its OPT record, at most.
    limit: usize,
    /// Records of each section.
    counts: [u16; 3],
    is_truncated: bool,
    is_authentic: bool,
    places: Places,
    /// Where the name is that answers are about.
    subject: u16,
}

impl<'q, 'b> Reply<'q, 'b> {
    /// Begins an answer to `query`: with the question as the client wrote it (DNS-67).
    pub fn new(query: &'q Query<'q>, transport: Transport, out: &'b mut Vec<u8>) -> Self {
        let start = out.len();
        let cookies = query.cookies.map_or(0, |cookies| OPTION + cookies.len());
        let opt = if query.edns.is_some() { OPT + cookies } else { 0 };
        let limit = match transport {
            Transport::Udp => query.udp_limit() - opt,
            Transport::Tcp => LARGEST - opt,
        };
        out.extend_from_slice(&[0; HEADER]);
        out.extend_from_slice(query.question);
        let places = Places::new();
        let (counts, is_truncated, is_authentic) = ([0; 3], false, false);
        let subject = QUESTION;
        Reply { query, out, start, limit, counts, is_truncated, is_authentic, places, subject }
    }

    /// Says, before anything else, that the name in question is another one for `target`, which the answer is
    /// about then.
    pub fn alias(&mut self, target: &DomainName, ttl: u32) {
        let value = self.out.len() - self.start + RECORD;
        let alias = self.record(Section::Answer, None, RecordType::CNAME, ttl, |body| {
            body.name(target);
        });
        // Where there is no room for it there is none for anything.
        if alias.is_ok() {
            self.subject =
                u16::try_from(value).expect("a header, a name and 16 bytes are before it");
        }
    }

    /// Writes a record; `owner` is `None` for the name that the answer is about: the one in question, unless
    /// that is an [alias](Self::alias).
    ///
    /// # Errors
    /// [`Full`] when it does not fit. Of the answer section nothing else fits then either.
    pub fn record(
        &mut self,
        section: Section,
        owner: Option<&DomainName>,
        kind: RecordType,
        ttl: u32,
        rdata: impl FnOnce(&mut Body<'_>),
    ) -> Result<(), Full> {
        if self.is_truncated {
            return Err(Full);
        }
        let (was, known) = (self.out.len(), self.places.len());
        match owner {
            // Nothing is shorter than to say where it is.
            None => self.out.extend((POINTER | self.subject).to_be_bytes()),
            Some(owner) => self.body().name(owner),
        }
        self.out.extend(kind.0.to_be_bytes());
        self.out.extend(INTERNET.to_be_bytes());
        self.out.extend(ttl.to_be_bytes());
        self.out.extend([0; 2]);
        let begins = self.out.len();
        rdata(&mut self.body());
        let len = u16::try_from(self.out.len() - begins).ok();
        let Some(len) = len.filter(|_| self.out.len() - self.start <= self.limit) else {
            self.out.truncate(was);
            self.places.truncate(known);
            self.is_truncated = section != Section::Additional;
            return Err(Full);
        };
        self.out[begins - 2..begins].copy_from_slice(&len.to_be_bytes());
        self.counts[section as usize] += 1; // 11 bytes each: no more than 65,535.
        Ok(())
    }

    /// Ends the message without a record: the client is to ask again over TCP.
    pub fn truncate(mut self) {
        self.is_truncated = true;
        self.finish(Rcode::NoError, false);
    }

    /// Says that all of it has been verified by who was asked, to a client that wants to know.
    ///
    /// Source: RFC 6840 §5.7, §5.8.
    pub fn authentic(&mut self) {
        let is_wanted = self.query.edns.is_some_and(|edns| edns.dnssec_ok);
        self.is_authentic = is_wanted || self.query.authentic_desired;
    }

    fn body(&mut self) -> Body<'_> {
        let question = self.query.question;
        Body { out: &mut *self.out, start: self.start, places: &mut self.places, question }
    }

    /// Ends the message: what is in `out` from where it ended before.
    ///
    /// What did not fit is said with TC, and then nothing is answered, for half of an answer is a wrong
    /// one. Clients without EDNS may be so old that they ignore TC: they get as many addresses as fit
    /// (DNS-66).
    pub fn finish(mut self, rcode: Rcode, is_authoritative: bool) {
        let query = self.query;
        let is_address = [RecordType::A, RecordType::AAAA].contains(&query.kind);
        if self.is_truncated && !(is_address && query.edns.is_none()) {
            self.out.truncate(self.start + HEADER + query.question.len());
            self.counts = [0; 3];
        }
        let mut flags = bit::RESPONSE | bit::RECURSION_AVAILABLE;
        for (is_set, bit) in [
            (is_authoritative, bit::AUTHORITATIVE),
            (self.is_truncated, bit::TRUNCATED),
            (self.is_authentic, bit::AUTHENTIC),
            (query.recursion_desired, bit::RECURSION_DESIRED),
            (query.checking_disabled, bit::CHECKING_DISABLED),
        ] {
            flags |= if is_set { bit } else { 0 };
        }
        if let Some(edns) = query.edns {
            self.counts[Section::Additional as usize] += 1;
            opt(self.out, rcode, edns.dnssec_ok, query.cookies);
        }
        let [answers, authority, additional] = self.counts;
        let counts = [1, answers, authority, additional];
        header(&mut self.out[self.start..], query.id, flags | (rcode.number() & 0xf), counts);
    }
}

/// Rdata that is being written.
#[derive(Debug)]
pub struct Body<'w> {
    out: &'w mut Vec<u8>,
    start: usize,
    places: &'w mut Places,
    question: &'w [u8],
}

impl Body<'_> {
    /// These bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A name, compressed. SRV targets are, too, although RFC 2782 did not want it: every client reads
    /// them, and big headless Services fit (DNS-67).
    pub fn name(&mut self, name: &DomainName) {
        if self.places.len() == 0 {
            // Most answers name nothing but their question, so its labels are found here at last.
            let question = HEADER + self.question.len();
            self.places.remember(&self.out[self.start..self.start + question], HEADER);
        }
        self.places.write(self.out, self.start, name);
    }
}

/// Writes what a client is told whose question is not looked up.
pub fn refuse(refusal: &Refusal<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    out.extend_from_slice(refusal.question);
    if refusal.has_edns {
        opt(out, refusal.rcode, false, None);
    }
    let flags =
        bit::RESPONSE | bit::RECURSION_AVAILABLE | refusal.echoed | (refusal.rcode.number() & 0xf);
    let counts = [u16::from(!refusal.question.is_empty()), 0, 0, u16::from(refusal.has_edns)];
    header(&mut out[start..], refusal.id, flags, counts);
}

fn header(message: &mut [u8], id: u16, flags: u16, counts: [u16; 4]) {
    let [questions, answers, authority, additional] = counts;
    let words = [id, flags, questions, answers, authority, additional];
    for (at, word) in message.chunks_exact_mut(2).zip(words) {
        at.copy_from_slice(&word.to_be_bytes());
    }
}

/// An OPT record: the root, the size, what of `rcode` the header has no room for, version 0, DO; and
/// cookies.
pub(super) fn opt(out: &mut Vec<u8>, rcode: Rcode, dnssec_ok: bool, cookies: Option<[u8; 24]>) {
    let [_, extended] = (rcode.number() >> 4).to_be_bytes();
    out.push(0);
    out.extend(RecordType::OPT.0.to_be_bytes());
    out.extend(LARGEST_UDP.to_be_bytes());
    out.extend([extended, 0, if dnssec_ok { 0x80 } else { 0 }, 0]);
    let Some(cookies) = cookies else { return out.extend([0, 0]) };
    let [_, code] = COOKIE.to_be_bytes();
    out.extend([0, 28, 0, code, 0, 24]);
    out.extend(cookies);
}
