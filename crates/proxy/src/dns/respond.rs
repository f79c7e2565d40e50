//! From a message to its answer, or to what has to be asked for first. No socket is touched here.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use model::DomainName;
use plan::zone::{self, Answer, Question, Zones};
use wire::dns::{Query, Rcode, RecordType, Reply, Section, Transport, Unanswered};

use super::contained::{contained, contained_later};
use super::cookie::Cookies;
use super::counts::{Counts, Origin, Told, Zone};
use super::log::Log;
use super::{Found, Others, Prior, Sought, Sources};

/// What the agent knows and the server answers by. It is replaced while the server runs; whoever is being
/// answered is answered by what was there.
#[derive(Debug)]
pub struct Known {
    /// The cluster's names.
    pub zones: ArcSwap<Zones>,
    /// The addresses of the cluster's pods and nodes. Over UDP others have to show that they are where
    /// they say they are, by a cookie or by TCP (DNS-68).
    pub cluster: ArcSwap<Sources>,
}

/// Who sent a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) ip: IpAddr,
    /// Whether it is none of the cluster.
    pub(super) is_stranger: bool,
}

/// A message that came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'m> {
    pub(super) bytes: &'m [u8],
    pub(super) client: Client,
    pub(super) transport: Transport,
    /// Any number, another one for each message (DNS-72).
    pub(super) turn: u32,
    /// Seconds since 1970.
    pub(super) now: u32,
}

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing is said.
    Silent,
    /// The answer is written.
    Told(Told),
    /// Others have to be asked.
    Open(Box<Open>),
}

/// A question that others have to be asked for.
#[derive(Debug)]
pub(super) struct Open {
    message: Box<[u8]>,
    transport: Transport,
    pub(super) turn: u32,
    pub(super) client: IpAddr,
    cookies: Option<[u8; 24]>,
    /// By these it is another name for what is sought, if it is.
    zones: Arc<Zones>,
    /// The name that was looked up in them.
    looked: DomainName,
    sought: Sought,
}

/// Answers messages.
pub(super) struct Responder {
    pub(super) known: Arc<Known>,
    pub(super) others: Arc<dyn Others>,
    pub(super) cookies: Cookies,
    pub(super) log: ArcSwapOption<Log>,
}

impl Responder {
    /// Writes the answer to `message` at the end of `out`, if there is one at once. A panic is contained
    /// and counted: the client is told SERVFAIL (DNS-160).
    pub(super) fn respond(
        &self,
        zones: &Arc<Zones>,
        message: Message<'_>,
        counts: &Counts,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let start = out.len();
        let outcome = contained(|| self.try_respond(zones, message, out));
        outcome.unwrap_or_else(|| {
            Counts::add_one(&counts.panics);
            out.truncate(start);
            failure(message.bytes, message.transport, Zone::Own, out)
        })
    }

    fn try_respond(&self, zones: &Arc<Zones>, message: Message<'_>, out: &mut Vec<u8>) -> Outcome {
        let Message { bytes, transport, turn, client, .. } = message;
        let mut query = match wire::dns::read(bytes) {
            Ok(query) => query,
            Err(Unanswered::Silent) => return Outcome::Silent,
            Err(Unanswered::Refused(refusal)) => {
                wire::dns::refuse(&refusal, out);
                let (zone, origin, kind) = (Zone::Other, Origin::Refusal, RecordType(0));
                return Outcome::Told(Told { zone, origin, kind, rcode: refusal.rcode });
            }
        };
        if let Some(refusal) = self.exchange_cookies(&mut query, message, out) {
            return refusal;
        }
        let mut sought = sought(&query, query.name);
        match self.others.prior(&sought) {
            Prior::Open => {}
            Prior::Renamed(name) => sought.name = name,
            Prior::Answered(found) => {
                return Outcome::Told(tell(&query, transport, None, &sought, &found, out))
                    .from(Origin::Settings);
            }
        }
        let looked = sought.name;
        let question = Question { name: &looked, kind: query.kind, turn };
        let answer = zone::answer(zones, &question);
        if let Some(known) = &answer {
            let Some(target) = known.follow() else {
                zone::write(known, &query, transport, out);
                let (zone, origin, rcode) = (Zone::Own, Origin::Zones, known.rcode());
                return Outcome::Told(Told { zone, origin, kind: query.kind, rcode });
            };
            sought.name = target.lowered();
            match self.others.prior(&sought) {
                Prior::Open => {}
                Prior::Renamed(name) => sought.name = name,
                Prior::Answered(found) => {
                    let told = tell(&query, transport, answer.as_ref(), &sought, &found, out);
                    return Outcome::Told(told).from(Origin::Settings);
                }
            }
        }
        if let Some(found) = self.others.remembered(&sought) {
            let told = tell(&query, transport, answer.as_ref(), &sought, &found, out);
            return Outcome::Told(told).from(Origin::Memory);
        }
        let (message, zones, cookies) = (bytes.into(), Arc::clone(zones), query.cookies);
        Outcome::Open(Box::new(Open {
            message,
            transport,
            turn,
            client: client.ip,
            cookies,
            zones,
            looked,
            sought,
        }))
    }

