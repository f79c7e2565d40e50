//! What is taken from another server's answer: the records of the name in question and of its chain of
//! aliases, and nothing about anybody else (DNS-94).

use std::sync::Arc;

use model::DomainName;
use wire::dns::{Heard, HeardRecord, Rcode, RecordType, Section};

use crate::dns::{Found, FoundRecord, Sought};

/// How many aliases are followed.
const LONGEST_CHAIN: usize = 16;

/// Bytes of values that are taken from one answer, unpacked (T32).
const MOST_BYTES: usize = 65_535;

/// For how long an answer without any record may be remembered, in seconds.
const WITHOUT_TTL: u32 = 5;

/// Signatures, and proofs that something is not there (RFC 4034, RFC 5155).
const RRSIG: RecordType = RecordType(46);
const NSEC: RecordType = RecordType(47);
const NSEC3: RecordType = RecordType(50);

/// Takes what answers `sought` from `heard`. Every record's TTL is the answer's own: the least of them.
///
/// `None` when it is no answer: a chain of aliases that does not end, a value that is none.
pub(super) fn learn(heard: &Heard<'_>, sought: &Sought) -> Option<Found> {
    let rcode = heard.rcode.unwrap_or(Rcode::ServFail);
    let mut found = Found { rcode, is_authentic: heard.is_authentic, records: Vec::new() };
    if !matches!(rcode, Rcode::NoError | Rcode::NxDomain) {
        return Some(found);
    }
    let mut all = owned(heard);
    let mut name = sought.name;
    for _ in 0..=LONGEST_CHAIN {
        let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(owner, record)| {
            record.section == Section::Answer && *owner == name && is_wanted(record.kind, sought)
        });
        all = others;
        let is_followed = !matches!(sought.kind, RecordType::CNAME | RecordType::ANY);
        let mut target = None;
        for (owner, record) in own {
            let rdata = record.rdata()?;
            if record.kind == RecordType::CNAME && is_followed {
                target = target.or(DomainName::from_wire(&rdata));
            }
            found.records.push(kept(&record, owner, rdata));
        }
        match target {
            Some(next) => name = next.lowered(),
            None => {
                finish(&mut found, &name, &all, sought)?;
                return Some(found);
            }
        }
    }
    None
}

/// The records with their owners. One whose owner is no name says nothing.
fn owned<'m>(heard: &Heard<'m>) -> Vec<(DomainName, HeardRecord<'m>)> {
    let owned = |record: &HeardRecord<'m>| record.owner().map(|owner| (owner, *record));
    heard.records().iter().filter_map(owned).collect()
}

fn is_wanted(kind: RecordType, sought: &Sought) -> bool {
    kind == sought.kind
        || kind == RecordType::CNAME
        || sought.kind == RecordType::ANY
        || (kind == RRSIG && sought.dnssec_ok)
}

/// Adds what a negative answer lives by, and what proves it, and gives all records one TTL. `name` is the
/// last of the chain.
fn finish(
    found: &mut Found,
    name: &DomainName,
    rest: &[(DomainName, HeardRecord<'_>)],
    sought: &Sought,
) -> Option<()> {
    let is_negative = is_negative(found, sought);
    let mut least = found.records.iter().map(|record| record.ttl).min();
    for (owner, record) in rest {
        if record.section != Section::Authority {
            continue;
        }
        let is_soa = is_negative && record.kind == RecordType::SOA && name.is_under(owner);
        let is_proof = sought.dnssec_ok && matches!(record.kind, RRSIG | NSEC | NSEC3);
        if !is_soa && !is_proof {
            continue;
        }
        let rdata = record.rdata()?;
        let minimum = rdata.last_chunk().map(|minimum| u32::from_be_bytes(*minimum));
        let ttl = record.ttl.min(minimum.filter(|_| is_soa).unwrap_or(u32::MAX)); // RFC 2308 §5.
        least = Some(least.unwrap_or(u32::MAX).min(ttl));
        found.records.push(kept(record, *owner, rdata));
    }
    let bytes: usize = found.records.iter().map(|record| record.rdata.len()).sum();
    let ttl = least.unwrap_or(WITHOUT_TTL);
    found.records.iter_mut().for_each(|record| record.ttl = ttl);
    (bytes <= MOST_BYTES).then_some(())
}

/// Whether `found` says that there is nothing of the type in question.
pub(super) fn is_negative(found: &Found, sought: &Sought) -> bool {
    let answers = |record: &FoundRecord| {
        record.section == Section::Answer
            && (record.kind == sought.kind || sought.kind == RecordType::ANY)
    };
    found.rcode != Rcode::NoError || !found.records.iter().any(answers)
}

fn kept(record: &HeardRecord<'_>, owner: DomainName, rdata: Vec<u8>) -> FoundRecord {
    let HeardRecord { section, kind, ttl, .. } = *record;
    FoundRecord { section, owner, kind, ttl, rdata: Arc::from(rdata) }
}
