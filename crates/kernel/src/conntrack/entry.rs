//! Entries and filters as ctnetlink writes them.

use std::net::{IpAddr, SocketAddr};

use model::{Family, Protocol};
use plan::{Flow, FlowFilter, FlowKey};

use super::abi::*;
use crate::nft::wire::{Attrs, PREFIX, Writer};

/// Which end of a tuple.
#[derive(Debug, Clone, Copy)]
enum End {
    Source = 0,
    Destination = 1,
}

/// One entry, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) flow: Flow,
    /// Tells it from one with the same addresses and ports that comes after it.
    id: u32,
}

/// One direction of an entry.
#[derive(Debug, Clone, Copy)]
struct Tuple {
    protocol: Protocol,
    source: SocketAddr,
    destination: SocketAddr,
}

impl Entry {
    /// Reads a message of the kernel's, header included. `None` for what has no ports, is in a zone
    /// or is cut short.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let attrs = Attrs(message.get(PREFIX..)?);
        if attrs.get(CTA_ZONE).is_some() {
            return None;
        }
        let there = Tuple::read(attrs.nested(CTA_TUPLE_ORIG)?)?;
        let back = Tuple::read(attrs.nested(CTA_TUPLE_REPLY)?)?;
        let to = FlowKey { protocol: there.protocol, at: there.destination };
        let is_answered = attrs.be32(CTA_STATUS).unwrap_or_default() & SEEN_REPLY != 0;
        let flow = Flow { from: there.source, to, backend: back.source, is_answered };
        Some(Entry { flow, id: attrs.be32(CTA_ID)? })
    }

    /// `NFPROTO_` of the entry.
    pub(super) fn family(&self) -> u8 {
        nfproto(Family::of(self.flow.to.at.ip()))
    }

    /// Writes what names the entry. Without a tuple the kernel would remove everything.
    pub(super) fn write(&self, body: &mut Writer) {
        let Flow { from, to, .. } = self.flow;
        body.nest(CTA_TUPLE_ORIG, |body| {
            body.nest(CTA_TUPLE_IP, |body| {
                write_addr(body, End::Source, from.ip());
                write_addr(body, End::Destination, to.at.ip());
            });
            body.nest(CTA_TUPLE_PROTO, |body| {
                body.attr(CTA_PROTO_NUM, &[to.protocol.number()]);
                write_port(body, End::Source, from.port());
                write_port(body, End::Destination, to.at.port());
            });
        });
        body.be32(CTA_ID, self.id);
    }
}

impl Tuple {
    fn read(attrs: Attrs<'_>) -> Option<Self> {
        if attrs.get(CTA_TUPLE_ZONE).is_some() {
            return None;
        }
        let (ip, proto) = (attrs.nested(CTA_TUPLE_IP)?, attrs.nested(CTA_TUPLE_PROTO)?);
        let number = *proto.get(CTA_PROTO_NUM)?.first()?;
        let known = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        let end = |end| Some(SocketAddr::new(read_addr(ip, end)?, read_port(proto, end)?));
        Some(Tuple {
            protocol: known.into_iter().find(|protocol| protocol.number() == number)?,
            source: end(End::Source)?,
            destination: end(End::Destination)?,
        })
    }
}

/// Writes what a dump is to show: the frontend is the original destination, the backend the source of
/// replies.
///
/// Addresses of IPv6 are left out. Linux takes them the wrong way round: `ctnetlink_filter_match_tuple`
/// shows every entry but those with the address (seen in 6.18).
pub(super) fn write_filter(body: &mut Writer, filter: &FlowFilter) {
    let FlowFilter { protocol, port, backend_port, .. } = *filter;
    let [addr, backend_addr] =
        [filter.addr, filter.backend_addr].map(|addr| addr.filter(IpAddr::is_ipv4));
    let there = write_tuple(body, CTA_TUPLE_ORIG, End::Destination, protocol, (addr, port));
    let replies = (backend_addr, backend_port);
    let back = write_tuple(body, CTA_TUPLE_REPLY, End::Source, protocol, replies);
    body.nest(CTA_FILTER, |body| {
        body.attr(CTA_FILTER_ORIG_FLAGS, &there.to_ne_bytes());
        body.attr(CTA_FILTER_REPLY_FLAGS, &back.to_ne_bytes());
    });
}

