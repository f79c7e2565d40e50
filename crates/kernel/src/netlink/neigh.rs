//! Neighbors (ARP, NDP) and forwarding entries of bridges and VXLAN devices.

use std::net::IpAddr;

use model::Mac;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::addr::family;
use super::{Error, Netlink, Request};

/// A neighbor as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborRow {
    /// Index of its link.
    pub index: u32,
    /// Its address.
    pub addr: IpAddr,
    /// Its hardware address, once known.
    pub mac: Option<Mac>,
    /// Whether it was written and not learned.
    pub permanent: bool,
    /// Owner's mark (`NDA_PROTOCOL`); 0 without one.
    pub protocol: u8,
}

/// A forwarding entry as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdbRow {
    /// Index of the VXLAN device or of the bridge port.
    pub index: u32,
    /// Destination hardware address.
    pub mac: Mac,
    /// The VTEP it leads to.
    pub dst: Option<IpAddr>,
    /// Index of the bridge that holds the entry; `None` for the device's own (`self`).
    pub master: Option<u32>,
    /// Whether it was written and is neither learned nor the port's own address.
    pub is_static: bool,
}

impl Request {
    /// Writes a permanent neighbor with the mark of its owner, over whatever is known of it.
    pub fn put_neighbor(index: u32, addr: IpAddr, mac: Mac, protocol: u8) -> Self {
        let mut message = neighbor(index, addr);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        let mark = NeighbourAttribute::Protocol(RouteProtocol::from(protocol));
        message.attributes.push(mark);
        let attempt = format!("put neighbor {addr} dev if{index} lladdr {mac}");
        let message = RouteNetlinkMessage::NewNeighbour(message);
        Request::new(attempt, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Has this host answer for `addr` on a link, with the mark of its owner.
    pub fn put_proxy(index: u32, addr: IpAddr, protocol: u8) -> Self {
        let mut message = neighbor(index, addr);
        message.header.flags = NeighbourFlags::Proxy;
        let mark = NeighbourAttribute::Protocol(RouteProtocol::from(protocol));
        message.attributes.push(mark);
        let attempt = format!("put proxy {addr} dev if{index}");
        let message = RouteNetlinkMessage::NewNeighbour(message);
        Request::new(attempt, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes a neighbor.
    pub fn delete_neighbor(index: u32, addr: IpAddr) -> Self {
        let message = RouteNetlinkMessage::DelNeighbour(neighbor(index, addr));
        Request::new(format!("delete neighbor {addr} dev if{index}"), message, 0)
    }

    /// Has this host not answer for `addr` any more.
    pub fn delete_proxy(index: u32, addr: IpAddr) -> Self {
        let mut message = neighbor(index, addr);
        message.header.flags = NeighbourFlags::Proxy;
        let message = RouteNetlinkMessage::DelNeighbour(message);
        Request::new(format!("delete proxy {addr} dev if{index}"), message, 0)
    }

    /// Writes a forwarding entry of a VXLAN device: frames to `mac` go to the VTEP at `dst`.
    pub fn put_vtep(index: u32, mac: Mac, dst: IpAddr) -> Self {
        let mut message = forwarding(index, mac, NeighbourFlags::Own);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::Destination(dst.into()));
        let attempt = format!("put fdb {mac} dev if{index} dst {dst} self");
        let message = RouteNetlinkMessage::NewNeighbour(message);
        Request::new(attempt, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Writes a static entry of the bridge that `index` is a port of: frames to `mac` leave there.
    pub fn put_port_entry(index: u32, mac: Mac) -> Self {
        let mut message = forwarding(index, mac, NeighbourFlags::Controller);
        message.header.state = NeighbourState::Noarp;
        let attempt = format!("put fdb {mac} dev if{index} master static");
        let message = RouteNetlinkMessage::NewNeighbour(message);
        Request::new(attempt, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes a VXLAN device's entry.
    pub fn delete_vtep(index: u32, mac: Mac) -> Self {
        let message = forwarding(index, mac, NeighbourFlags::Own);
        let attempt = format!("delete fdb {mac} dev if{index} self");
        Request::new(attempt, RouteNetlinkMessage::DelNeighbour(message), 0)
    }

    /// Removes a bridge's entry for a port.
    pub fn delete_port_entry(index: u32, mac: Mac) -> Self {
        let message = forwarding(index, mac, NeighbourFlags::Controller);
        let attempt = format!("delete fdb {mac} dev if{index} master");
        Request::new(attempt, RouteNetlinkMessage::DelNeighbour(message), 0)
    }
}

impl Netlink {
    /// Neighbors of both families, or those on the link with index `of`.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn neighbors(&mut self, of: Option<u32>) -> Result<Vec<NeighborRow>, Error> {
        let mut rows = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            message.attributes.extend(of.map(NeighbourAttribute::IfIndex));
            let request = RouteNetlinkMessage::GetNeighbour(message);
            rows.extend(self.dump("list neighbors", &request, NeighborRow::from_message)?);
        }
        rows.retain(|row| of.is_none_or(|index| row.index == index));
        Ok(rows)
    }

    /// Addresses of both families for which this host answers on one of its links.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn proxies(&mut self) -> Result<Vec<NeighborRow>, Error> {
        let mut rows = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            message.header.flags = NeighbourFlags::Proxy;
            let request = RouteNetlinkMessage::GetNeighbour(message);
            rows.extend(self.dump(
                "list proxied neighbors",
                &request,
                NeighborRow::from_message,
            )?);
        }
        Ok(rows)
    }

    /// One neighbor; `None` when nothing is known of it. The kernel keeps the neighbors of all
    /// namespaces in one table, so this is much cheaper than a list where there are many pods.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn neighbor(&mut self, index: u32, addr: IpAddr) -> Result<Option<NeighborRow>, Error> {
        let request = RouteNetlinkMessage::GetNeighbour(neighbor(index, addr));
        let attempt = format!("get neighbor {addr} dev if{index}");
        self.get(&attempt, &request, NeighborRow::from_message)
    }

    /// Forwarding entries of every bridge and VXLAN device, except the ones for a port's own address.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn fdb(&mut self) -> Result<Vec<FdbRow>, Error> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        let request = RouteNetlinkMessage::GetNeighbour(message);
        self.dump("list forwarding entries", &request, FdbRow::from_message)
    }
}

impl NeighborRow {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows more than we read")]
    fn from_message(message: RouteNetlinkMessage) -> Option<Self> {
        let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
        let (mut addr, mut mac, mut protocol) = (None, None, 0);
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::Destination(dst) => addr = ip(&dst),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok().map(Mac),
                NeighbourAttribute::Protocol(mark) => protocol = mark.into(),
                _ => {}
            }
        }
        let permanent = message.header.state == NeighbourState::Permanent;
        Some(NeighborRow { index: message.header.ifindex, addr: addr?, mac, permanent, protocol })
    }
}

