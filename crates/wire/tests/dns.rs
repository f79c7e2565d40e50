//! DNS messages: whatever a client sends is read or refused, and whatever is written can be read.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use model::DomainName;
use proptest::prelude::*;
use seaway_wire::dns::{
    Full, Query, Rcode, RecordType, Reply, Section, Transport, Unanswered, read, refuse,
};

/// A question for `name`, type A: header fields, then what follows the question.
fn message(flags: u16, counts: [u16; 4], name: &str, class: u16, rest: &[u8]) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd];
    for word in [flags].into_iter().chain(counts) {
        message.extend(word.to_be_bytes());
    }
    message.extend(name.parse::<DomainName>().unwrap().as_wire());
    message.extend([0, 1]);
    message.extend(class.to_be_bytes());
    message.extend(rest);
    message
}

fn opt(version: u8, options: &[u8]) -> Vec<u8> {
    let len = u16::try_from(options.len()).unwrap().to_be_bytes();
    [&[0, 0, 41, 0x10, 0, 0, version, 0x80, 0], &len[..], options].concat()
}

/// What the server says to a message that it does not look up: `None` for nothing.
fn refused(message: &[u8]) -> Option<Vec<u8>> {
    match read(message) {
        Ok(query) => panic!("{query:?}"),
        Err(Unanswered::Silent) => None,
        Err(Unanswered::Refused(refusal)) => {
            let mut out = Vec::new();
            refuse(&refusal, &mut out);
            Some(out)
        }
    }
}

