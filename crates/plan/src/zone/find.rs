//! What a name stands for: its labels, from the right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{DomainName, Family, PodRecords, Protocol};

use super::entry::HostView;
use super::{Row, Zones, dashed, reverse};

/// Labels that the deepest name has before the zone.
const DEEPEST: usize = 5;

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// Others know it, if anybody does.
    Elsewhere,
    /// Nothing, in the cluster's zone.
    Missing,
    /// Nothing, and names below it do for something: an empty non-terminal (RFC 8020).
    Between,
    /// The zone itself.
    Apex,
    /// The version of the specification that is followed.
    Version,
    /// The zone's first server, by the name in the SOA record.
    Server(&'a Row),
    /// A Service.
    Service(&'a Row),
    /// An endpoint, or two: one by its hostname, one by its address.
    Hosts([Option<HostView<'a>>; 2]),
    /// A named port of a Service.
    Port(&'a Row, Protocol, &'a str),
    /// An address that is written in the name.
    Pod(IpAddr),
    /// Everything that has an address.
    Reverse(IpAddr),
}

/// Finds `name`, in lower case.
pub(super) fn find<'a>(zones: &'a Zones, name: &DomainName) -> Place<'a> {
    let Some(before) = name.below(&zones.dns.domain) else { return find_address(zones, name) };
    let mut labels = [&[][..]; DEEPEST];
    let mut count = 0;
    for label in before {
        let Some(place) = labels.get_mut(count) else { return Place::Missing };
        (*place, count) = (label, count + 1);
    }
    match &labels[..count] {
        [] => Place::Apex,
        [b"dns-version"] => Place::Version,
        [b"svc" | b"pod"] => Place::Between,
        [b"dns"] if zones.server().is_some() => Place::Between,
        [b"ns", b"dns"] => zones.server().map_or(Place::Missing, Place::Server),
        [space, b"svc"] if zones.has_space(space) => Place::Between,
        [rest @ .., service, space, b"svc"] => find_service(zones, space, service, rest),
        [space, b"pod"] => match zones.dns.pods {
            PodRecords::Verified | PodRecords::Insecure if zones.has_space(space) => Place::Between,
            PodRecords::Disabled | PodRecords::Verified | PodRecords::Insecure => Place::Missing,
        },
        [address, space, b"pod"] => find_pod(zones, space, address),
        _ => Place::Missing,
    }
}

fn find_service<'a>(zones: &'a Zones, space: &[u8], service: &[u8], rest: &[&[u8]]) -> Place<'a> {
    let services = zones.space(space).map(|space| &space.services);
    let row = services.zip(std::str::from_utf8(service).ok()).and_then(|(all, name)| all.get(name));
    let Some(row) = row.filter(|row| row.entry.is_there()) else { return Place::Missing };
    match rest {
        [] => Place::Service(row),
        [label] => match protocol(label) {
            Some(protocol) if row.entry.ports(protocol).next().is_some() => Place::Between,
            Some(_) | None => find_host(row, label),
        },
        [port, over] => find_port(row, port, over).unwrap_or(Place::Missing),
        _ => Place::Missing,
    }
}

fn find_host<'a>(row: &'a Row, label: &[u8]) -> Place<'a> {
    match row.entry.endpoints().map(|endpoints| endpoints.named(label)) {
        None | Some([None, None]) => Place::Missing,
        Some(hosts) => Place::Hosts(hosts),
    }
}

/// `_PORT._PROTOCOL`.
fn find_port<'a>(row: &'a Row, port: &[u8], over: &[u8]) -> Option<Place<'a>> {
    let (protocol, name) = (protocol(over)?, port.strip_prefix(b"_")?);
    let port = row.entry.ports(protocol).find(|port| port.name.as_bytes() == name)?;
    Some(Place::Port(row, protocol, &port.name))
}

fn protocol(label: &[u8]) -> Option<Protocol> {
    match label {
        b"_tcp" => Some(Protocol::Tcp),
        b"_udp" => Some(Protocol::Udp),
        b"_sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// DNS-29.
fn find_pod<'a>(zones: &'a Zones, space: &[u8], address: &[u8]) -> Place<'a> {
    let Some(ip) = dashed::parse(address).filter(|_| zones.has_space(space)) else {
        return Place::Missing;
    };
    let is_there = match zones.dns.pods {
        PodRecords::Disabled => false,
        PodRecords::Verified => zones.is_pod(space, ip),
        PodRecords::Insecure => true,
    };
    if is_there { Place::Pod(ip) } else { Place::Missing }
}

/// A name that stands for an address. One that no Service has is not ours to deny.
fn find_address<'a>(zones: &'a Zones, name: &DomainName) -> Place<'a> {
    let ip = if let Some(labels) = name.below(&reverse::V4) {
        v4(labels).map(IpAddr::V4)
    } else if let Some(labels) = name.below(&reverse::V6) {
        v6(labels).map(IpAddr::V6)
    } else {
        None
    };
    match ip {
        Some(ip) if zones.names_of(ip).next().is_some() => Place::Reverse(ip),
        Some(_) | None => Place::Elsewhere,
    }
}

/// Four numbers, the last one first.
fn v4<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Option<Ipv4Addr> {
    let (mut octets, mut count) = ([0; 4], 0);
    for label in labels {
        let digits = std::str::from_utf8(label).ok()?;
        let is_plain = label.iter().all(u8::is_ascii_digit) && (label[0] != b'0' || label == b"0");
        *octets.get_mut(count)? = digits.parse().ok().filter(|_| is_plain)?;
        count += 1;
    }
    octets.reverse();
    (count == 4).then(|| octets.into())
}

/// 32 digits, the last one first (RFC 3596 §2.5).
fn v6<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Option<Ipv6Addr> {
    let (mut bits, mut count) = (0_u128, 0);
    for label in labels {
        let [digit] = label else { return None };
        let digit = char::from(*digit).to_digit(16)?;
        bits = (bits >> 4) | (u128::from(digit) << 124);
        count += 1;
    }
    (count == 32).then(|| bits.into())
}

impl Place<'_> {
    /// The zone that the name is in, if it is in one of ours.
    pub(super) fn zone<'z>(&self, zones: &'z Zones) -> Option<&'z DomainName> {
        match self {
            Place::Elsewhere => None,
            Place::Reverse(ip) => Some(match Family::of(*ip) {
                Family::V4 => &reverse::V4,
                Family::V6 => &reverse::V6,
            }),
            Place::Missing
            | Place::Between
            | Place::Apex
            | Place::Version
            | Place::Server(_)
            | Place::Service(_)
            | Place::Hosts(_)
            | Place::Port(..)
            | Place::Pod(_) => Some(&zones.dns.domain),
        }
    }
}
