//! Links: veth pairs, bridges, VXLAN devices, and what can be changed about any link.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use model::{IfName, Mac};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoBridgePort,
    InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, InfoVxlan, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};

use super::{Error, Netlink, Request};
use crate::netns::Netns;

/// How a request names a link.
#[derive(Debug, Clone, Copy)]
pub enum LinkId<'a> {
    /// By name, in the namespace of the socket.
    Name(&'a str),
    /// By index.
    Index(u32),
}

impl<'a> From<&'a str> for LinkId<'a> {
    fn from(name: &'a str) -> Self {
        LinkId::Name(name)
    }
}

impl<'a> From<&'a IfName> for LinkId<'a> {
    fn from(name: &'a IfName) -> Self {
        LinkId::Name(name.as_str())
    }
}

impl From<u32> for LinkId<'_> {
    fn from(index: u32) -> Self {
        LinkId::Index(index)
    }
}

impl std::fmt::Display for LinkId<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinkId::Name(name) => f.write_str(name),
            LinkId::Index(index) => write!(f, "if{index}"),
        }
    }
}

/// One end of a veth pair to make.
#[derive(Debug, Clone, Copy, Default)]
pub struct VethEnd<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hardware address; random when `None`.
    pub mac: Option<Mac>,
    /// The namespace it is made in; the socket's own when `None`.
    pub netns: Option<&'a Netns>,
    /// Its MTU, in bytes; 1500 when `None`.
    pub mtu: Option<u32>,
}

/// Parameters of a VXLAN device that learns nothing and floods nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VxlanParams {
    /// Network identifier, 24 bits.
    pub vni: u32,
    /// UDP destination port.
    pub port: u16,
    /// Address that tunnel packets leave from.
    pub local: IpAddr,
}

/// How a bridge treats one of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortFlags {
    /// Frames may leave by the port they came in.
    pub hairpin: bool,
    /// Source addresses of incoming frames become forwarding entries.
    pub learning: bool,
    /// Frames to unknown unicast addresses are sent here too.
    pub flood: bool,
}

/// What to change about a link; `None` leaves a property as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinkChange<'a> {
    /// MTU, in bytes.
    pub mtu: Option<u32>,
    /// Hardware address.
    pub mac: Option<Mac>,
    /// `ip link … alias`: free text of up to 255 bytes.
    pub alias: Option<&'a str>,
    /// Index of the bridge it is a port of; 0 takes it out.
    pub master: Option<u32>,
    /// Namespace to move it to. Its index may change on the way.
    pub netns: Option<&'a Netns>,
    /// Whether it gives itself an IPv6 link-local address. To prevent one, say so before the link
    /// goes up, in a request of its own.
    pub link_local: Option<bool>,
    /// Whether it is up.
    pub up: Option<bool>,
}

/// A link as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRow {
    /// Index in its namespace.
    pub index: u32,
    /// Name.
    pub name: IfName,
    /// What it is.
    pub kind: LinkKindRow,
    /// MTU, in bytes.
    pub mtu: u32,
    /// Hardware address, when it is an Ethernet one.
    pub mac: Option<Mac>,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it is the loopback link.
    pub loopback: bool,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    /// How that bridge treats it.
    pub port: Option<PortFlags>,
    /// Alias.
    pub alias: Option<String>,
    /// Index of the other end of a veth pair, in the other end's namespace.
    pub peer: Option<u32>,
    /// Whether the other end is in another namespace.
    pub peer_elsewhere: bool,
    /// Whether it gives itself an IPv6 link-local address; `None` without IPv6.
    pub link_local: Option<bool>,
}

/// Kinds of links that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKindRow {
    /// An end of a veth pair.
    Veth,
    /// A bridge.
    Bridge {
        /// Whether it speaks the spanning tree protocol.
        stp: bool,
        /// Whether it snoops on multicast.
        multicast_snooping: bool,
    },
    /// A VXLAN device; `None` when it is one of another make (a group, collect-metadata, learning).
    Vxlan(Option<VxlanParams>),
    /// Another virtual kind, by its name; empty for hardware.
    Other(String),
}

