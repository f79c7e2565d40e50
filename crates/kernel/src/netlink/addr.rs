//! Addresses of links.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
    AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Error, Netlink, Request};

/// An address as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddrRow {
    /// Index of its link.
    pub index: u32,
    /// The address with the prefix length of its subnet.
    pub net: IpNet,
    /// Whether its scope is global: not link-local and not of this host alone.
    pub global: bool,
    /// Whether it is usable: not tentative and not found to be a duplicate.
    pub usable: bool,
    /// Owner's mark (`IFA_PROTO`); 0 without one.
    pub protocol: u8,
}

impl Request {
    /// Gives a link an address, or the same one again. IPv6 addresses are usable at once: no
    /// duplicate address detection.
    pub fn add_addr(index: u32, net: IpNet) -> Self {
        let mut message = message(index, net);
        if net.addr().is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let message = RouteNetlinkMessage::NewAddress(message);
        let attempt = format!("add addr {net} dev if{index}");
        Request::new(attempt, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Gives a link an address with the mark of its owner (`IFA_PROTO`, Linux 5.18), over the same
    /// one without.
    pub fn put_addr(index: u32, net: IpNet, protocol: u8) -> Self {
        let mut request = Request::add_addr(index, net);
        if let RouteNetlinkMessage::NewAddress(message) = &mut request.message {
            let mark = AddressProtocol::from(protocol);
            message.attributes.push(AddressAttribute::Protocol(mark));
        }
        request
    }

    /// Takes an address from a link.
    pub fn delete_addr(index: u32, net: IpNet) -> Self {
        let message = RouteNetlinkMessage::DelAddress(message(index, net));
        Request::new(format!("delete addr {net} dev if{index}"), message, 0)
    }
}

impl Netlink {
    /// Every address, or those of the link with index `of`.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn addrs(&mut self, of: Option<u32>) -> Result<Vec<AddrRow>, Error> {
        let mut message = AddressMessage::default();
        message.header.index = of.unwrap_or(0);
        let message = RouteNetlinkMessage::GetAddress(message);
        let rows = self.dump("list addresses", &message, AddrRow::from_message)?;
        Ok(rows.into_iter().filter(|row| of.is_none_or(|index| row.index == index)).collect())
    }
}

impl AddrRow {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows more than we read")]
    fn from_message(message: RouteNetlinkMessage) -> Option<Self> {
        let RouteNetlinkMessage::NewAddress(message) = message else { return None };
        let (mut local, mut address, mut protocol) = (None, None, 0);
        let mut bad = message
            .header
            .flags
            .intersects(AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed);
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Local(addr) => local = Some(addr),
                AddressAttribute::Address(addr) => address = Some(addr),
                AddressAttribute::Protocol(mark) => protocol = mark.into(),
                AddressAttribute::Flags(flags) => {
                    bad = flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
                }
                _ => {}
            }
        }
        let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
        let global = message.header.scope == AddressScope::Universe;
        Some(AddrRow { index: message.header.index, net, global, usable: !bad, protocol })
    }
}

/// The family of `addr`, as the codec says it.
pub(super) fn family(addr: IpAddr) -> AddressFamily {
    if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn message(index: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(net.addr());
    message.header.prefix_len = net.prefix_len();
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message.attributes.push(AddressAttribute::Address(net.addr()));
    if let IpNet::V4(net) = net
        && net.prefix_len() < 31
    {
        message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
    }
    message
}
