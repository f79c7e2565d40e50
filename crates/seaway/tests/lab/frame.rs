//! Ethernet frames written byte by byte, and put on a link as they are: what an attacker inside a
//! pod's or a node's network can send.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use kernel::netns::Netns;
use model::Mac;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket};

/// Everybody on the link.
pub(crate) const BROADCAST: Mac = Mac([0xff; 6]);

/// Sender and receiver, by hardware address.
pub(crate) type Ether = (Mac, Mac);

/// Puts `frames` on `link` in the network namespace of process `pid`.
pub(crate) fn send(pid: u32, link: &str, frames: &[Vec<u8>]) {
    let put = || {
        let addrs = getifaddrs().expect("list the links");
        let mut named = addrs.filter(|addr| addr.interface_name == link);
        let to = named.find_map(|addr| addr.address?.as_link_addr().copied());
        let to = to.unwrap_or_else(|| panic!("no link {link}"));
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None);
        let socket = socket.expect("open a packet socket");
        for frame in frames {
            let sent = sendto(socket.as_raw_fd(), frame, &to, MsgFlags::empty());
            assert_eq!(sent, Ok(frame.len()));
        }
    };
    Netns::of_pid(pid).and_then(|netns| netns.run(put)).expect("enter the network namespace");
}

/// A UDP datagram from port 7777.
pub(crate) fn udp(
    ether: Ether,
    (from, to): (IpAddr, IpAddr),
    port: u16,
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("short");
    let mut datagram = 7777_u16.to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend(length.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    seal(&mut datagram, 6, (from, to), 17);
    packet(ether, (from, to), 17, &datagram)
}

/// An ICMPv6 message: type 134 and the like, and what follows its checksum.
pub(crate) fn icmpv6(ether: Ether, addrs: (IpAddr, IpAddr), kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(body);
    seal(&mut message, 2, addrs, 58);
    packet(ether, addrs, 58, &message)
}

/// ARP: operation 1 asks, 2 answers; a sender and a target.
pub(crate) fn arp(
    ether: Ether,
    operation: u8,
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
) -> Vec<u8> {
    let mut frame = header(ether, 0x0806);
    frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
    for (mac, addr) in [sender, target] {
        frame.extend(mac.0);
        frame.extend(addr.octets());
    }
    frame
}

/// VXLAN around `frame`, network 77.
pub(crate) fn vxlan(frame: &[u8]) -> Vec<u8> {
    [&[0x08, 0, 0, 0, 0, 0, 77, 0], frame].concat()
}

fn header((from, to): Ether, kind: u16) -> Vec<u8> {
    let mut frame = to.0.to_vec();
    frame.extend(from.0);
    frame.extend(kind.to_be_bytes());
    frame
}

/// Hop limit 255, as neighbor discovery wants it.
fn packet(ether: Ether, addrs: (IpAddr, IpAddr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("short");
    match addrs {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip = vec![0x45, 0];
            ip.extend((20 + length).to_be_bytes());
            ip.extend([0, 0, 0x40, 0, 255, protocol, 0, 0]);
            ip.extend(from.octets());
            ip.extend(to.octets());
            let sum = checksum(&ip);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            [header(ether, 0x0800), ip, payload.to_vec()].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut ip = vec![0x60, 0, 0, 0];
            ip.extend(length.to_be_bytes());
            ip.extend([protocol, 255]);
            ip.extend(from.octets());
            ip.extend(to.octets());
            [header(ether, 0x86dd), ip, payload.to_vec()].concat()
        }
        mixed => panic!("addresses of two families: {mixed:?}"),
    }
}

/// Writes the checksum at `place` of what goes between `addrs`.
pub(crate) fn seal(payload: &mut [u8], place: usize, addrs: (IpAddr, IpAddr), protocol: u8) {
    let octets = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    };
    let length = u16::try_from(payload.len()).expect("short").to_be_bytes();
    let pseudo = [octets(addrs.0), octets(addrs.1), vec![0, protocol], length.to_vec()].concat();
    let sum = checksum(&[&pseudo, &*payload].concat());
    payload[place..place + 2].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// All nodes of the link.
pub(crate) fn all_nodes() -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1))
}