impl Request {
    /// Makes a veth pair. Both ends are down.
    pub fn add_veth(near: &VethEnd<'_>, far: &VethEnd<'_>) -> Self {
        let mut peer = LinkMessage::default();
        peer.attributes = end_attributes(far);
        let mut message = LinkMessage::default();
        message.attributes = end_attributes(near);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        let mut attempt = format!("add link {} type veth peer {}", near.name, far.name);
        if let Some(netns) = far.netns {
            attempt.push_str(&format!(" in {netns}"));
        }
        let message = RouteNetlinkMessage::NewLink(message);
        let mut request = Request::new(attempt, message, NLM_F_CREATE | NLM_F_EXCL);
        request.holds = [near.netns, far.netns].into_iter().flatten().cloned().collect();
        request
    }

    /// Makes a bridge without spanning tree and without multicast snooping. It is down.
    pub fn add_bridge(name: &str, mac: Option<Mac>) -> Self {
        let info = vec![
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::ForwardDelay(0),
            InfoBridge::MulticastSnooping(false),
        ];
        let data = InfoData::Bridge(info);
        add_link(format!("add link {name} type bridge"), name, mac, InfoKind::Bridge, data)
    }

    /// Makes a VXLAN device without learning. It is down.
    pub fn add_vxlan(name: &str, mac: Option<Mac>, params: &VxlanParams) -> Self {
        let VxlanParams { vni, port, local } = params;
        let mut info =
            vec![InfoVxlan::Id(*vni), InfoVxlan::Port(*port), InfoVxlan::Learning(false)];
        match local {
            IpAddr::V4(local) => info.push(InfoVxlan::Local(*local)),
            // Zero checksums are legal over IPv6 for tunnels (RFC 6935) but off by default: stay so.
            IpAddr::V6(local) => info.push(InfoVxlan::Local6(*local)),
        }
        let attempt = format!("add link {name} type vxlan id {vni} local {local} dstport {port}");
        add_link(attempt, name, mac, InfoKind::Vxlan, InfoData::Vxlan(info))
    }

    /// Changes a link.
    pub fn set_link<'a>(link: impl Into<LinkId<'a>>, change: &LinkChange<'_>) -> Self {
        let link = link.into();
        let mut message = named(link);
        let mut words = vec![format!("set link {link}")];
        let attributes = &mut message.attributes;
        if let Some(netns) = change.netns {
            attributes.push(LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd()));
            words.push(netns.to_string());
        }
        if let Some(mac) = change.mac {
            attributes.push(LinkAttribute::Address(mac.0.to_vec()));
            words.push(format!("address {mac}"));
        }
        if let Some(mtu) = change.mtu {
            attributes.push(LinkAttribute::Mtu(mtu));
            words.push(format!("mtu {mtu}"));
        }
        if let Some(alias) = change.alias {
            attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
            words.push(format!("alias {alias:?}"));
        }
        if let Some(master) = change.master {
            attributes.push(LinkAttribute::Controller(master));
            words.push(format!("master if{master}"));
        }
        if let Some(link_local) = change.link_local {
            let mode = if link_local { In6AddrGenMode::Eui64 } else { In6AddrGenMode::None };
            let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(mode)]);
            attributes.push(LinkAttribute::AfSpecUnspec(vec![inet6]));
            words.push(format!("addrgenmode {}", if link_local { "eui64" } else { "none" }));
        }
        if let Some(up) = change.up {
            message.header.change_mask = LinkFlags::Up;
            message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
            words.push(if up { "up" } else { "down" }.to_owned());
        }
        // NewLink and not SetLink: the same, and strict about what it does not know.
        let message = RouteNetlinkMessage::NewLink(message);
        let mut request = Request::new(words.join(" "), message, 0);
        request.holds = change.netns.into_iter().cloned().collect();
        request
    }

    /// Brings a link up.
    pub fn link_up<'a>(link: impl Into<LinkId<'a>>) -> Self {
        Request::set_link(link, &LinkChange { up: Some(true), ..LinkChange::default() })
    }

    /// Renames the link of this index.
    pub fn rename_link(index: u32, name: &str) -> Self {
        let mut message = named(LinkId::Index(index));
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let attempt = format!("rename link if{index} to {name}");
        Request::new(attempt, RouteNetlinkMessage::NewLink(message), 0)
    }

    /// Says how its bridge treats a port. The link must have its master already.
    pub fn set_port<'a>(link: impl Into<LinkId<'a>>, flags: PortFlags) -> Self {
        let link = link.into();
        let mut message = named(link);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![
                InfoBridgePort::HairpinMode(flags.hairpin),
                InfoBridgePort::Learning(flags.learning),
                InfoBridgePort::UnicastFlood(flags.flood),
            ])),
        ]));
        let PortFlags { hairpin, learning, flood } = flags;
        let attempt =
            format!("set port {link} hairpin {hairpin} learning {learning} flood {flood}");
        Request::new(attempt, RouteNetlinkMessage::NewLink(message), 0)
    }

    /// Removes a link; of a veth pair both ends go.
    pub fn delete_link<'a>(link: impl Into<LinkId<'a>>) -> Self {
        let link = link.into();
        let message = RouteNetlinkMessage::DelLink(named(link));
        Request::new(format!("delete link {link}"), message, 0)
    }
}

