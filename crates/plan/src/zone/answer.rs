//! What is answered to a question.

use std::net::IpAddr;
use std::ops::ControlFlow;

use model::{DomainName, Family, ServiceName};
use wire::dns::{Rcode, RecordType, Section};

use super::entry::{HostView, Port, rotated};
use super::find::{Place, find};
use super::{Domain, Entry, HostLabel, Rdata, Record, Role, Row, Zones};

/// The version of the specification that is followed, and how long that may be remembered.
const VERSION: (&str, u32) = ("1.1.0", 28_800);

/// How many aliases are followed (DNS-94).
const LONGEST_CHAIN: usize = 16;

/// What a client wants to know.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The name, in lower case.
    pub name: &'q DomainName,
    /// The type.
    pub kind: RecordType,
    /// Any number, another one for each question: where in a list of addresses the answer begins, so
    /// that clients that take the first one don't all take the same (DNS-72).
    pub turn: u32,
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Answer<'a> {
    zones: &'a Zones,
    rcode: Rcode,
    kind: RecordType,
    turn: u32,
    /// What is another name for what, from the one in question on.
    aliases: [Option<&'a DomainName>; LONGEST_CHAIN],
    /// What the last of them stands for.
    place: Place<'a>,
}

/// Where records are sent to; it says when it wants no more.
type Each<'e, 'a> = &'e mut dyn FnMut(Record<'a>) -> ControlFlow<()>;

/// What `zones` answer to `question`; `None` when the name is in none of them. Addresses that nothing
/// has are not in them, either (DNS-34).
pub fn answer<'a>(zones: &'a Zones, question: &Question<'_>) -> Option<Answer<'a>> {
    let Question { name, kind, turn } = *question;
    let mut place = find(zones, name);
    let is_reverse = || name.is_under(&super::reverse::V4) || name.is_under(&super::reverse::V6);
    if place.zone(zones).is_none() && (zones.is_complete || !is_reverse()) {
        return None;
    }
    let mut answer =
        Answer { zones, rcode: Rcode::NoError, kind, turn, aliases: [None; LONGEST_CHAIN], place };
    if matches!(kind, RecordType::AXFR | RecordType::IXFR) {
        return Some(Answer { rcode: Rcode::Refused, ..answer });
    }
    let is_followed = !matches!(kind, RecordType::CNAME | RecordType::ANY);
    let mut links = 0;
    while let Some(target) = alias(place).filter(|_| is_followed) {
        let Some(link) = answer.aliases.get_mut(links) else {
            return Some(Answer { rcode: Rcode::ServFail, ..answer });
        };
        (*link, links) = (Some(target), links + 1);
        place = find(zones, &target.lowered());
    }
    answer.place = place;
    if let Place::Missing = place {
        answer.rcode = Rcode::NxDomain;
    }
    let is_uncertain = !zones.is_complete && answer.follow().is_none() && !answer.has_records();
    Some(if is_uncertain { Answer { rcode: Rcode::ServFail, ..answer } } else { answer })
}

fn alias(place: Place<'_>) -> Option<&DomainName> {
    let Place::Service(Row { entry: Entry::External(target), .. }) = place else { return None };
    Some(target)
}

impl<'a> Answer<'a> {
    /// How the question fared.
    pub fn rcode(&self) -> Rcode {
        self.rcode
    }

    /// Whether it is the last word on the name in question (AA).
    pub fn is_authoritative(&self) -> bool {
        matches!(self.rcode, Rcode::NoError | Rcode::NxDomain)
    }

    /// Whether it says that nothing has the name in question: not even a name that it would be another one
    /// for.
    pub fn denies(&self) -> bool {
        self.rcode == Rcode::NxDomain && self.last_alias().is_none()
    }

    /// Whether anything is in the answer section of its own.
    pub fn has_answers(&self) -> bool {
        self.last_alias().is_some() || self.has_records()
    }

    /// Whether the addresses in it are where packets go: of pods and of other endpoints. Those of a Service
    /// lead elsewhere, and what the name in question is another one for is somebody else's.
    pub fn is_of_endpoints(&self) -> bool {
        let is_of = match self.place {
            Place::Hosts(_) | Place::Pod(_) => true,
            Place::Service(row) => matches!(row.entry, Entry::Headless(_)),
            Place::Server(_)
            | Place::Elsewhere
            | Place::Missing
            | Place::Between
            | Place::Apex
            | Place::Version
            | Place::Port(..)
            | Place::Reverse(_) => false,
        };
        is_of && self.last_alias().is_none()
    }

    /// For how long it may be remembered what is in the zones and what is not, in seconds.
    pub fn ttl(&self) -> u32 {
        self.zones.dns.ttl
    }

