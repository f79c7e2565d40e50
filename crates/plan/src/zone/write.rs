//! Answers as messages.

use std::ops::ControlFlow;

use wire::dns::{Body, Reply, Section};

use super::record::{EXPIRE, REFRESH, RETRY};
use super::{Answer, Domain, Rdata, Record};

/// The CPU of every host, to who asks for any type.
///
/// Source: RFC 8482 §4.2.
pub(super) const ANY_ANSWER: &str = "RFC8482";

/// Writes `answer`, and ends the message with it.
pub fn write(answer: &Answer<'_>, mut reply: Reply<'_, '_>) {
    for section in [Section::Answer, Section::Authority, Section::Additional] {
        write_section(answer, section, &mut reply);
    }
    reply.finish(answer.rcode(), answer.is_authoritative());
}

/// Writes the records of `section` alone: where others go on, what they say comes after our aliases.
pub fn write_section(answer: &Answer<'_>, section: Section, reply: &mut Reply<'_, '_>) {
    answer.records(section, &mut |record| put(reply, section, &record));
}

/// Writes a record, and says whether there is room for more. A name that is too long for a name has
/// no record: nobody could ask for it.
fn put(reply: &mut Reply<'_, '_>, section: Section, record: &Record<'_>) -> ControlFlow<()> {
    let Record { owner, ttl, rdata } = record;
    let (Some(owner), true) = (owner.map_or(Some(None), |name| name.name().map(Some)), fits(rdata))
    else {
        return ControlFlow::Continue(());
    };
    let body = |body: &mut Body<'_>| write_rdata(rdata, body);
    match reply.record(section, owner.as_ref(), rdata.kind(), *ttl, body) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

fn fits(rdata: &Rdata<'_>) -> bool {
    match rdata {
        Rdata::Cname(name) | Rdata::Ns(name) | Rdata::Ptr(name) => name.name().is_some(),
        Rdata::Srv { target, .. } => target.name().is_some(),
        Rdata::A(_) | Rdata::Aaaa(_) | Rdata::Soa { .. } | Rdata::Txt(_) | Rdata::Hinfo => true,
    }
}

fn write_rdata(rdata: &Rdata<'_>, body: &mut Body<'_>) {
    let name = |body: &mut Body<'_>, name: &Domain<'_>| {
        if let Some(name) = name.name() {
            body.name(&name);
        }
    };
    match rdata {
        Rdata::A(ip) => body.bytes(&ip.octets()),
        Rdata::Aaaa(ip) => body.bytes(&ip.octets()),
        Rdata::Cname(target) | Rdata::Ns(target) | Rdata::Ptr(target) => name(body, target),
        Rdata::Srv { weight, port, target } => {
            body.bytes(&[0, 0]);
            body.bytes(&weight.to_be_bytes());
            body.bytes(&port.to_be_bytes());
            name(body, target);
        }
        Rdata::Soa { primary, mailbox, serial, minimum } => {
            body.name(primary);
            body.name(mailbox);
            for number in [*serial, REFRESH, RETRY, EXPIRE, *minimum] {
                body.bytes(&number.to_be_bytes());
            }
        }
        Rdata::Txt(string) => text(body, string),
        Rdata::Hinfo => {
            text(body, ANY_ANSWER);
            text(body, "");
        }
    }
}

/// A character string: its length, then its bytes.
fn text(body: &mut Body<'_>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(255)];
    body.bytes(&[u8::try_from(bytes.len()).unwrap_or(u8::MAX)]);
    body.bytes(bytes);
}
