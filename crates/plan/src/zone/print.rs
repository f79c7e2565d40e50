//! Zones as zone files: every name that is answered, with what is answered.

use std::fmt;

use model::DomainName;
use wire::dns::{Rcode, RecordType, Section};

use super::{Domain, Question, Record, Row, Zones, answer};

/// Lines like `web.ns1.svc.cluster.local. 5 IN A 10.96.0.20`: the zone, its Services, then addresses.
/// Names of pods' addresses are left out, for a name of an address says nothing new.
impl fmt::Display for Zones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let apex = self.dns.domain;
        print(self, f, &apex, &[RecordType::SOA, RecordType::NS])?;
        let version = apex.under(b"dns-version");
        version.map_or(Ok(()), |name| print(self, f, &name, &[RecordType::TXT]))?;
        let mut rows: Vec<_> =
            self.spaces.values().flat_map(|space| space.services.values()).collect();
        rows.sort_unstable_by_key(|row| &row.name);
        for row in rows {
            print_service(self, f, row)?;
        }
        let mut last = None;
        for ip in self.pointers.iter().map(|pointer| pointer.ip) {
            if last != Some(ip) {
                for name in self.names_of(ip) {
                    writeln!(f, "; {ip} {} IN PTR {name}", self.dns.ttl)?;
                }
            }
            last = Some(ip);
        }
        Ok(())
    }
}

/// What is answered to who asks for a name: its records, or why there are none.
#[derive(Debug)]
pub struct Asked<'a>(pub &'a Zones, pub &'a DomainName);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use RecordType as Kind;
        let Asked(zones, name) = self;
        let Some(any) = answer(zones, &Question { name, kind: Kind::A, turn: 0 }) else {
            return writeln!(f, "; {name} is in no zone of the cluster: others are asked");
        };
        match any.rcode() {
            Rcode::NoError => {}
            Rcode::NxDomain => writeln!(f, "; {name} does not exist")?,
            Rcode::FormErr
            | Rcode::ServFail
            | Rcode::NotImp
            | Rcode::Refused
            | Rcode::BadVers
            | Rcode::BadCookie => writeln!(f, "; whether {name} exists is not known yet")?,
        }
        let kinds = [
            Kind::SOA,
            Kind::NS,
            Kind::CNAME,
            Kind::A,
            Kind::AAAA,
            Kind::SRV,
            Kind::PTR,
            Kind::TXT,
        ];
        print(zones, f, name, &kinds)
    }
}

fn print_service(zones: &Zones, f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    const ADDRESSES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];
    let Some(name) = Domain::Service(&row.name, &zones.dns.domain).name() else { return Ok(()) };
    print(zones, f, &name, &[RecordType::CNAME, RecordType::A, RecordType::AAAA, RecordType::SRV])?;
    for host in row.entry.endpoints().into_iter().flat_map(|endpoints| endpoints.hosts()) {
        let host = zones.host(&row.name, &host).name();
        host.map_or(Ok(()), |name| print(zones, f, &name, &ADDRESSES))?;
    }
    Ok(())
}

fn print(
    zones: &Zones,
    f: &mut fmt::Formatter<'_>,
    name: &DomainName,
    kinds: &[RecordType],
) -> fmt::Result {
    for kind in kinds {
        let Some(answer) = answer(zones, &Question { name, kind: *kind, turn: 0 }) else {
            continue;
        };
        let mut printed = Ok(());
        answer.records(Section::Answer, &mut |Record { owner, ttl, rdata }| {
            // Who is asked for an alias' address says the alias first, and has said that already.
            if owner.is_none() && rdata.kind() == *kind {
                printed = writeln!(f, "{name} {ttl} IN {rdata}");
            }
            match printed {
                Ok(()) => std::ops::ControlFlow::Continue(()),
                Err(_) => std::ops::ControlFlow::Break(()),
            }
        });
        printed?;
    }
    Ok(())
}
