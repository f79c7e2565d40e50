//! Questions to other servers, and what they answer.

use model::DomainName;

use super::{HEADER, INTERNET, Rcode, RecordType, Section, bit, name, short};

/// Records that are looked at in one message. Each costs time once for every alias before the answer, and
/// 65,535 bytes could hold three times as many (T32).
const MOST_RECORDS: usize = 2048;

/// What another server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The name.
    pub name: &'a DomainName,
    /// The type.
    pub kind: RecordType,
    /// Whether signatures are wanted (DO).
    pub dnssec_ok: bool,
    /// Whether the answer need not be verified (CD).
    pub checking_disabled: bool,
    /// Whether the server is spoken to in EDNS. Without it there are no signatures.
    pub has_edns: bool,
}

impl Asked<'_> {
    /// The whole question, with this id.
    pub fn message(&self, id: u16) -> Vec<u8> {
        // AD asks to be told whether the answer is verified, without its signatures (RFC 6840 §5.7).
        let mut flags = bit::RECURSION_DESIRED | bit::AUTHENTIC;
        if self.checking_disabled {
            flags |= bit::CHECKING_DISABLED;
        }
        let words = [id, flags, 1, 0, 0, u16::from(self.has_edns)];
        let mut out: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        out.extend_from_slice(self.name.as_wire());
        out.extend(self.kind.0.to_be_bytes());
        out.extend(INTERNET.to_be_bytes());
        if self.has_edns {
            super::reply::opt(&mut out, Rcode::NoError, self.dnssec_ok, None);
        }
        out
    }
}

/// What another server answers.
#[derive(Debug)]
pub struct Heard<'m> {
    /// How the question fared; `None` for what has no meaning here.
    pub rcode: Option<Rcode>,
    /// Whether there is more than fits: it is to be asked for over TCP.
    pub is_truncated: bool,
    /// Whether the server has verified it (AD).
    pub is_authentic: bool,
    /// Whether the server speaks EDNS.
    pub has_edns: bool,
    records: Vec<HeardRecord<'m>>,
}

/// A record in an answer.
#[derive(Debug, Clone, Copy)]
pub struct HeardRecord<'m> {
    message: &'m [u8],
    /// Where it is.
    pub section: Section,
    /// Its type.
    pub kind: RecordType,
    /// For how long it may be remembered, in seconds.
    pub ttl: u32,
    owner: usize,
    rdata: (usize, usize),
}

/// Reads `message`, if it is the answer to `question`, which was asked with its id in front.
///
/// `None` for anything else: another id, another question in as much as a letter's case, a question
/// itself, a message whose records are not there. Anybody may have sent it, so it means nothing (T26).
pub fn hear<'m>(message: &'m [u8], question: &[u8]) -> Option<Heard<'m>> {
    let flags = short(message, 2)?;
    let end = HEADER + name::end(question.get(HEADER..)?, 0)? + 4;
    let is_answer = message.get(..2)? == question.get(..2)?
        && flags & (bit::RESPONSE | bit::OPCODE) == bit::RESPONSE
        && short(message, 4)? == 1
        && message.get(HEADER..end)? == question.get(HEADER..end)?;
    if !is_answer {
        return None;
    }
    let mut heard = Heard {
        rcode: None,
        is_truncated: flags & bit::TRUNCATED != 0,
        is_authentic: flags & bit::AUTHENTIC != 0,
        has_edns: false,
        records: Vec::new(),
    };
    let mut rcode = flags & 0xf;
    let mut at = end;
    for (i, section) in
        [Section::Answer, Section::Authority, Section::Additional].iter().enumerate()
    {
        for _ in 0..short(message, 6 + 2 * i)? {
            // A truncated message may end anywhere: all that counts is that it is one.
            let Some((record, ends)) = HeardRecord::at(message, at, *section) else {
                heard.rcode = Rcode::of(rcode).filter(|_| heard.is_truncated);
                return heard.is_truncated.then_some(heard);
            };
            at = ends;
            if record.kind == RecordType::OPT {
                heard.has_edns = true;
                let [extended, ..] = record.ttl.to_be_bytes();
                rcode |= u16::from(extended) << 4;
            } else if record.section != Section::Additional {
                heard.records.push(record);
            }
            if heard.records.len() > MOST_RECORDS {
                return None;
            }
        }
    }
    heard.rcode = Rcode::of(rcode);
    Some(heard)
}

impl<'m> Heard<'m> {
    /// The records of the sections that answer.
    pub fn records(&self) -> &[HeardRecord<'m>] {
        &self.records
    }
}

impl<'m> HeardRecord<'m> {
    /// The record at `at`, and where it ends.
    fn at(message: &'m [u8], owner: usize, section: Section) -> Option<(Self, usize)> {
        let at = name::end(message, owner)?;
        let kind = RecordType(short(message, at)?);
        let class = short(message, at + 2)?;
        let ttl = u32::from_be_bytes(message.get(at + 4..at + 8)?.try_into().ok()?);
        let begins = at + 10;
        let ends = begins + usize::from(short(message, at + 8)?);
        message.get(begins..ends)?;
        if class != INTERNET && kind != RecordType::OPT {
            return None;
        }
        // The highest bit means nothing was meant (RFC 2181 §8); an OPT record has other things there.
        let ttl = if ttl > 0x7fff_ffff && kind != RecordType::OPT { 0 } else { ttl };
        Some((HeardRecord { message, section, kind, ttl, owner, rdata: (begins, ends) }, ends))
    }