#[test]
fn a_question_is_read_with_what_its_client_can_do() {
    let bytes = message(0x0110, [1, 0, 0, 0], "Web.NS1", 1, &[]);
    let query = read(&bytes).unwrap();
    assert_eq!((query.id, query.kind), (0xabcd, RecordType::A));
    assert!(query.recursion_desired && query.checking_disabled);
    assert_eq!((query.name, query.question), ("web.ns1".parse().unwrap(), &bytes[12..]));
    assert_eq!(query.edns, None);
    let cookie = [&[0, 10, 0, 8][..], b"8 bytes."].concat();
    let other = [&[0, 15, 0, 1, 7][..], &cookie].concat();
    let bytes = message(0, [1, 0, 0, 1], "a", 1, &opt(0, &other));
    let edns = read(&bytes).unwrap().edns.unwrap();
    assert_eq!((edns.size, edns.dnssec_ok, edns.cookie), (4096, true, Some(&b"8 bytes."[..])));
    // An IXFR says what it has, and a signature comes last.
    let soa = [
        &[0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 1, 7][..],
        &opt(0, &[]),
        &[0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let bytes = message(0, [1, 0, 1, 2], "a", 1, &soa);
    assert!(read(&bytes).unwrap().edns.is_some());
}

#[test]
fn what_is_no_question_is_refused_in_the_words_of_the_protocol() {
    let twice = [opt(0, &[]), opt(0, &[])].concat();
    let short_cookie = opt(0, &[0, 10, 0, 3, 1, 2, 3]);
    let cut_option = opt(0, &[0, 10, 0, 8, 1]);
    // Flags, counts, class, what follows; rcode.
    type Case<'a> = (&'a str, u16, [u16; 4], u16, &'a [u8], Option<u16>);
    let cases: [Case<'_>; 14] = [
        ("DNS-61", 0x8000, [1, 0, 0, 0], 1, &[], None),
        ("DNS-61", 0xf8ff, [9, 9, 9, 9], 1, &[], None),
        ("DNS-62", 0x2800, [1, 0, 0, 0], 1, &[], Some(4)),
        ("DNS-62", 0x2000, [0, 0, 0, 0], 1, &[], Some(4)),
        ("DNS-63", 0, [0, 0, 0, 0], 1, &[], Some(1)),
        ("DNS-63", 0, [2, 0, 0, 0], 1, &[], Some(1)),
        ("DNS-63", 0, [1, 0, 0, 0], 3, &[], Some(5)),
        ("DNS-64", 0, [1, 0, 0, 1], 1, &opt(1, &[]), Some(16)),
        ("DNS-64", 0, [1, 0, 0, 2], 1, &twice, Some(1)),
        ("DNS-64", 0, [1, 1, 0, 0], 1, &opt(0, &[]), Some(1)),
        ("DNS-68", 0, [1, 0, 0, 1], 1, &short_cookie, Some(1)),
        ("DNS-68", 0, [1, 0, 0, 1], 1, &cut_option, Some(1)),
        ("DNS-162", 0, [1, 65_535, 0, 0], 1, &[], Some(1)),
        ("DNS-162", 0, [1, 0, 0, 65_535], 1, &[0; 4000], Some(1)),
    ];
    for (id, flags, counts, class, rest, rcode) in cases {
        let bytes = message(flags | 0x0100, counts, "version.bind", class, rest);
        let Some(out) = refused(&bytes) else {
            assert_eq!(rcode, None, "{id}");
            continue;
        };
        let high = if out[11] == 1 { out[out.len() - 6] } else { 0 };
        assert_eq!(Some(u16::from(out[3] & 0xf) | u16::from(high) << 4), rcode, "{id}");
        assert_eq!(
            (&out[..2], out[6..10].iter().sum::<u8>()),
            (&bytes[..2], 0),
            "{id}: an id and no answer"
        );
        // QR and RA; opcode and RD as they came.
        assert_eq!((out[2], out[3] & 0xf0), (0x81 | (bytes[2] & 0x78), 0x80), "{id}");
        assert_eq!(out[11] == 1, rcode == Some(16), "{id}: OPT");
    }
}

#[test]
fn every_opcode_but_query_is_not_implemented() {
    for opcode in 1..=15_u16 {
        let out = refused(&message(opcode << 11, [1, 0, 0, 0], "a", 1, &[])).unwrap();
        assert_eq!((out.len(), out[3] & 0xf, out[5]), (12, 4, 0), "DNS-79: {opcode}");
    }
}

#[test]
fn names_that_are_none_are_refused() {
    let header = message(0, [1, 0, 0, 0], ".", 1, &[])[..12].to_vec();
    let long = [[63; 64].repeat(4), vec![0]].concat();
    // A pointer to itself, labels of unknown kinds, no end, too long, no type, no class.
    let names: [&[u8]; 7] =
        [&[0xc0, 12, 0, 1, 0, 1], &[0x80, 0], &[0x40, 0], &[1], &long, &[0], &[0, 0, 1, 0]];
    for name in names {
        let out = refused(&[&header, name].concat()).unwrap();
        assert_eq!((out.len(), out[3] & 0xf), (12, 1), "{name:?}");
    }
    for len in 0..12 {
        assert_eq!(refused(&header[..len]), None, "{len} bytes have no id to answer to");
    }
}

/// Expands the name at `at`.
fn name_at(message: &[u8], mut at: usize) -> (DomainName, usize) {
    let (mut wire, mut end) = (Vec::new(), None);
    loop {
        let len = message[at];
        if len >= 0xc0 {
            end = end.or(Some(at + 2));
            let to = usize::from(u16::from_be_bytes([len & 0x3f, message[at + 1]]));
            assert!(to < at, "backwards");
            at = to;
            continue;
        }
        wire.extend(&message[at..=at + usize::from(len)]);
        at += usize::from(len) + 1;
        if len == 0 {
            return (DomainName::from_wire(&wire).unwrap(), end.unwrap_or(at));
        }
    }
}

#[test]
fn dns67_a_name_is_said_once_and_in_its_own_case() {
    let ask = |asked: &str, target: &str| {
        let bytes = message(0, [1, 0, 0, 0], asked, 1, &[]);
        let (query, mut out) = (read(&bytes).unwrap(), Vec::new());
        let mut reply = Reply::new(&query, Transport::Tcp, &mut out);
        let name: DomainName = target.parse().unwrap();
        reply.record(Section::Answer, None, RecordType::PTR, 5, |body| body.name(&name)).unwrap();
        reply.finish(Rcode::NoError, true);
        let rdata = bytes.len() + 12;
        assert_eq!(name_at(&out, rdata), (name, out.len()));
        out.len() - rdata
    };
    assert_eq!(ask("_http._tcp.web.ns1", "web.ns1"), 2, "a pointer");
    assert_eq!(ask("_http._tcp.web.ns1", "db.ns1"), 5, "a label and a pointer");
    assert_eq!(ask("_http._tcp.wEb.ns1", "web.ns1"), 6, "DNS-38: the question's case is its own");
    assert_eq!(ask("a", "."), 1);
}

fn any_name() -> impl Strategy<Value = DomainName> {
    let label = prop::sample::select(vec![
        "a",
        "b",
        "A",
        "ns1",
        "svc",
        "local",
        "aaaaaaaaaaaaaaaaaaaaaaaaa",
    ]);
    prop::collection::vec(label, 0..12)
        .prop_map(|labels| labels.join(".").parse().unwrap_or(DomainName::ROOT))
}

/// Answers `query` with a record for each name, and reads it again.
fn written(query: &Query<'_>, names: &[DomainName], transport: Transport) -> (Vec<u8>, usize) {
    let mut out = b"before".to_vec();
    let mut reply = Reply::new(query, transport, &mut out);
    let put = |owner: &DomainName, reply: &mut Reply<'_, '_>| -> Result<(), Full> {
        reply.record(Section::Answer, Some(owner), RecordType::CNAME, 5, |body| body.name(owner))
    };
    let fit = names.iter().take_while(|name| put(name, &mut reply).is_ok()).count();
    reply.finish(Rcode::NoError, true);
    assert_eq!(&out[..6], b"before");
    (out[6..].to_vec(), fit)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dns142_any_bytes_are_read_or_refused_by_the_one_reader(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        match read(&bytes) {
            Ok(query) => prop_assert_eq!(&bytes[12..12 + query.question.len()], query.question),
            Err(Unanswered::Silent) => {}
            Err(Unanswered::Refused(refusal)) => {
                let mut out = Vec::new();
                refuse(&refusal, &mut out);
                prop_assert!(out.len() <= bytes.len().max(12) + 11, "no amplification");
            }
        }
    }

    #[test]
    fn questions_with_a_few_wrong_bytes_are_read_or_refused(
        name in any_name(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = message(0x0100, [1, 0, 0, 1], &name.to_string(), 1, &opt(0, &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]));
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = bytes.len();
        bytes.truncate(cut.index(whole * 2).min(whole));
        if let Ok(query) = read(&bytes) {
            let (out, _) = written(&query, &[name], Transport::Udp);
            prop_assert!(out.len() <= 1232);
        }
    }

    #[test]
    fn names_are_read_as_they_were_written(
        asked in any_name(),
        names in prop::collection::vec(any_name(), 0..60),
    ) {
        let bytes = message(0, [1, 0, 0, 0], &asked.to_string(), 1, &[]);
        let query = read(&bytes).unwrap();
        let (out, fit) = written(&query, &names, Transport::Tcp);
        prop_assert_eq!(fit, names.len());
        let mut at = bytes.len();
        for name in &names {
            let (owner, end) = name_at(&out, at);
            let (target, end) = name_at(&out, end + 10);
            prop_assert_eq!((owner, target), (*name, *name));
            at = end;
        }
        prop_assert_eq!(at, out.len());
        let (cut, fit) = written(&query, &names, Transport::Udp);
        prop_assert!(cut.len() <= 512);
        prop_assert_eq!(cut[2] & 2 != 0, fit < names.len());
        prop_assert_eq!(usize::from(u16::from_be_bytes([cut[6], cut[7]])), fit, "whole records");
    }
}
