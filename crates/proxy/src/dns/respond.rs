//! From a message to its answer, or to what has to be asked for first. No socket is touched here.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use model::DomainName;
use plan::LocalPods;
use plan::zone::{self, Question, Zones};
use wire::dns::{Query, Rcode, RecordType, Reply, Transport, Unanswered};

use super::contained::{contained, contained_later};
use super::cookie::Cookies;
use super::counts::{Counts, Origin, Told, Zone};
use super::log::Log;
use super::lookup::{End, Lookup};
use super::named::{Named, Wanted};
use super::path::{Path, Step};
use super::{Found, Others, Sought, Sources};

/// What the agent knows and the server answers by. It is replaced while the server runs; whoever is being
/// answered is answered by what was there.
#[derive(Debug)]
pub struct Known {
    /// The cluster's names.
    pub zones: ArcSwap<Zones>,
    /// The addresses of the cluster's pods and nodes. Over UDP others have to show that they are where
    /// they say they are, by a cookie or by TCP (DNS-68).
    pub cluster: ArcSwap<Sources>,
    /// The node's own pods.
    pub pods: ArcSwap<LocalPods>,
    /// Whom questions are told to, if anybody.
    pub log: ArcSwapOption<Log>,
    /// Where policies allow addresses by name, if anywhere.
    pub named: ArcSwapOption<Named>,
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
    pub(super) zones: Arc<Zones>,
    /// The name that was looked up in them.
    pub(super) looked: DomainName,
    pub(super) sought: Sought,
    /// The path that this name is on, if it is not the one in question, and its place there.
    path: Option<(Path, usize)>,
}

/// Answers messages.
pub(super) struct Responder {
    pub(super) known: Arc<Known>,
    pub(super) others: Arc<dyn Others>,
    pub(super) cookies: Cookies,
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
                return Outcome::Told(Told {
                    zone,
                    origin,
                    kind,
                    rcode: refusal.rcode,
                    searched: None,
                });
            }
        };
        if let Some(refusal) = self.exchange_cookies(&mut query, message, out) {
            return refusal;
        }
        let first = sought(&query);
        let mut lookup = self.look_up(zones, first, turn);
        let mut path = self.path(&lookup, client.ip).map(|path| (path, 0));
        if let Some((path, place)) = &mut path {
            match self.walk(path, zones, first, (0, turn)) {
                Some((step, next)) if next.is_open() => (*place, lookup) = (step, next),
                step => {
                    allow(self.wanted_on(path, client.ip, &first.name, step.as_ref()));
                    return path.tell((&query, transport, turn), zones, step, out);
                }
            }
        }
        if !lookup.is_open() {
            allow(self.wanted(client.ip, &first.name, &lookup));
            return lookup.tell(&query, transport, out);
        }
        let Lookup { looked, sought, .. } = lookup;
        Outcome::Open(Box::new(Open {
            message: bytes.into(),
            transport,
            turn,
            client: client.ip,
            cookies: query.cookies,
            zones: Arc::clone(zones),
            looked,
            sought,
            path,
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
        Some(Outcome::Told(Told { zone, origin, kind, rcode, searched: None }))
    }

    /// What has to be allowed before what is known of `name` is told to the client at `ip`, if that is a pod
    /// of the node: nobody else is asked about by its rules (NP-F9).
    fn wanted(&self, ip: IpAddr, name: &DomainName, lookup: &Lookup<'_>) -> Option<Wanted> {
        let named = self.known.named.load();
        let wanted = named.as_ref()?.wanted(name, || lookup.addrs())?;
        self.known.pods.load().at(ip).map(|_| wanted)
    }

    /// The same for the name that was found on the path of `first`. An alias of ours leads there; what the
    /// client asked for itself is not there.
    fn wanted_on(
        &self,
        path: &Path,
        ip: IpAddr,
        first: &DomainName,
        step: Option<&Step<'_>>,
    ) -> Option<Wanted> {
        self.known.named.load().as_ref()?;
        let (place, lookup) = step?;
        self.wanted(ip, &path.name(first, *place)?, lookup)
    }

    /// Asks others for what is `open`, and writes the answer to `out`.
    pub(super) async fn ask(&self, open: &Open, counts: &Counts, out: &mut Vec<u8>) -> Outcome {
        let start = out.len();
        let asking = async {
            let Some((path, place)) = &open.path else {
                let found = self.others.ask(open.sought).await;
                let Some(query) = open.query() else { return Outcome::Silent };
                let lookup = open.found(open.looked, open.sought, found);
                allow_later(self.wanted(open.client, &sought(&query).name, &lookup)).await;
                return lookup.tell(&query, open.transport, out);
            };
            let Some(query) = open.query() else { return Outcome::Silent };
            let first = sought(&query);
            let step = self.go_on(path, *place, open, first).await;
            allow_later(self.wanted_on(path, open.client, &first.name, step.as_ref())).await;
            path.tell((&query, open.transport, open.turn), &open.zones, step, out)
        };
        contained_later(asking).await.unwrap_or_else(|| {
            Counts::add_one(&counts.panics);
            out.truncate(start);
            failure(&open.message, open.transport, Zone::Other, out)
        })
    }
}

impl Open {
    /// The question.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.message
    }

    /// Says that nobody could be asked, for there is too much to do.
    pub(super) fn shed(&self, out: &mut Vec<u8>) -> Outcome {
        match self.path.as_ref().zip(self.query()) {
            Some(((path, _), query)) => {
                path.tell((&query, self.transport, self.turn), &self.zones, None, out)
            }
            None => failure(&self.message, self.transport, Zone::Other, out),
        }
    }

    /// What is known once others have said what is `sought`, which is asked of them for `looked`.
    pub(super) fn found(&self, looked: DomainName, sought: Sought, found: Found) -> Lookup<'_> {
        let question = Question { name: &looked, kind: sought.kind, turn: self.turn };
        let answer = zone::answer(&self.zones, &question);
        Lookup { answer, looked, sought, end: End::Found(found, Origin::Others) }
    }

    fn query(&self) -> Option<Query<'_>> {
        let query = wire::dns::read(&self.message).ok()?;
        Some(Query { cookies: self.cookies, ..query })
    }
}

/// Has addresses be allowed before anything else is done.
fn allow(wanted: Option<Wanted>) {
    if let Some(wanted) = wanted {
        wanted.wait();
    }
}

/// Has addresses be allowed, where others have something to do meanwhile.
async fn allow_later(wanted: Option<Wanted>) {
    if let Some(wanted) = wanted {
        // Nothing in there panics; if it did, the answer would be none the worse.
        drop(tokio::task::spawn_blocking(|| wanted.wait()).await);
    }
}

fn sought(query: &Query<'_>) -> Sought {
    Sought {
        name: query.name,
        kind: query.kind,
        dnssec_ok: query.edns.is_some_and(|edns| edns.dnssec_ok),
        checking_disabled: query.checking_disabled,
    }
}

/// Says that the question can't be answered now.
fn failure(bytes: &[u8], transport: Transport, zone: Zone, out: &mut Vec<u8>) -> Outcome {
    let Ok(query) = wire::dns::read(bytes) else { return Outcome::Silent };
    let (rcode, origin) = (Rcode::ServFail, Origin::Refusal);
    Reply::new(&query, transport, out).finish(rcode, false);
    Outcome::Told(Told { zone, origin, kind: query.kind, rcode, searched: None })
}