    /// Whose it is, in lower case; `None` when that is no name.
    pub fn owner(&self) -> Option<DomainName> {
        name::unpack(self.message, self.owner).map(|name| name.lowered())
    }

    /// Its value with no name in it compressed, so that it means the same in another message. `None`
    /// when it is no value of its type.
    ///
    /// Source: RFC 3597 §4.
    pub fn rdata(&self) -> Option<Vec<u8>> {
        let (begins, ends) = self.rdata;
        let bytes = &self.message[begins..ends];
        let (before, names, after) = match self.kind {
            RecordType::A => return (bytes.len() == 4).then(|| bytes.to_vec()),
            RecordType::AAAA => return (bytes.len() == 16).then(|| bytes.to_vec()),
            RecordType::SOA => (0, 2, 20),
            // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME.
            RecordType(2..=5 | 7..=9 | 12 | 39) => (0, 1, 0),
            // MINFO, RP.
            RecordType(14 | 17) => (0, 2, 0),
            // MX, AFSDB, RT, KX.
            RecordType(15 | 18 | 21 | 36) => (2, 1, 0),
            RecordType(26) => (2, 2, 0), // PX.
            RecordType::SRV => (6, 1, 0),
            RecordType(_) => return Some(bytes.to_vec()),
        };
        let mut out = bytes.get(..before)?.to_vec();
        let mut at = begins + before;
        for _ in 0..names {
            out.extend_from_slice(name::unpack(self.message, at)?.as_wire());
            at = name::end(self.message, at)?;
        }
        out.extend_from_slice(self.message.get(at..ends).filter(|rest| rest.len() == after)?);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn asked(name: &DomainName) -> Vec<u8> {
        let kind = RecordType::A;
        Asked { name, kind, dnssec_ok: true, checking_disabled: false, has_edns: true }.message(7)
    }

    /// An answer to `question` without its OPT record: counts of answers and authority, and their bytes.
    fn answer(question: &[u8], counts: [u8; 2], records: &[u8]) -> Vec<u8> {
        let mut message = question[..question.len() - 11].to_vec();
        message[2] |= 0x80;
        (message[7], message[9], message[11]) = (counts[0], counts[1], 0);
        message.extend_from_slice(records);
        message
    }

    const ADDRESS: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01";

    #[test]
    fn only_the_answer_to_the_question_is_one() {
        let question = asked(&name("a.example"));
        let good = answer(&question, [1, 0], ADDRESS);
        let heard = hear(&good, &question).unwrap();
        assert_eq!((heard.rcode, heard.records().len()), (Some(Rcode::NoError), 1));
        assert_eq!(heard.records()[0].owner(), Some(name("a.example")));
        assert_eq!(heard.records()[0].rdata(), Some(vec![10, 0, 0, 1]));
        for (claim, at, byte) in [
            ("another id", 1, 8),
            ("a question", 2, 1),
            ("another opcode", 2, 0x88),
            ("two questions", 5, 2),
            ("a name in another case", 13, b'A'),
            ("another type", 24, 28),
            ("another class", 26, 3),
            ("a record of another class", 32, 3),
            ("more records than there are", 7, 2),
        ] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(bad != good && hear(&bad, &question).is_none(), "{claim}");
        }
        for len in 0..good.len() {
            assert!(hear(&good[..len], &question).is_none(), "{len} bytes");
        }
    }

    #[test]
    fn a_truncated_answer_may_end_anywhere_behind_its_question() {
        let question = asked(&name("a.example"));
        let mut message = answer(&question, [1, 0], ADDRESS);
        message[2] |= 2;
        for len in 27..message.len() {
            assert!(hear(&message[..len], &question).unwrap().is_truncated, "{len} bytes");
        }
    }

    #[test]
    fn names_in_values_are_unpacked() {
        let question = asked(&name("a.example"));
        let alias = b"\xc0\x0c\0\x05\0\x01\xff\0\0\0\0\x04\x01b\xc0\x0e";
        let heard = answer(&question, [1, 0], alias);
        let heard = hear(&heard, &question).unwrap();
        let record = heard.records()[0];
        assert_eq!(record.rdata().as_deref(), Some(name("b.example").as_wire()));
        assert_eq!(record.ttl, 0, "a TTL above 2^31");
        // A pointer to itself, forward, into the middle of nowhere; a value that ends early or late.
        for rdata in [b"\xc0\x27", b"\xc0\x28", b"\xff\xff", b"\xc0\x0c"] {
            let mut bad = b"\xc0\x0c\0\x05\0\x01\0\0\0\0\0\x02".to_vec();
            bad.extend_from_slice(rdata);
            let message = answer(&question, [1, 0], &bad);
            let heard = hear(&message, &question).unwrap();
            assert_eq!(heard.records()[0].rdata().is_some(), rdata == b"\xc0\x0c", "{rdata:?}");
        }
    }

    #[test]
    fn what_a_server_is_asked_it_reads() {
        let name = name("a.example");
        let message = asked(&name);
        let query = super::super::read(&message).unwrap();
        assert_eq!((query.id, query.name, query.kind), (7, name, RecordType::A));
        assert!(query.recursion_desired && query.edns.unwrap().dnssec_ok);
    }
}
