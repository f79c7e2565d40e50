//! Links as the kernel lists them.

use std::net::IpAddr;

use model::{IfName, Mac};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoBridgePort,
    InfoData, InfoKind, InfoPortData, InfoVxlan, LinkAttribute, LinkExtentMask, LinkFlags,
    LinkInfo, LinkMessage, State,
};

use super::link::named;
use super::{Error, Ipv4Conf, Ipv6Conf, LinkId, Netlink, PortFlags, VxlanParams};

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
    /// Whether packets can cross it (its operational state, RFC 2863); an end of a veth pair can't
    /// send until some time after both ends are up.
    pub carries: bool,
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
    /// Its IPv4 settings; `None` without IPv4.
    pub ipv4: Option<Ipv4Conf>,
    /// Its IPv6 settings; `None` without IPv6.
    pub ipv6: Option<Ipv6Conf>,
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

    /// Waits until packets can cross a link that was raised, and its peer too. The kernel gives a
    /// link its queue a moment after its carrier comes, and drops what is sent before.
    ///
    /// # Errors
    /// ENETDOWN when it is not so within a second, ENODEV when the link does not exist.
    pub fn wait_for_carrier<'a>(&mut self, link: impl Into<LinkId<'a>>) -> Result<(), Error> {
        let id = link.into();
        for _ in 0..1000 {
            match self.link(id)? {
                Some(link) if link.carries => return Ok(()),
                Some(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
                None => return Err(failed(format!("get link {id}"), libc::ENODEV)),
            }
        }
        Err(failed(format!("wait for the carrier of link {id}"), libc::ENETDOWN))
    }

    /// The index of a link that must exist.
    ///
    /// # Errors
    /// ENODEV when it does not.
    pub fn link_index(&mut self, name: &str) -> Result<u32, Error> {
        match self.link(name)? {
            Some(link) => Ok(link.index),
            None => Err(failed(format!("get link {name}"), libc::ENODEV)),
        }
    }
}

fn failed(attempt: String, errno: i32) -> Error {
    Error::new(attempt, std::io::Error::from_raw_os_error(errno))
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
            carries: false,
            loopback: flags.contains(LinkFlags::Loopback),
            master: None,
            port: None,
            alias: None,
            peer: None,
            peer_elsewhere: false,
            link_local: None,
            ipv4: None,
            ipv6: None,
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
            LinkAttribute::OperState(state) => self.carries = state == State::Up,
            LinkAttribute::Mtu(mtu) => self.mtu = mtu,
            LinkAttribute::Address(bytes) => self.mac = bytes.try_into().ok().map(Mac),
            LinkAttribute::Controller(index) => self.master = Some(index),
            LinkAttribute::IfAlias(alias) => self.alias = Some(alias),
            LinkAttribute::Link(index) => self.peer = Some(index),
            LinkAttribute::LinkNetNsId(_) => self.peer_elsewhere = true,
            LinkAttribute::LinkInfo(parts) => self.take_kind(&parts),
            LinkAttribute::AfSpecUnspec(families) => self.take_families(&families),
            _ => {}
        }
        Some(())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows far more than we read")]
    fn take_families(&mut self, families: &[AfSpecUnspec]) {
        for family in families {
            match family {
                AfSpecUnspec::Inet(parts) => {
                    self.ipv4 = parts.iter().find_map(Ipv4Conf::from_part);
                }
                AfSpecUnspec::Inet6(parts) => {
                    self.ipv6 = parts.iter().find_map(Ipv6Conf::from_part);
                    self.link_local = parts.iter().find_map(|part| match part {
                        AfSpecInet6::AddrGenMode(mode) => Some(*mode != In6AddrGenMode::None),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
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
