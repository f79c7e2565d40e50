//! DNS messages as a client makes and reads them: written from RFC 1035 and RFC 6891 alone.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A question for the name `name` and the type of that number; with an OPT record if a size is given.
pub(crate) fn query(name: &str, kind: u16, size: Option<u16>) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(size.is_some())];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    if let Some(size) = size {
        message.extend([0, 0, 41]);
        message.extend(size.to_be_bytes());
        message.extend([0; 6]);
    }
    message
}

/// The number of a type.
pub(crate) fn kind(name: &str) -> u16 {
    let known = [
        ("A", 1),
        ("NS", 2),
        ("CNAME", 5),
        ("SOA", 6),
        ("PTR", 12),
        ("HINFO", 13),
        ("MX", 15),
        ("TXT", 16),
        ("AAAA", 28),
        ("SRV", 33),
        ("SVCB", 64),
        ("HTTPS", 65),
        ("IXFR", 251),
        ("AXFR", 252),
        ("ANY", 255),
    ];
    known.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("type {name}")).1
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    /// The question's bytes.
    pub(crate) question: Vec<u8>,
    /// Answer, authority, additional without OPT.
    pub(crate) sections: [Vec<Record>; 3],
    /// The size that the OPT record says, and the upper bits of the rcode.
    pub(crate) opt: Option<(u16, u8)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) owner: String,
    pub(crate) ttl: u32,
    /// Type and rdata as in a zone file.
    pub(crate) text: String,
}

impl Message {
    pub(crate) fn rcode(&self) -> u16 {
        (self.flags & 0xf) | u16::from(self.opt.map_or(0, |(_, high)| high)) << 4
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }
}

/// Reads a whole message; what is wrong with it fails the test.
pub(crate) fn read(bytes: &[u8]) -> Message {
    let short = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let mut at = 12;
    if short(4) == 1 {
        name(bytes, &mut at);
        at += 4;
    }
    let question = bytes[12..at].to_vec();
    let mut opt = None;
    let sections = [6, 8, 10].map(|count| {
        let mut records = Vec::new();
        for _ in 0..short(count) {
            let owner = name(bytes, &mut at);
            let (kind, class) = (short(at), short(at + 2));
            let ttl = u32::from_be_bytes(bytes[at + 4..at + 8].try_into().unwrap());
            let end = at + 10 + usize::from(short(at + 8));
            if kind == 41 {
                assert!(count == 10 && opt.is_none() && owner == ".", "one OPT");
                opt = Some((class, ttl.to_be_bytes()[0]));
            } else {
                assert_eq!(class, 1);
                records.push(Record { owner, ttl, text: rdata(bytes, kind, at + 10, end) });
            }
            at = end;
        }
        records
    });
    assert_eq!(at, bytes.len(), "nothing behind the message");
    Message { id: short(0), flags: short(2), question, sections, opt }
}

fn rdata(bytes: &[u8], kind: u16, mut at: usize, end: usize) -> String {
    let short = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let long = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut one = |kind: &str| format!("{kind} {}", name(bytes, &mut at));
    match kind {
        1 => format!("A {}", Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[at..end]).unwrap())),
        28 => format!("AAAA {}", Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[at..end]).unwrap())),
        2 => one("NS"),
        5 => one("CNAME"),
        12 => one("PTR"),
        6 => {
            let (primary, mailbox) = (name(bytes, &mut at), name(bytes, &mut at));
            let numbers = [0, 4, 8, 12, 16].map(|i| long(at + i).to_string()).join(" ");
            assert_eq!(at + 20, end);
            format!("SOA {primary} {mailbox} {numbers}")
        }
        33 => {
            let (priority, weight, port) = (short(at), short(at + 2), short(at + 4));
            at += 6;
            let target = name(bytes, &mut at);
            assert_eq!(at, end);
            format!("SRV {priority} {weight} {port} {target}")
        }
        13 | 16 => {
            let mut text = if kind == 13 { "HINFO" } else { "TXT" }.to_owned();
            while at < end {
                let string = &bytes[at + 1..=at + usize::from(bytes[at])];
                write!(text, " {:?}", std::str::from_utf8(string).unwrap()).unwrap();
                at += 1 + string.len();
            }
            text
        }
        other => panic!("type {other}"),
    }
}

/// The name at `at`, which moves behind it.
fn name(bytes: &[u8], at: &mut usize) -> String {
    let (mut here, mut text, mut jumped) = (*at, String::new(), false);
    loop {
        let len = usize::from(bytes[here]);
        if len >= 0xc0 {
            let to = (len & 0x3f) << 8 | usize::from(bytes[here + 1]);
            assert!(to < here, "pointers lead backwards");
            if !jumped {
                *at = here + 2;
            }
            (here, jumped) = (to, true);
            continue;
        }
        here += 1;
        if len == 0 {
            break;
        }
        text.extend(bytes[here..here + len].iter().copied().map(char::from));
        text.push('.');
        here += len;
    }
    if !jumped {
        *at = here;
    }
    if text.is_empty() { ".".to_owned() } else { text }
}
