//! Notices that somebody else changed what Seaway wrote, or what the node's network follows from.
//!
//! A report is a hint to look, never the news itself: the loop reads the place back. Changes that the
//! kernel says came from a socket that this process has open are left out. It says so for routes, rules, IPv4
//! addresses, written neighbors, nftables and those new links that are made within one namespace; for
//! a veth whose other end is made in another namespace, for other changes of links, and for IPv6
//! addresses and forwarding entries, it does not, so Seaway's own writes cost one pass that finds
//! nothing.
//!
//! A pod's host end changes with every ADD and DEL of our own, so a change of it is told by its name:
//! looking at that one link shows whether it is as it should be. Only what a look cannot show is told
//! as [`Changed::Links`]: a link that went down and came up again looks as before, but its routes are gone.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use model::{AttachmentKey, IfName};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::RuleAttribute;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use plan::PROTOCOL;

use crate::netlink::socket::{Reply, Socket, is_own_port};
use crate::netlink::{Netlink, decode};

/// Groups of linux/rtnetlink.h: links, neighbors and forwarding entries, and per family addresses,
/// routes and rules.
const ROUTE_GROUPS: [u32; 8] = [1, 3, 5, 7, 8, 9, 11, 19];

/// `NFNLGRP_NFTABLES` of linux/netfilter/nfnetlink.h.
const NFTABLES_GROUP: u32 = 7;