    /// The name, in none of the zones, that the name in question is another one for: the answer goes
    /// on with what others say of it.
    pub fn follow(&self) -> Option<&'a DomainName> {
        let Place::Elsewhere = self.place else { return None };
        self.last_alias()
    }

    fn last_alias(&self) -> Option<&'a DomainName> {
        self.aliases.iter().flatten().last().copied()
    }

    /// The records of `section`, one after the other.
    pub fn records(&self, section: Section, each: Each<'_, 'a>) {
        if !self.is_authoritative() {
            return;
        }
        let all = match section {
            Section::Answer => self.answers(each),
            Section::Authority => self.authority(each),
            Section::Additional => self.additional(each),
        };
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) = all;
    }

    /// Whether what the last name stands for has records of the type in question.
    fn has_records(&self) -> bool {
        self.of_place(&mut |_| ControlFlow::Break(())).is_break()
    }

    fn answers(&self, each: Each<'_, 'a>) -> ControlFlow<()> {
        let mut owner = None;
        for alias in self.aliases.iter().flatten().copied() {
            each(self.record(owner, Rdata::Cname(Domain::Whole(alias))))?;
            owner = Some(Domain::Whole(alias));
        }
        self.of_place(each)
    }

    /// A negative answer says how long it may be remembered: no longer than others (DNS-44).
    fn authority(&self, each: Each<'_, 'a>) -> ControlFlow<()> {
        let Some(zone) = self.place.zone(self.zones).filter(|_| !self.has_records()) else {
            return ControlFlow::Continue(());
        };
        each(self.record(Some(Domain::Whole(zone)), self.zones.soa()))
    }

    /// Addresses of what the answer names.
    fn additional(&self, each: Each<'_, 'a>) -> ControlFlow<()> {
        let glue = |row: &'a Row, each: Each<'_, 'a>| {
            let owner = Some(self.zones.service(&row.name));
            for family in Family::ALL {
                row.addrs(family, self.turn)
                    .try_for_each(|ip| each(self.record(owner, Rdata::address(ip))))?;
            }
            ControlFlow::Continue(())
        };
        match (self.place, self.kind) {
            (Place::Apex, RecordType::NS) => match self.zones.server() {
                Some(row) => glue(row, each),
                None => ControlFlow::Continue(()),
            },
            (Place::Service(row) | Place::Port(row, ..), RecordType::SRV) => match &row.entry {
                Entry::Cluster { .. } => glue(row, each),
                Entry::Headless(endpoints) => {
                    let offers = |host: &HostView<'_>| host.ports.iter().any(|p| self.wants(p));
                    for host in endpoints.hosts().filter(offers) {
                        let owner = Some(self.zones.host(&row.name, &host));
                        host.addrs.iter().try_for_each(|addr| {
                            each(self.record(owner, Rdata::address(addr.ip)))
                        })?;
                    }
                    ControlFlow::Continue(())
                }
                Entry::External(_) => ControlFlow::Continue(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }

    /// The records of the type in question that the last name has.
    fn of_place(&self, each: Each<'_, 'a>) -> ControlFlow<()> {
        let owner = self.last_alias().map(Domain::Whole);
        let mut say = |rdata| each(self.record(owner, rdata));
        match (self.place, self.kind) {
            (Place::Elsewhere | Place::Missing, _) => ControlFlow::Continue(()),
            (_, RecordType::ANY) => say(Rdata::Hinfo),
            (Place::Apex, RecordType::SOA) => say(self.zones.soa()),
            (Place::Apex, RecordType::NS) => say(Rdata::Ns(match self.zones.server() {
                Some(row) => self.zones.service(&row.name),
                None => Domain::Whole(&self.zones.primary),
            })),
            (Place::Version, RecordType::TXT) => {
                let (text, ttl) = VERSION;
                each(Record { owner, ttl, rdata: Rdata::Txt(text) })
            }
            (Place::Service(Row { entry: Entry::External(target), .. }), RecordType::CNAME) => {
                say(Rdata::Cname(Domain::Whole(target)))
            }
            (Place::Service(row) | Place::Port(row, ..), RecordType::SRV) => {
                self.srv(row, &mut say)
            }
            (Place::Reverse(ip), RecordType::PTR) => {
                let mut names = self.zones.names_of(ip);
                names.try_for_each(|name| say(Rdata::Ptr(name)))
            }
            (place, RecordType::A) => self.addresses(place, Family::V4, &mut say),
            (place, RecordType::AAAA) => self.addresses(place, Family::V6, &mut say),
            _ => ControlFlow::Continue(()),
        }
    }

    fn addresses(
        &self,
        place: Place<'a>,
        family: Family,
        say: &mut dyn FnMut(Rdata<'a>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut say = |ip: IpAddr| match Family::of(ip) == family {
            true => say(Rdata::address(ip)),
            false => ControlFlow::Continue(()),
        };
        match place {
            Place::Service(row) | Place::Server(row) => {
                row.addrs(family, self.turn).try_for_each(say)
            }
            Place::Hosts(hosts) => {
                let [first, second] = hosts.map(|host| host.map_or(&[][..], |host| host.addrs));
                let is_new = |ip| !first.iter().any(|addr| addr.ip == ip);
                rotated(first, self.turn).try_for_each(|addr| say(addr.ip))?;
                // One is called by the address that another has.
                second.iter().map(|addr| addr.ip).filter(|ip| is_new(*ip)).try_for_each(say)
            }
            Place::Pod(ip) => say(ip),
            Place::Elsewhere
            | Place::Missing
            | Place::Between
            | Place::Apex
            | Place::Version
            | Place::Port(..)
            | Place::Reverse(_) => ControlFlow::Continue(()),
        }
    }

    /// One record for each port of each host: of the Service itself, or of its endpoints (DNS-3, DNS-9,
    /// DNS-25, DNS-26).
    fn srv(
        &self,
        row: &'a Row,
        say: &mut dyn FnMut(Rdata<'a>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let wanted = |ports: &'a [Port]| ports.iter().filter(|port| self.wants(port));
        let weight = |count: usize| {
            let share = 100_usize.checked_div(count).unwrap_or(1).max(1);
            u16::try_from(share).unwrap_or(1)
        };
        match &row.entry {
            Entry::Cluster { ports, .. } => {
                let (weight, target) =
                    (weight(wanted(ports).count()), self.zones.service(&row.name));
                let port = |port: &Port| Rdata::Srv { weight, port: port.port, target };
                wanted(ports).map(port).try_for_each(say)
            }
            Entry::Headless(endpoints) => {
                let weight = weight(endpoints.hosts().map(|h| wanted(h.ports).count()).sum());
                for host in endpoints.hosts() {
                    let target = self.zones.host(&row.name, &host);
                    for port in wanted(host.ports) {
                        say(Rdata::Srv { weight, port: port.port, target })?;
                    }
                }
                ControlFlow::Continue(())
            }
            Entry::External(_) => ControlFlow::Continue(()),
        }
    }

    /// Whether the question is about `port`.
    fn wants(&self, port: &Port) -> bool {
        let Place::Port(_, protocol, name) = self.place else { return true };
        port.protocol == protocol && *port.name == *name
    }

    fn record(&self, owner: Option<Domain<'a>>, rdata: Rdata<'a>) -> Record<'a> {
        Record { owner, ttl: self.zones.dns.ttl, rdata }
    }
}

impl Row {
    /// The addresses of `family` that the Service's own name stands for.
    fn addrs(&self, family: Family, turn: u32) -> impl Iterator<Item = IpAddr> {
        let (own, endpoints) = match &self.entry {
            Entry::Cluster { addrs, .. } => (&**addrs, None),
            Entry::Headless(endpoints) => (&[][..], Some(endpoints)),
            Entry::External(_) => (&[][..], None),
        };
        let of_endpoints = endpoints.filter(|endpoints| endpoints.has(family)).into_iter();
        let all = rotated(own, turn).copied();
        all.chain(of_endpoints.flat_map(move |endpoints| endpoints.addrs(turn)))
            .filter(move |ip| Family::of(*ip) == family)
    }
}

impl Zones {
    fn soa(&self) -> Rdata<'_> {
        Rdata::Soa {
            primary: &self.primary,
            mailbox: &self.mailbox,
            serial: self.serial,
            minimum: self.dns.ttl,
        }
    }

    fn service<'a>(&'a self, name: &'a ServiceName) -> Domain<'a> {
        Domain::Service(name, &self.dns.domain)
    }

    pub(super) fn host<'a>(&'a self, service: &'a ServiceName, host: &HostView<'a>) -> Domain<'a> {
        let label = match (host.name, host.addrs) {
            (Some(name), _) => HostLabel::Name(name),
            (None, addrs) => HostLabel::Address(addrs[0].ip),
        };
        Domain::Host(label, service, &self.dns.domain)
    }

    /// The names that `ip` leads back to: a cluster IP's one, or all of an endpoint's (DNS-34).
    pub(super) fn names_of(&self, ip: IpAddr) -> impl Iterator<Item = Domain<'_>> {
        let mut is_taken = false;
        self.pointers_at(ip).map_while(move |pointer| {
            let zone = &self.dns.domain;
            let label = pointer.host.as_deref().map_or(HostLabel::Address(ip), HostLabel::Name);
            let name = match pointer.role {
                Role::ClusterIp => Domain::Service(&pointer.service, zone),
                Role::Pod | Role::Other => Domain::Host(label, &pointer.service, zone),
                Role::Hidden => return None, // The last ones.
            };
            if is_taken {
                return None;
            }
            is_taken = pointer.role == Role::ClusterIp;
            Some(name)
        })
    }
}
