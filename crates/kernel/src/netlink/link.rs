//! Making and changing links: veth pairs, bridges, VXLAN devices.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use model::{IfName, Mac};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoBridgePort,
    InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};

use super::{Ipv4Conf, Request};
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
    /// Its IPv4 settings.
    pub ipv4: Option<Ipv4Conf>,
    /// Most segments of one packet that are left to the hardware; at 1 packets are cut before they
    /// reach the link.
    pub gso_max_segs: Option<u32>,
    /// Whether it is up.
    pub up: Option<bool>,
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
        let attempt = format!("add link {name} type bridge");
        add_link(attempt, name, mac, InfoKind::Bridge, plain_bridge())
    }

    /// Takes spanning tree and multicast snooping from a bridge.
    pub fn set_bridge<'a>(link: impl Into<LinkId<'a>>) -> Self {
        let link = link.into();
        let mut message = named(link);
        let info = vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(plain_bridge())];
        message.attributes.push(LinkAttribute::LinkInfo(info));
        let attempt = format!("set bridge {link} stp off mcast_snooping off");
        Request::new(attempt, RouteNetlinkMessage::NewLink(message), 0)
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
        let mut families = Vec::new();
        if let Some(link_local) = change.link_local {
            let mode = if link_local { In6AddrGenMode::Eui64 } else { In6AddrGenMode::None };
            families.push(AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(mode)]));
            words.push(format!("addrgenmode {}", if link_local { "eui64" } else { "none" }));
        }
        if let Some(conf) = change.ipv4 {
            families.push(conf.to_part());
            words.push("with its IPv4 settings".to_owned());
        }
        if !families.is_empty() {
            attributes.push(LinkAttribute::AfSpecUnspec(families));
        }
        if let Some(most) = change.gso_max_segs {
            attributes.push(LinkAttribute::GsoMaxSegs(most));
            words.push(format!("gso_max_segs {most}"));
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

    /// Puts a link into a group, by which many can be removed together.
    pub fn set_group<'a>(link: impl Into<LinkId<'a>>, group: u32) -> Self {
        let link = link.into();
        let mut message = named(link);
        message.attributes.push(LinkAttribute::Group(group));
        let attempt = format!("set link {link} group {group}");
        Request::new(attempt, RouteNetlinkMessage::NewLink(message), 0)
    }

    /// Removes every link of a group. The kernel waits for running packets once and not per link.
    pub fn delete_group(group: u32) -> Self {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(group));
        Request::new(
            format!("delete links of group {group}"),
            RouteNetlinkMessage::DelLink(message),
            0,
        )
    }

    /// Removes a link; of a veth pair both ends go.
    pub fn delete_link<'a>(link: impl Into<LinkId<'a>>) -> Self {
        let link = link.into();
        let message = RouteNetlinkMessage::DelLink(named(link));
        Request::new(format!("delete link {link}"), message, 0)
    }
}

/// A message about one link.
pub(super) fn named(link: LinkId<'_>) -> LinkMessage {
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

/// No spanning tree, so ports forward at once; no snooping, so multicast goes where broadcast goes.
fn plain_bridge() -> InfoData {
    InfoData::Bridge(vec![
        InfoBridge::StpState(BridgeStpState::Disabled),
        InfoBridge::MulticastSnooping(false),
    ])
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