    /// Has the answer bring a cookie to a client that brought one. A stranger's datagram without one of
    /// ours is refused in as many bytes as it has: whom it names as its sender need not have sent it
    /// (DNS-68).
    fn exchange_cookies(
        &self,
        query: &mut Query<'_>,
        message: Message<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Outcome> {
        let Message { client, now, transport, .. } = message;
        let cookie = query.edns.and_then(|edns| edns.cookie);
        query.cookies = cookie.and_then(|cookie| self.cookies.give(cookie, client.ip, now));
        if !client.is_stranger || transport == Transport::Tcp {
            return None;
        }
        let rcode = match cookie {
            Some(cookie) if self.cookies.is_ours(cookie, client.ip, now) => return None,
            Some(_) => {
                Reply::new(query, transport, out).finish(Rcode::BadCookie, false);
                Rcode::BadCookie
            }
            None => {
                Reply::new(query, transport, out).truncate();
                Rcode::NoError
            }
        };
        let (zone, origin, kind) = (Zone::Other, Origin::Refusal, query.kind);
        Some(Outcome::Told(Told { zone, origin, kind, rcode }))
    }

    /// Asks others for what is `open`, and writes the answer to `out`.
    pub(super) async fn ask(&self, open: &Open, counts: &Counts, out: &mut Vec<u8>) -> Outcome {
        let start = out.len();
        let asking = async {
            let found = self.others.ask(open.sought).await;
            open.tell(&found, out)
        };
        contained_later(asking).await.unwrap_or_else(|| {
            Counts::add_one(&counts.panics);
            out.truncate(start);
            failure(&open.message, open.transport, Zone::Other, out)
        })
    }
}

impl Outcome {
    fn from(mut self, origin: Origin) -> Self {
        if let Outcome::Told(told) = &mut self {
            told.origin = origin;
        }
        self
    }
}

impl Open {
    /// The question.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.message
    }

    /// Says that nobody could be asked, for there is too much to do.
    pub(super) fn shed(&self, out: &mut Vec<u8>) -> Outcome {
        failure(&self.message, self.transport, Zone::Other, out)
    }

    fn tell(&self, found: &Found, out: &mut Vec<u8>) -> Outcome {
        let Ok(mut query) = wire::dns::read(&self.message) else { return Outcome::Silent };
        query.cookies = self.cookies;
        let question = Question { name: &self.looked, kind: query.kind, turn: self.turn };
        let answer = zone::answer(&self.zones, &question);
        Outcome::Told(tell(&query, self.transport, answer.as_ref(), &self.sought, found, out))
    }
}

fn sought(query: &Query<'_>, name: DomainName) -> Sought {
    Sought {
        name,
        kind: query.kind,
        dnssec_ok: query.edns.is_some_and(|edns| edns.dnssec_ok),
        checking_disabled: query.checking_disabled,
    }
}

/// Writes what others have `found`: after the aliases of ours that lead there, under the name that the
/// last of them says; or under the name in question.
fn tell(
    query: &Query<'_>,
    transport: Transport,
    aliases: Option<&Answer<'_>>,
    sought: &Sought,
    found: &Found,
    out: &mut Vec<u8>,
) -> Told {
    let mut reply = Reply::new(query, transport, out);
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
    if found.is_authentic && aliases.is_none() {
        reply.authentic();
    }
    reply.finish(found.rcode, last.is_some() && found.rcode != Rcode::ServFail);
    let zone = if aliases.is_some() { Zone::Own } else { Zone::Other };
    Told { zone, origin: Origin::Others, kind: query.kind, rcode: found.rcode }
}

/// Says that the question can't be answered now.
fn failure(bytes: &[u8], transport: Transport, zone: Zone, out: &mut Vec<u8>) -> Outcome {
    let Ok(query) = wire::dns::read(bytes) else { return Outcome::Silent };
    let (rcode, origin) = (Rcode::ServFail, Origin::Refusal);
    Reply::new(&query, transport, out).finish(rcode, false);
    Outcome::Told(Told { zone, origin, kind: query.kind, rcode })
}