/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_NEWGEN`: the end of a transaction.
const NEWGEN: u16 = 10 << 8 | 15;

const HEADER: usize = 16;
const NLM_F_REPLACE: u16 = 0x100;

/// What somebody else changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// A link came, went or changed; the kernel may have taken routes and neighbors along.
    Links,
    /// The host end of a pod came, went or changed. Whatever the kernel took along, the link itself
    /// now looks different.
    PodLink(IfName),
    /// An address came or went.
    Addrs,
    /// One of Seaway's routes was removed, or any route was replaced.
    Routes,
    /// One of Seaway's rules.
    Rules,
    /// One of Seaway's neighbors, or a static forwarding entry.
    Neighbors,
    /// Seaway's nftables tables, in one transaction.
    Nftables {
        /// Id of the process that did it, in the machine's first process namespace.
        pid: u32,
        /// Its name (`comm`).
        process: String,
    },
    /// More happened than the kernel could queue: anything may have changed.
    Anything,
}

/// Sockets that hear about changes in one namespace.
pub struct Monitor {
    route: Socket,
    nftables: Socket,
    /// Whether the transaction being read touches a table of ours.
    touches_ours: bool,
    /// Host ends of pods, by index.
    pod_links: BTreeMap<u32, Seen>,
    queue: VecDeque<Changed>,
}

/// What was last seen of the host end of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It was made and not raised yet.
    New,
    Up,
    Down,
}

impl Monitor {
    /// Starts to listen in the calling thread's namespace.
    ///
    /// # Errors
    /// When the kernel has no nftables, or no descriptor is left.
    pub fn open() -> io::Result<Self> {
        let route = Socket::open(libc::NETLINK_ROUTE)?;
        ROUTE_GROUPS.iter().try_for_each(|group| route.join(*group))?;
        let nftables = Socket::open(libc::NETLINK_NETFILTER)?;
        nftables.join(NFTABLES_GROUP)?;
        let links = Netlink::open().and_then(|mut netlink| netlink.links());
        let links = links.map_err(io::Error::other)?.into_iter();
        let pods = links.filter(|link| AttachmentKey::names_host_link(&link.name));
        let seen = |is_up| if is_up { Seen::Up } else { Seen::Down };
        let pod_links = pods.map(|link| (link.index, seen(link.up))).collect();
        Ok(Monitor { route, nftables, touches_ours: false, pod_links, queue: VecDeque::new() })
    }

    /// Waits for the next change; `None` when there was none `within` that time. Without a limit it
    /// waits for as long as it takes.
    ///
    /// # Errors
    /// When a socket fails; a lost change is no error but [`Changed::Anything`].
    pub fn next(&mut self, within: Option<Duration>) -> io::Result<Option<Changed>> {
        loop {
            if let Some(changed) = self.queue.pop_front() {
                return Ok(Some(changed));
            }
            let limit = within.map_or(PollTimeout::NONE, |time| {
                PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
            });
            let [route, nftables] = self.descriptors();
            let mut ready =
                [PollFd::new(route, PollFlags::POLLIN), PollFd::new(nftables, PollFlags::POLLIN)];
            match poll(&mut ready, limit) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let [route, nftables] = ready.map(|fd| fd.any().unwrap_or(false));
            if route {
                self.read_route()?;
            }
            if nftables {
                self.read_nftables()?;
            }
        }
    }

    /// The descriptors that become readable when something changed, for a poll of one's own.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.route.as_fd(), self.nftables.as_fd()]
    }

    fn read_route(&mut self) -> io::Result<()> {
        let (queue, pod_links) = (&mut self.queue, &mut self.pod_links);
        let read = self.route.receive(|_, flags, reply| {
            let Reply::Message(bytes) = reply else { return };
            let Ok(message) = decode(bytes) else { return };
            let is_own = is_own_port(libc::NETLINK_ROUTE, port(bytes));
            let changed = match pod_link(&message) {
                Some((link, name)) => pod_link_change(pod_links, link, name),
                None => route_change(message, flags),
            };
            queue.extend(changed.filter(|_| !is_own));
        });
        self.note_loss(read)
    }

    fn read_nftables(&mut self) -> io::Result<()> {
        let (queue, touches_ours) = (&mut self.queue, &mut self.touches_ours);
        let read = self.nftables.receive(|_, _, reply| {
            let Reply::Message(message) = reply else { return };
            if kind(message) != NEWGEN {
                // The first attribute of every object is the name of its table.
                *touches_ours |= attribute(message, 1) == Some(b"seaway\0");
                return;
            }
            if std::mem::take(touches_ours) && !is_own_port(libc::NETLINK_NETFILTER, port(message))
            {
                queue.push_back(transaction(message));
            }
        });
        self.note_loss(read)
    }

    /// A queue that overflowed lost changes nobody can name.
    fn note_loss(&mut self, read: io::Result<()>) -> io::Result<()> {
        match read {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.queue.push_back(Changed::Anything);
                Ok(())
            }
            other => other,
        }
    }
}

/// The pod's host end that a notification is about: whether it is up, `None` when it is gone, and
/// its name.
#[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows far more than we read")]
fn pod_link(message: &RouteNetlinkMessage) -> Option<((u32, Option<bool>), IfName)> {
    let (link, is_there) = match message {
        RouteNetlinkMessage::NewLink(link) => (link, true),
        RouteNetlinkMessage::DelLink(link) => (link, false),
        _ => return None,
    };
    let name = name(link).filter(AttachmentKey::names_host_link)?;
    let is_up = is_there.then(|| link.header.flags.contains(LinkFlags::Up));
    Some(((link.header.index, is_up), name))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows far more than we read")]
fn name(link: &LinkMessage) -> Option<IfName> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => IfName::new(name.clone()).ok(),
        _ => None,
    })
}

/// What a notification about a pod's host end says, after what was seen of it before.
fn pod_link_change(
    seen: &mut BTreeMap<u32, Seen>,
    (index, is_up): (u32, Option<bool>),
    name: IfName,
) -> Option<Changed> {
    let before = seen.get(&index).copied();
    let now = match (before, is_up) {
        (_, None) => {
            seen.remove(&index);
            return Some(Changed::PodLink(name));
        }
        (_, Some(true)) => Seen::Up,
        (Some(Seen::New) | None, Some(false)) => Seen::New,
        (Some(Seen::Up | Seen::Down), Some(false)) => Seen::Down,
    };
    seen.insert(index, now);
    let came_back = (before, now) == (Some(Seen::Down), Seen::Up);
    Some(if came_back { Changed::Links } else { Changed::PodLink(name) })
}

/// What a notification of rtnetlink says; `None` when it concerns nobody here.
#[expect(clippy::wildcard_enum_match_arm, reason = "the codec knows far more than we read")]
fn route_change(message: RouteNetlinkMessage, flags: u16) -> Option<Changed> {
    use RouteNetlinkMessage as Message;
    let mark = RouteProtocol::from(PROTOCOL);
    match message {
        Message::NewLink(_) | Message::DelLink(_) => Some(Changed::Links),
        Message::NewAddress(_) | Message::DelAddress(_) => Some(Changed::Addrs),
        // A route that takes the place of another is all that is heard of the other's end.
        Message::NewRoute(_) if flags & NLM_F_REPLACE != 0 => Some(Changed::Routes),
        Message::NewRoute(route) | Message::DelRoute(route) => {
            let header = &route.header;
            // Others' routes to networks are looked at: where one is, Seaway has none (`host::observe`).
            let host = if header.address_family == netlink_packet_route::AddressFamily::Inet {
                32
            } else {
                128
            };
            let is_network = (1..host).contains(&header.destination_prefix_length);
            let is_others = header.protocol != RouteProtocol::Kernel && is_network;
            (header.protocol == mark || is_others).then_some(Changed::Routes)
        }
        Message::NewRule(rule) | Message::DelRule(rule) => {
            rule.attributes.contains(&RuleAttribute::Protocol(mark)).then_some(Changed::Rules)
        }
        Message::NewNeighbour(neighbor) | Message::DelNeighbour(neighbor) => {
            is_written(&neighbor).then_some(Changed::Neighbors)
        }
        _ => None,
    }
}

/// Whether a neighbor or forwarding entry was written and not learned. Learned ones come and go
/// all the time.
fn is_written(neighbor: &NeighbourMessage) -> bool {
    let mark = NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL));
    let is_entry = neighbor.header.family == netlink_packet_route::AddressFamily::Bridge;
    let state = neighbor.header.state;
    let is_static = matches!(state, NeighbourState::Noarp | NeighbourState::Permanent);
    neighbor.attributes.contains(&mark) || (is_entry && is_static)
}

/// Who ended a transaction.
fn transaction(message: &[u8]) -> Changed {
    let pid = attribute(message, 2).and_then(|bytes| bytes.try_into().ok());
    let name = attribute(message, 3).unwrap_or_default();
    let process = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
    Changed::Nftables { pid: pid.map_or(0, u32::from_be_bytes), process }
}

fn kind(message: &[u8]) -> u16 {
    u16::from_ne_bytes([message[4], message[5]])
}

/// The port of the socket that asked for the change; 0 when the kernel does not say.
fn port(message: &[u8]) -> u32 {
    u32::from_ne_bytes([message[12], message[13], message[14], message[15]])
}

/// The value of attribute `wanted` of an nftables message: after its header come four bytes of
/// family, version and resource id.
fn attribute(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = message.get(HEADER + 4..)?;
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & 0x3fff;
        let value = rest.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_messages_are_no_news() {
        for length in HEADER..64 {
            let mut message = vec![0xff; length];
            message[..2].copy_from_slice(&[0, 0]);
            assert!(decode(&message).is_err());
            assert_eq!(attribute(&message, 1), None);
            transaction(&message);
        }
    }
}
