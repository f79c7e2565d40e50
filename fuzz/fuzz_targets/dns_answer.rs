//! Whatever another server sends, it is an answer to the question or nothing, and what is taken of it can be
//! written into an answer to a client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::DomainName;
use wire::dns::{Asked, RecordType, Reply, Section, Transport, hear, read};

fuzz_target!(|bytes: &[u8]| {
    let name: DomainName = "a.example".parse().expect("a name");
    let kind = bytes.first().map_or(RecordType::A, |byte| RecordType(u16::from(*byte)));
    let asked = Asked { name: &name, kind, dnssec_ok: true, checking_disabled: false, has_edns: true };
    let question = asked.message(7);
    // Half of the inputs begin as answers do, or the fuzzer would rarely get beyond the question.
    let mut message = question[..question.len() - 11].to_vec();
    (message[2], message[3]) = (0x81, 0x80);
    let rest = bytes.get(1..).unwrap_or_default();
    if let Some((counts, records)) = rest.split_first_chunk::<6>().filter(|_| kind.0 % 2 == 1) {
        message[6..12].copy_from_slice(counts);
        message.extend_from_slice(records);
    } else {
        message = rest.to_vec();
    }
    let Some(heard) = hear(&message, &question) else { return };
    assert_eq!(message[..2], question[..2]);
    let query = read(&question).expect("our own question");
    let mut out = Vec::new();
    let mut reply = Reply::new(&query, Transport::Tcp, &mut out);
    for record in heard.records() {
        let (Some(owner), Some(rdata)) = (record.owner(), record.rdata()) else { continue };
        assert!(rdata.len() <= message.len() + 512);
        let body = |body: &mut wire::dns::Body<'_>| body.bytes(&rdata);
        if reply.record(Section::Answer, Some(&owner), record.kind, record.ttl, body).is_err() {
            break;
        }
    }
    reply.finish(heard.rcode.unwrap_or(wire::dns::Rcode::ServFail), false);
    assert!(out.len() <= 65_535);
});