/// Writes one end of a tuple as far as it is given; returns the flags of what was written.
fn write_tuple(
    body: &mut Writer,
    kind: u16,
    end: End,
    protocol: Protocol,
    (addr, port): (Option<IpAddr>, Option<u16>),
) -> u32 {
    let mut flags = FILTER_PROTO_NUM;
    body.nest(kind, |body| {
        if let Some(addr) = addr {
            flags |= FILTER_IP[end as usize];
            body.nest(CTA_TUPLE_IP, |body| write_addr(body, end, addr));
        }
        body.nest(CTA_TUPLE_PROTO, |body| {
            body.attr(CTA_PROTO_NUM, &[protocol.number()]);
            if let Some(port) = port {
                flags |= FILTER_PORT[end as usize];
                write_port(body, end, port);
            }
        });
    });
    flags
}

fn write_addr(body: &mut Writer, end: End, addr: IpAddr) {
    match addr {
        IpAddr::V4(addr) => body.attr(CTA_IP_V4[end as usize], &addr.octets()),
        IpAddr::V6(addr) => body.attr(CTA_IP_V6[end as usize], &addr.octets()),
    }
}

fn read_addr(attrs: Attrs<'_>, end: End) -> Option<IpAddr> {
    if let Some(bytes) = attrs.get(CTA_IP_V4[end as usize]) {
        return Some(<[u8; 4]>::try_from(bytes).ok()?.into());
    }
    Some(<[u8; 16]>::try_from(attrs.get(CTA_IP_V6[end as usize])?).ok()?.into())
}

fn write_port(body: &mut Writer, end: End, port: u16) {
    body.attr(CTA_PROTO_PORT[end as usize], &port.to_be_bytes());
}

fn read_port(attrs: Attrs<'_>, end: End) -> Option<u16> {
    let bytes = attrs.get(CTA_PROTO_PORT[end as usize])?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::wire::Head;

    fn entry(from: &str, to: &str, id: u32) -> Entry {
        let at = to.parse().unwrap();
        let to = FlowKey { protocol: Protocol::Udp, at };
        Entry { flow: Flow { from: from.parse().unwrap(), to, backend: at, is_answered: true }, id }
    }

    /// As the kernel would show it: what names the entry, and the way back.
    fn shown(entry: &Entry, zone: bool) -> Vec<u8> {
        let mut writer = Writer::default();
        let head = Head { kind: GET, flags: 0, seq: 1, family: entry.family(), res_id: 0 };
        writer.message(head, |body| {
            entry.write(body);
            let Flow { from, to, backend, .. } = entry.flow;
            let back = Entry {
                flow: Flow {
                    from: backend,
                    to: FlowKey { at: from, ..to },
                    backend,
                    is_answered: true,
                },
                id: 0,
            };
            let mut way = Writer::default();
            back.write(&mut way);
            // `IPS_CONFIRMED` is there as well.
            let seen = if entry.flow.is_answered { SEEN_REPLY } else { 0 };
            body.be32(CTA_STATUS, 1 << 3 | seen);
            // Its first attribute is the tuple.
            let tuple = Attrs(&way.bytes).get(CTA_TUPLE_ORIG).unwrap();
            body.attr(CTA_TUPLE_REPLY, tuple);
            if zone {
                body.attr(CTA_ZONE, &[0, 7]);
            }
        });
        writer.bytes
    }

    #[test]
    fn an_entry_is_read_as_it_is_named_and_one_in_a_zone_is_not_read() {
        for (from, to) in [("10.1.0.2:4000", "10.96.0.1:53"), ("[fd01::2]:4000", "[fd00::1]:53")] {
            let mut entry = entry(from, to, 7);
            for is_answered in [true, false] {
                entry.flow.is_answered = is_answered;
                assert_eq!(Entry::read(&shown(&entry, false)), Some(entry));
            }
            assert_eq!(Entry::read(&shown(&entry, true)), None);
        }
    }

    #[test]
    fn a_message_that_is_cut_short_is_no_entry() {
        let whole = shown(&entry("10.1.0.2:4000", "10.96.0.1:53", 7), false);
        for length in 0..whole.len() - 4 {
            assert_eq!(Entry::read(&whole[..length]), None, "{length}");
        }
    }
}
