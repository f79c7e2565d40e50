//! SCTP as far as a question and an answer go: INIT, and INIT ACK with the answer in its cookie. The
//! packets are written here because many kernels translate SCTP and have no sockets for it.
//!
//! Source: RFC 9260 §3.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use model::{Family, Protocol};
use socket2::{Domain, Socket, Type};

use super::ask;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// The parameter of an INIT ACK that is the sender's alone to understand.
const STATE_COOKIE: u16 = 7;
/// By which a client knows its answers.
const TAG: [u8; 4] = *b"tag!";

/// A raw socket for SCTP packets. Its calls are those of a datagram socket.
pub(super) fn socket(family: Family) -> io::Result<UdpSocket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    let number = i32::from(Protocol::Sctp.number());
    Ok(Socket::new(domain, Type::RAW, Some(number.into()))?.into())
}

/// Asks who is at `to`; gives what the answer's cookie says.
pub(super) fn ask(to: SocketAddr, patience: Duration) -> io::Result<String> {
    static NEXT: AtomicU16 = AtomicU16::new(40_000);
    let own = NEXT.fetch_add(1, Ordering::Relaxed);
    let family = Family::of(to.ip());
    let socket = socket(family)?;
    // The port of a raw socket's peer would be its protocol.
    socket.connect(SocketAddr::new(to.ip(), 0))?;
    let init = packet(own, to.port(), [0; 4], INIT, &[]);
    ask::said_no_by_the_kernel(socket.send(&init))?;
    let until = Instant::now() + patience;
    let mut buffer = [0; 2048];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        let Some(heard) = Packet::read(family, &buffer[..length]) else { continue };
        // A raw socket hears what is said to others, too.
        if (heard.from, heard.to, heard.kind) == (to.port(), own, INIT_ACK) && heard.tag == TAG {
            return Ok(String::from_utf8_lossy(heard.cookie()).into_owned());
        }
    }
}

/// Answers what comes to `port` at `socket` next, as `host`; returns without when nothing comes.
pub(super) fn answer(socket: &UdpSocket, family: Family, port: u16, host: &str) -> io::Result<()> {
    let mut buffer = [0; 2048];
    let (length, client) = socket.recv_from(&mut buffer)?;
    let Some(asked) = Packet::read(family, &buffer[..length]) else { return Ok(()) };
    if asked.to != port || asked.kind != INIT || asked.tag != [0; 4] {
        return Ok(());
    }
    let seen = SocketAddr::new(client.ip(), asked.from);
    let line = ask::line(Protocol::Sctp, seen, host);
    let cookie = [&STATE_COOKIE.to_be_bytes()[..], &length_of(4 + line.len()), line.as_bytes()];
    let reply = packet(port, asked.from, TAG, INIT_ACK, &cookie.concat());
    socket.send_to(&reply, SocketAddr::new(client.ip(), 0))?;
    Ok(())
}

/// A packet with one chunk that begins as INIT and INIT ACK do: tag, window, streams, number.
fn packet(from: u16, to: u16, tag: [u8; 4], kind: u8, parameters: &[u8]) -> Vec<u8> {
    let mut packet = [from.to_be_bytes(), to.to_be_bytes()].concat();
    packet.extend(tag);
    packet.extend([0; 4]);
    packet.extend([kind, 0]);
    packet.extend(length_of(20 + parameters.len()));
    packet.extend(TAG);
    packet.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    packet.extend(parameters);
    packet.resize(packet.len().next_multiple_of(4), 0);
    let sum = checksum(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

fn length_of(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("a line is short").to_be_bytes()
}

/// What was heard.
struct Packet<'a> {
    from: u16,
    to: u16,
    tag: [u8; 4],
    kind: u8,
    parameters: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads what a raw socket gives, behind the header that it leaves on IPv4. A packet whose
    /// checksum is wrong is none: whoever translates has to mend it.
    fn read(family: Family, bytes: &'a [u8]) -> Option<Self> {
        let header = match family {
            Family::V4 => usize::from(bytes.first()? & 0x0f) * 4,
            Family::V6 => 0,
        };
        let bytes = bytes.get(header..).filter(|bytes| bytes.len() >= 32)?;
        let mut zeroed = bytes.to_vec();
        zeroed[8..12].fill(0);
        if checksum(&zeroed).to_le_bytes() != bytes[8..12] {
            return None;
        }
        let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let tag = [bytes[4], bytes[5], bytes[6], bytes[7]];
        Some(Packet { from: port(0), to: port(2), tag, kind: bytes[12], parameters: &bytes[32..] })
    }

    fn cookie(&self) -> &[u8] {
        let length = self.parameters.get(2..4).map_or(0, |l| u16::from_be_bytes([l[0], l[1]]));
        self.parameters.get(4..usize::from(length)).unwrap_or_default()
    }
}

/// CRC32c (RFC 9260, appendix A).
fn checksum(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 * (sum & 1)))
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// Every address of `family`.
pub(super) fn any(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}
