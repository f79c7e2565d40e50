//! Routes.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};

use super::addr::family;
use super::{Error, Netlink, Request};

/// `RT_TABLE_LOCAL`.
const LOCAL: u32 = 255;

/// A route to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// Table; 254 is the main one. Routes of 255, the local one, lead to this host itself.
    pub table: u32,
    /// Destination.
    pub dst: IpNet,
    /// Next hop; `None` when the destination is on the link itself.
    pub via: Option<IpAddr>,
    /// Index of the link; `None` where senders are told that nobody is there.
    pub dev: Option<u32>,
    /// The next hop is on the link although no address says so.
    pub onlink: bool,
    /// Source address for packets of this host.
    pub src: Option<IpAddr>,
    /// Owner's mark (`rtm_protocol`): `plan::PROTOCOL`, or 4, static, for the lab's own cables.
    pub protocol: u8,
}

/// A route as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRow {
    /// What could be written.
    pub spec: RouteSpec,
    /// Metric; the kernel's own default is 0 for IPv4 and 1024 for IPv6.
    pub metric: u32,
    /// Whether it says no more than that: one next hop, no encapsulation, of the type that
    /// [`RouteSpec`] writes.
    pub plain: bool,
}

impl RouteSpec {
    /// A route of the main table over a next hop or a link, without a mark.
    pub fn new(dst: IpNet, via: Option<IpAddr>, dev: Option<u32>) -> Self {
        let (table, protocol) = (u32::from(RouteHeader::RT_TABLE_MAIN), 4);
        RouteSpec { table, dst, via, dev, onlink: false, src: None, protocol }
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = family(self.dst.addr());
        header.destination_prefix_length = self.dst.prefix_len();
        header.protocol = RouteProtocol::from(self.protocol);
        header.kind = self.kind();
        // A link's own destination has link scope; IPv6 knows no scopes and ignores it.
        header.scope = match (self.via, self.dev) {
            _ if header.kind == RouteType::Local => RouteScope::Host,
            (None, Some(_)) => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        if self.onlink {
            header.flags = RouteFlags::Onlink;
        }
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Table(self.table));
        attributes.push(RouteAttribute::Destination(self.dst.network().into()));
        attributes.extend(self.via.map(|via| RouteAttribute::Gateway(via.into())));
        attributes.extend(self.dev.map(RouteAttribute::Oif));
        attributes.extend(self.src.map(|src| RouteAttribute::PrefSource(src.into())));
        message
    }

    fn kind(&self) -> RouteType {
        match (self.via, self.dev) {
            _ if self.table == LOCAL => RouteType::Local,
            (None, None) => RouteType::Unreachable,
            (Some(_), _) | (None, Some(_)) => RouteType::Unicast,
        }
    }

    fn words(&self) -> String {
        let mut words = self.dst.to_string();
        if let Some(via) = self.via {
            words.push_str(&format!(" via {via}"));
        }
        if let Some(dev) = self.dev {
            words.push_str(&format!(" dev if{dev}"));
        }
        if self.table != u32::from(RouteHeader::RT_TABLE_MAIN) {
            words.push_str(&format!(" table {}", self.table));
        }
        words
    }
}

impl Request {
    /// Adds a route; refused (EEXIST) where one to the same destination and metric stands.
    pub fn add_route(route: &RouteSpec) -> Self {
        let message = RouteNetlinkMessage::NewRoute(route.message());
        let attempt = format!("add route {}", route.words());
        Request::new(attempt, message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route, or puts it in the place of the one that stands there.
    pub fn replace_route(route: &RouteSpec) -> Self {
        let message = RouteNetlinkMessage::NewRoute(route.message());
        let attempt = format!("replace route {}", route.words());
        Request::new(attempt, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes the route of this owner to `dst` in `table`, whatever its next hop.
    pub fn delete_route(table: u32, dst: IpNet, protocol: u8) -> Self {
        let spec = RouteSpec { table, protocol, ..RouteSpec::new(dst, None, None) };
        let mut message = spec.message();
        message.header.scope = RouteScope::NoWhere; // any
        message.header.kind = RouteType::Unspec; // any
        let attempt = format!("delete route {}", spec.words());
        Request::new(attempt, RouteNetlinkMessage::DelRoute(message), 0)
    }
}

impl Netlink {
    /// Routes of both families, in every table; of one owner when `protocol` is given, by one link
    /// when `dev` is.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn routes(
        &mut self,
        protocol: Option<u8>,
        dev: Option<u32>,
    ) -> Result<Vec<RouteRow>, Error> {
        let mut rows = Vec::new();
        for family in model::Family::ALL {
            let mut message = RouteMessage::default();
            message.header.address_family = match family {
                model::Family::V4 => netlink_packet_route::AddressFamily::Inet,
                model::Family::V6 => netlink_packet_route::AddressFamily::Inet6,
            };
            message.header.protocol = protocol.map_or(RouteProtocol::Unspec, RouteProtocol::from);
            message.attributes.extend(dev.map(RouteAttribute::Oif));
            let request = RouteNetlinkMessage::GetRoute(message);
            rows.extend(self.dump("list routes", &request, RouteRow::from_message)?);
        }
        // A kernel that honors no filter gives everything: the filter is also applied here.
        rows.retain(|row| protocol.is_none_or(|wanted| row.spec.protocol == wanted));
        rows.retain(|row| dev.is_none_or(|wanted| row.spec.dev == Some(wanted)));
        Ok(rows)
    }
}

impl RouteRow {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows more than we read")]
    fn from_message(message: RouteNetlinkMessage) -> Option<Self> {
        let RouteNetlinkMessage::NewRoute(message) = message else { return None };
        let header = message.header;
        let (mut metric, mut table, mut dst) = (0, u32::from(header.table), None);
        let (mut via, mut dev, mut src) = (None, None, None);
        let mut plain = true;
        for attribute in message.attributes {
            match attribute {
                RouteAttribute::Destination(addr) => dst = ip(&addr),
                RouteAttribute::Gateway(addr) => via = ip(&addr),
                RouteAttribute::PrefSource(addr) => src = ip(&addr),
                RouteAttribute::Oif(index) => dev = Some(index),
                RouteAttribute::Table(id) => table = id,
                RouteAttribute::Priority(value) => metric = value,
                RouteAttribute::MultiPath(_)
                | RouteAttribute::Encap(_)
                | RouteAttribute::Via(_)
                | RouteAttribute::NhId(_) => plain = false,
                _ => {}
            }
        }
        let any: IpAddr = match header.address_family {
            netlink_packet_route::AddressFamily::Inet => std::net::Ipv4Addr::UNSPECIFIED.into(),
            netlink_packet_route::AddressFamily::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
            _ => return None,
        };
        if header.kind == RouteType::Unreachable {
            dev = None; // IPv6 lists these with the loopback link
        }
        let dst = IpNet::new(dst.unwrap_or(any), header.destination_prefix_length).ok()?;
        let onlink = header.flags.contains(RouteFlags::Onlink);
        let protocol = header.protocol.into();
        let spec = RouteSpec { table, dst, via, dev, onlink, src, protocol };
        plain &= header.kind == spec.kind();
        Some(RouteRow { spec, metric, plain })
    }
}

fn ip(addr: &RouteAddress) -> Option<IpAddr> {
    match addr {
        RouteAddress::Inet(addr) => Some(IpAddr::V4(*addr)),
        RouteAddress::Inet6(addr) => Some(IpAddr::V6(*addr)),
        RouteAddress::Mpls(_) | RouteAddress::Other(_) | _ => None,
    }
}
