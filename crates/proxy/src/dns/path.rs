//! Search lists: the names that a client would try one after the other are tried here, with one question of
//! the client's.
//!
//! That question is the first one on the client's list. Where the zones deny it, the rest of the list is gone
//! through as the client would: names of the cluster in memory, all others by asking, until a name is there.
//! It is answered by that name, to which an alias leads. Where none is there, or anybody who was asked could
//! not say, the first name is denied as if nobody had looked further, and the client goes on by itself.
//!
//! A name that is there without records of the type in question is answered without an alias: clients tell by
//! an empty answer section whether they go on.
//!
//! Sources: resolv.conf(5); CoreDNS's plugin `autopath`; DNS-101 to DNS-104.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{DomainName, SearchList};
use plan::zone::{self, Answer, Question, Zones};
use tokio::time::timeout;
use wire::dns::{Query, Rcode, RecordType, Reply, Section, Transport};

use super::Sought;
use super::counts::{Origin, Told, Zone};
use super::lookup::Lookup;
use super::respond::{Open, Outcome, Responder};

/// How long is looked for a name that others are asked for. Clients ask again after two seconds or more.
const LONGEST: Duration = Duration::from_secs(2);

/// A search list that is gone along.
#[derive(Debug)]
pub(super) struct Path {
    list: Arc<SearchList>,
    /// The name in question, as it was looked up in the zones.
    denied: DomainName,
}

/// A name on a search list: the how manyth after the one in question, and what is known of it.
pub(super) type Step<'z> = (usize, Lookup<'z>);

impl Responder {
    /// The path of the client at `ip`, if it has one that goes on after what the zones have said.
    pub(super) fn path(&self, lookup: &Lookup<'_>, ip: IpAddr) -> Option<Path> {
        // Who wants to know of aliases, or of everything, means this name and no other.
        let is_followed = !matches!(lookup.sought.kind, RecordType::CNAME | RecordType::ANY);
        let is_denied = lookup.answer.as_ref().is_some_and(Answer::denies) && is_followed;
        if !is_denied {
            return None;
        }
        let pods = self.known.pods.load();
        let list = pods.at(ip)?.search.as_ref()?;
        Some(Path { list: Arc::clone(list), denied: lookup.looked })
    }

    /// The first name on the path, from `from` on, that may be there: one that is, or that others have to be
    /// asked for. `None` when there is none, or somebody could not say.
    pub(super) fn walk<'z>(
        &self,
        path: &Path,
        zones: &'z Zones,
        first: Sought,
        (from, turn): (usize, u32),
    ) -> Option<Step<'z>> {
        for (step, name) in path.list.after(&first.name).enumerate().skip(from) {
            let lookup = self.look_up(zones, Sought { name, ..first }, turn);
            match lookup.rcode() {
                Some(Rcode::NxDomain) => {}
                None | Some(Rcode::NoError) => return Some((step, lookup)),
                Some(_) => return None,
            }
        }
        None
    }

    /// Goes on along the path from `place`, which others are asked for by `open`, until a name is there.
    pub(super) async fn go_on<'o>(
        &self,
        path: &Path,
        place: usize,
        open: &'o Open,
        first: Sought,
    ) -> Option<Step<'o>> {
        let walking = async {
            let (mut place, mut looked, mut sought) = (place, open.looked, open.sought);
            loop {
                let found = self.others.ask(sought).await;
                if found.rcode == Rcode::NoError {
                    return Some((place, open.found(looked, sought, found)));
                }
                let is_denied = found.rcode == Rcode::NxDomain;
                let next = is_denied.then(|| (place + 1, open.turn));
                let (step, next) = self.walk(path, &open.zones, first, next?)?;
                if !next.is_open() {
                    return Some((step, next));
                }
                (place, looked, sought) = (step, next.looked, next.sought);
            }
        };
        timeout(LONGEST, walking).await.ok().flatten()
    }
}

impl Path {
    /// The name at `step`, on the path of `first`.
    pub(super) fn name(&self, first: &DomainName, step: usize) -> Option<DomainName> {
        self.list.after(first).nth(step)
    }

    /// Answers by the name of `step`; or denies the one in question, where there is none.
    pub(super) fn tell(
        &self,
        (query, transport, turn): (&Query<'_>, Transport, u32),
        zones: &Zones,
        step: Option<Step<'_>>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let question = Question { name: &self.denied, kind: query.kind, turn };
        let Some(denial) = zone::answer(zones, &question) else { return Outcome::Silent };
        let mut reply = Reply::new(query, transport, out);
        let (kind, zone) = (query.kind, Zone::Own);
        let Some((step, lookup)) = step else {
            zone::write(&denial, reply);
            let (rcode, origin) = (denial.rcode(), Origin::Zones);
            return Outcome::Told(Told { zone, origin, kind, rcode, searched: None });
        };
        let name = self.name(&query.name, step);
        match name.filter(|_| lookup.has_answers()) {
            Some(name) => {
                reply.alias(&name, denial.ttl());
                lookup.write(reply, true);
            }
            None => {
                zone::write_section(&denial, Section::Authority, &mut reply);
                reply.finish(Rcode::NoError, true);
            }
        }
        let searched = u8::try_from(step).ok();
        let (origin, rcode) = (lookup.origin(), Rcode::NoError);
        Outcome::Told(Told { zone, origin, kind, rcode, searched })
    }
}