impl FdbRow {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows more than we read")]
    fn from_message(message: RouteNetlinkMessage) -> Option<Self> {
        let RouteNetlinkMessage::NewNeighbour(message) = message else { return None };
        let (mut mac, mut dst, mut master) = (None, None, None);
        for attribute in message.attributes {
            match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok().map(Mac),
                NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                    dst = ip_bytes(&bytes);
                }
                NeighbourAttribute::Controller(index) => master = Some(index),
                _ => {}
            }
        }
        let (state, own) = (message.header.state, message.header.flags);
        let is_static = match master {
            Some(_) => state == NeighbourState::Noarp,
            // Without a destination it is a multicast address the device listens to.
            None => {
                let own = own.contains(NeighbourFlags::Own);
                own && dst.is_some() && state == NeighbourState::Permanent
            }
        };
        Some(FdbRow { index: message.header.ifindex, mac: mac?, dst, master, is_static })
    }
}

fn neighbor(index: u32, addr: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(addr);
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::Destination(addr.into()));
    message
}

fn forwarding(index: u32, mac: Mac, flags: NeighbourFlags) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.flags = flags;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message
}

fn ip(addr: &NeighbourAddress) -> Option<IpAddr> {
    match addr {
        NeighbourAddress::Inet(addr) => Some(IpAddr::V4(*addr)),
        NeighbourAddress::Inet6(addr) => Some(IpAddr::V6(*addr)),
        NeighbourAddress::Other(_) | _ => None,
    }
}

/// An address as raw bytes: the codec does not parse it for the bridge family.
fn ip_bytes(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
