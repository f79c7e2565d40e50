//! What is known of a name on the spot: by settings, the zones, memory; or that others have to be asked.

use std::net::IpAddr;
use std::ops::ControlFlow;

use model::DomainName;
use plan::zone::{self, Answer, Question, Rdata, Zones};
use wire::dns::{Query, Rcode, Reply, Section, Transport};

use super::counts::{Origin, Told, Zone};
use super::respond::{Outcome, Responder};
use super::{Found, FoundRecord, Prior, Sought};

/// What is known of a name.
pub(super) struct Lookup<'z> {
    /// What the zones say, if the name is in one: all, or that it is another one for a name in none.
    pub(super) answer: Option<Answer<'z>>,
    /// What others are asked, where the zones don't say all.
    pub(super) sought: Sought,
    /// The name that was looked up in the zones.
    pub(super) looked: DomainName,
    pub(super) end: End,
}

/// Who has the last word about a name.
pub(super) enum End {
    /// The zones.
    Zones,
    /// Others, who said this.
    Found(Found, Origin),
    /// Others, who have to be asked.
    Open,
}

impl Responder {
    /// Looks `sought` up, without waiting. `turn` is any number, another one for each question.
    pub(super) fn look_up<'z>(
        &self,
        zones: &'z Zones,
        mut sought: Sought,
        turn: u32,
    ) -> Lookup<'z> {
        let said = |found| End::Found(found, Origin::Settings);
        if let Some(found) = self.prior(&mut sought) {
            return Lookup { answer: None, looked: sought.name, sought, end: said(found) };
        }
        let looked = sought.name;
        let answer = zone::answer(zones, &Question { name: &looked, kind: sought.kind, turn });
        if let Some(known) = &answer {
            let Some(target) = known.follow() else {
                return Lookup { answer, sought, looked, end: End::Zones };
            };
            sought.name = target.lowered();
            if let Some(found) = self.prior(&mut sought) {
                return Lookup { answer, sought, looked, end: said(found) };
            }
        }
        let found = self.others.remembered(&sought);
        let end = found.map_or(End::Open, |found| End::Found(found, Origin::Memory));
        Lookup { answer, sought, looked, end }
    }

    /// What settings say of a name. Where they call it by another one, that is sought from then on.
    fn prior(&self, sought: &mut Sought) -> Option<Found> {
        match self.others.prior(sought) {
            Prior::Open => None,
            Prior::Renamed(name) => {
                sought.name = name;
                None
            }
            Prior::Answered(found) => Some(found),
        }
    }
}

impl Lookup<'_> {
    /// How the question fared; `None` as long as others have not said.
    pub(super) fn rcode(&self) -> Option<Rcode> {
        match &self.end {
            End::Zones => self.answer.as_ref().map(Answer::rcode),
            End::Found(found, _) => Some(found.rcode),
            End::Open => None,
        }
    }

    /// Whether there is anything in the answer section.
    pub(super) fn has_answers(&self) -> bool {
        let is_answer = |record: &FoundRecord| record.section == Section::Answer;
        let has_found = match &self.end {
            End::Found(found, _) => found.records.iter().any(is_answer),
            End::Zones | End::Open => false,
        };
        has_found || self.answer.as_ref().is_some_and(Answer::has_answers)
    }

    /// The addresses that the name looked up stands for, each with the seconds for which it may be
    /// remembered: those where packets go that are sent to it. None are those of Services, and of what the
    /// cluster calls by another name (NP-F6).
    pub(super) fn addrs(&self) -> Vec<(IpAddr, u32)> {
        let mut addrs = Vec::new();
        match (&self.end, &self.answer) {
            (End::Found(found, _), None) => return found.addrs_of(&self.sought.name),
            (End::Zones, Some(answer)) if answer.is_of_endpoints() => {
                answer.records(Section::Answer, &mut |record| {
                    match record.rdata {
                        Rdata::A(ip) => addrs.push((ip.into(), record.ttl)),
                        Rdata::Aaaa(ip) => addrs.push((ip.into(), record.ttl)),
                        Rdata::Cname(_)
                        | Rdata::Ns(_)
                        | Rdata::Ptr(_)
                        | Rdata::Srv { .. }
                        | Rdata::Soa { .. }
                        | Rdata::Txt(_)
                        | Rdata::Hinfo => {}
                    }
                    ControlFlow::Continue(())
                });
            }
            (End::Found(..), Some(_)) | (End::Zones | End::Open, _) => {}
        }
        addrs
    }

    /// Whether others have to be asked.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.end, End::Open)
    }

    /// Where the answer is from.
    pub(super) fn origin(&self) -> Origin {
        match &self.end {
            End::Zones | End::Open => Origin::Zones,
            End::Found(_, origin) => *origin,
        }
    }

    /// Answers by it. It is not open.
    pub(super) fn tell(
        &self,
        query: &Query<'_>,
        transport: Transport,
        out: &mut Vec<u8>,
    ) -> Outcome {
        self.write(Reply::new(query, transport, out), false);
        let zone = if self.answer.is_some() { Zone::Own } else { Zone::Other };
        let rcode = self.rcode().unwrap_or(Rcode::ServFail);
        let (origin, kind) = (self.origin(), query.kind);
        Outcome::Told(Told { zone, origin, kind, rcode, searched: None })
    }

    /// Writes it, and ends the message; `is_ours` when there is an alias of ours in it already.
    pub(super) fn write(&self, reply: Reply<'_, '_>, is_ours: bool) {
        match (&self.end, &self.answer) {
            (End::Zones, Some(answer)) => zone::write(answer, reply),
            (End::Found(found, _), aliases) => {
                write_found(reply, aliases.as_ref(), &self.sought, found, is_ours);
            }
            (End::Zones, None) | (End::Open, _) => reply.finish(Rcode::ServFail, false),
        }
    }
}

/// Writes what others have `found`: after the aliases of ours that lead there, under the name that the
/// last of them says; or under the one that the answer is about.
fn write_found(
    mut reply: Reply<'_, '_>,
    aliases: Option<&Answer<'_>>,
    sought: &Sought,
    found: &Found,
    is_ours: bool,
) {
    let last = aliases.and_then(Answer::follow);
    if found.rcode != Rcode::ServFail {
        if let Some(aliases) = aliases {
            zone::write_section(aliases, Section::Answer, &mut reply);
        }
        for section in [Section::Answer, Section::Authority, Section::Additional] {
            for record in found.records.iter().filter(|record| record.section == section) {
                let is_sought = record.owner.lowered() == sought.name;
                let owner = if is_sought { last } else { Some(&record.owner) };
                let rdata = &record.rdata;
                let written = reply.record(section, owner, record.kind, record.ttl, |body| {
                    body.bytes(rdata);
                });
                if written.is_err() {
                    break;
                }
            }
        }
    }
    let is_ours = is_ours || last.is_some();
    if found.is_authentic && !is_ours {
        reply.authentic();
    }
    reply.finish(found.rcode, is_ours && found.rcode != Rcode::ServFail);
}
