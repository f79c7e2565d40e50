//! Records, borrowed from the zones that they are of.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{DomainName, ServiceName};
use wire::dns::RecordType;

use super::dashed::Dashed;

/// One record.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Whose it is; `None` for the name in question.
    pub owner: Option<Domain<'a>>,
    /// How long it may be remembered, in seconds.
    pub ttl: u32,
    /// What it says.
    pub rdata: Rdata<'a>,
}

/// What a record says.
#[derive(Debug, Clone, Copy)]
pub enum Rdata<'a> {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name that is meant.
    Cname(Domain<'a>),
    /// A server of the zone.
    Ns(Domain<'a>),
    /// The name of an address.
    Ptr(Domain<'a>),
    /// Where a port is. Its priority is 0.
    Srv {
        /// How often it is chosen, relative to the others.
        weight: u16,
        /// The port.
        port: u16,
        /// Where.
        target: Domain<'a>,
    },
    /// Start of the zone (DNS-37).
    Soa {
        /// The first of its servers.
        primary: &'a DomainName,
        /// Who looks after it.
        mailbox: &'a DomainName,
        /// When it last changed.
        serial: u32,
        /// How long a negative answer may be remembered, in seconds.
        minimum: u32,
    },
    /// A text of less than 256 bytes.
    Txt(&'static str),
    /// What ANY is answered with (RFC 8482).
    Hinfo,
}

impl Rdata<'_> {
    /// The record's type.
    pub fn kind(&self) -> RecordType {
        match self {
            Rdata::A(_) => RecordType::A,
            Rdata::Aaaa(_) => RecordType::AAAA,
            Rdata::Cname(_) => RecordType::CNAME,
            Rdata::Ns(_) => RecordType::NS,
            Rdata::Ptr(_) => RecordType::PTR,
            Rdata::Srv { .. } => RecordType::SRV,
            Rdata::Soa { .. } => RecordType::SOA,
            Rdata::Txt(_) => RecordType::TXT,
            Rdata::Hinfo => RecordType::HINFO,
        }
    }

    /// The address record for `ip`.
    pub(super) fn address(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Rdata::A(ip),
            IpAddr::V6(ip) => Rdata::Aaaa(ip),
        }
    }
}

/// A name that is put together only where it is written.
#[derive(Debug, Clone, Copy)]
pub enum Domain<'a> {
    /// As it is.
    Whole(&'a DomainName),
    /// A Service's.
    Service(&'a ServiceName, &'a DomainName),
    /// That of a Service's endpoint.
    Host(HostLabel<'a>, &'a ServiceName, &'a DomainName),
}

/// The label of an endpoint.
#[derive(Debug, Clone, Copy)]
pub enum HostLabel<'a> {
    /// Its hostname.
    Name(&'a str),
    /// It has none.
    Address(IpAddr),
}

impl Domain<'_> {
    /// The whole name; `None` where that is longer than a name may be.
    pub fn name(&self) -> Option<DomainName> {
        let service = |service: &ServiceName, zone: &DomainName| {
            let space = zone.under(b"svc")?.under(service.namespace.as_bytes())?;
            space.under(service.name.as_bytes())
        };
        match self {
            Domain::Whole(name) => Some(**name),
            Domain::Service(name, zone) => service(name, zone),
            Domain::Host(HostLabel::Name(label), name, zone) => {
                service(name, zone)?.under(label.as_bytes())
            }
            Domain::Host(HostLabel::Address(ip), name, zone) => {
                service(name, zone)?.under(Dashed::of(*ip).as_bytes())
            }
        }
    }
}

impl fmt::Display for Domain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => name.fmt(f),
            None => f.write_str("<too long>"),
        }
    }
}

/// Type and rdata as in a zone file (RFC 1035 §5).
impl fmt::Display for Rdata<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind())?;
        match self {
            Rdata::A(ip) => ip.fmt(f),
            Rdata::Aaaa(ip) => ip.fmt(f),
            Rdata::Cname(name) | Rdata::Ns(name) | Rdata::Ptr(name) => name.fmt(f),
            Rdata::Srv { weight, port, target } => write!(f, "0 {weight} {port} {target}"),
            Rdata::Soa { primary, mailbox, serial, minimum } => {
                write!(f, "{primary} {mailbox} {serial} {REFRESH} {RETRY} {EXPIRE} {minimum}")
            }
            Rdata::Txt(text) => write!(f, "{text:?}"),
            Rdata::Hinfo => write!(f, "{:?} \"\"", super::write::ANY_ANSWER),
        }
    }
}

/// How often another server of the zone would look for changes, in seconds.
pub(super) const REFRESH: u32 = 7200;

/// How soon it would try again.
pub(super) const RETRY: u32 = 1800;

/// How long it would answer without having succeeded.
pub(super) const EXPIRE: u32 = 86_400;