impl Netlink {
    /// Every link of the namespace, in index order.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn links(&mut self) -> Result<Vec<LinkRow>, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let mut links =
            self.dump("list links", &RouteNetlinkMessage::GetLink(message), LinkRow::from_message)?;
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// One link; `None` when there is none of that name or index.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn link<'a>(&mut self, link: impl Into<LinkId<'a>>) -> Result<Option<LinkRow>, Error> {
        let link = link.into();
        let mut message = named(link);
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let message = RouteNetlinkMessage::GetLink(message);
        self.get(&format!("get link {link}"), &message, LinkRow::from_message)
    }

    /// The index of a link that must exist.
    ///
    /// # Errors
    /// ENODEV when it does not.
    pub fn link_index(&mut self, name: &str) -> Result<u32, Error> {
        match self.link(name)? {
            Some(link) => Ok(link.index),
            None => {
                let cause = std::io::Error::from_raw_os_error(libc::ENODEV);
                Err(Error::new(format!("get link {name}"), cause))
            }
        }
    }
}

impl LinkRow {
    fn from_message(message: RouteNetlinkMessage) -> Option<Self> {
        let RouteNetlinkMessage::NewLink(message) = message else { return None };
        let flags = message.header.flags;
        let mut row = LinkRow {
            index: message.header.index,
            name: IfName::new("?").ok()?,
            kind: LinkKindRow::Other(String::new()),
            mtu: 0,
            mac: None,
            up: flags.contains(LinkFlags::Up),
            loopback: flags.contains(LinkFlags::Loopback),
            master: None,
            port: None,
            alias: None,
            peer: None,
            peer_elsewhere: false,
            link_local: None,
        };
        for attribute in message.attributes {
            row.take(attribute)?;
        }
        (row.name.as_str() != "?").then_some(row)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows far more than we read")]
    fn take(&mut self, attribute: LinkAttribute) -> Option<()> {
        match attribute {
            LinkAttribute::IfName(name) => self.name = IfName::new(name).ok()?,
            LinkAttribute::Mtu(mtu) => self.mtu = mtu,
            LinkAttribute::Address(bytes) => self.mac = bytes.try_into().ok().map(Mac),
            LinkAttribute::Controller(index) => self.master = Some(index),
            LinkAttribute::IfAlias(alias) => self.alias = Some(alias),
            LinkAttribute::Link(index) => self.peer = Some(index),
            LinkAttribute::LinkNetNsId(_) => self.peer_elsewhere = true,
            LinkAttribute::LinkInfo(parts) => self.take_kind(&parts),
            LinkAttribute::AfSpecUnspec(families) => {
                let modes = families.iter().filter_map(|family| match family {
                    AfSpecUnspec::Inet6(parts) => Some(parts),
                    _ => None,
                });
                self.link_local = modes.flatten().find_map(|part| match part {
                    AfSpecInet6::AddrGenMode(mode) => Some(*mode != In6AddrGenMode::None),
                    _ => None,
                });
            }
            _ => {}
        }
        Some(())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows far more than we read")]
    fn take_kind(&mut self, parts: &[LinkInfo]) {
        for part in parts {
            match part {
                LinkInfo::Kind(InfoKind::Veth) => self.kind = LinkKindRow::Veth,
                LinkInfo::Kind(InfoKind::Bridge) => {
                    self.kind = LinkKindRow::Bridge { stp: false, multicast_snooping: false };
                }
                LinkInfo::Kind(InfoKind::Vxlan) => self.kind = LinkKindRow::Vxlan(None),
                LinkInfo::Kind(kind) => self.kind = LinkKindRow::Other(kind.to_string()),
                LinkInfo::Data(InfoData::Bridge(parts)) => self.kind = bridge(parts),
                LinkInfo::Data(InfoData::Vxlan(parts)) => {
                    self.kind = LinkKindRow::Vxlan(vxlan(parts));
                }
                LinkInfo::PortData(InfoPortData::BridgePort(parts)) => {
                    self.port = Some(port(parts));
                }
                _ => {}
            }
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows far more than we read")]
fn bridge(parts: &[InfoBridge]) -> LinkKindRow {
    let (mut stp, mut multicast_snooping) = (false, false);
    for part in parts {
        match part {
            InfoBridge::StpState(state) => stp = *state != BridgeStpState::Disabled,
            InfoBridge::MulticastSnooping(on) => multicast_snooping = *on,
            _ => {}
        }
    }
    LinkKindRow::Bridge { stp, multicast_snooping }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows far more than we read")]
fn vxlan(parts: &[InfoVxlan]) -> Option<VxlanParams> {
    let (mut vni, mut port, mut local) = (None, None, None);
    for part in parts {
        match part {
            InfoVxlan::Id(id) => vni = Some(*id),
            InfoVxlan::Port(number) => port = Some(*number),
            InfoVxlan::Local(addr) => local = Some(IpAddr::V4(*addr)),
            InfoVxlan::Local6(addr) => local = Some(IpAddr::V6(*addr)),
            InfoVxlan::Learning(true) | InfoVxlan::CollectMetadata(true) => return None,
            InfoVxlan::Group(_) | InfoVxlan::Group6(_) => return None,
            _ => {}
        }
    }
    Some(VxlanParams { vni: vni?, port: port?, local: local? })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows far more than we read")]
fn port(parts: &[InfoBridgePort]) -> PortFlags {
    let mut flags = PortFlags { hairpin: false, learning: false, flood: false };
    for part in parts {
        match part {
            InfoBridgePort::HairpinMode(on) => flags.hairpin = *on,
            InfoBridgePort::Learning(on) => flags.learning = *on,
            InfoBridgePort::UnicastFlood(on) => flags.flood = *on,
            _ => {}
        }
    }
    flags
}

fn named(link: LinkId<'_>) -> LinkMessage {
    let mut message = LinkMessage::default();
    match link {
        LinkId::Name(name) => message.attributes.push(LinkAttribute::IfName(name.to_owned())),
        LinkId::Index(index) => message.header.index = index,
    }
    message
}

fn end_attributes(end: &VethEnd<'_>) -> Vec<LinkAttribute> {
    let mut attributes = vec![LinkAttribute::IfName(end.name.to_owned())];
    attributes.extend(end.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    attributes.extend(end.mtu.map(LinkAttribute::Mtu));
    attributes.extend(end.netns.map(|ns| LinkAttribute::NetNsFd(ns.as_fd().as_raw_fd())));
    attributes
}

fn add_link(
    attempt: String,
    name: &str,
    mac: Option<Mac>,
    kind: InfoKind,
    data: InfoData,
) -> Request {
    let mut message = named(LinkId::Name(name));
    message.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    let info = vec![LinkInfo::Kind(kind), LinkInfo::Data(data)];
    message.attributes.push(LinkAttribute::LinkInfo(info));
    Request::new(attempt, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}
