//! Packets that rules show to a group of NFLOG: [`Group`].
//!
//! One socket at a time has a group, and none needs to: rules go on all the same. Of a packet the first bytes
//! come along, with the prefix that its rule gives it; what connection tracking knows of it is asked of no
//! kernel, since many are built without that (`CONFIG_NETFILTER_NETLINK_GLUE_CT`).
//!
//! Source: linux/netfilter/nfnetlink_log.h, net/netfilter/nfnetlink_log.c.

mod header;

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::netlink::socket::{Reply, Socket};
use crate::nft::wire::{Attrs, Head, PREFIX, Writer};

pub use header::Header;

/// `NFNL_SUBSYS_ULOG` and `NFULNL_MSG_PACKET`.
const PACKET: u16 = 4 << 8;
/// `NFNL_SUBSYS_ULOG` and `NFULNL_MSG_CONFIG`.
const CONFIG: u16 = 4 << 8 | 1;
/// `NLM_F_ACK`.
const ACK: u16 = 4;
/// `NFULA_CFG_CMD`.
const CFG_CMD: u16 = 1;
/// `NFULNL_CFG_CMD_BIND`.
const BIND: u8 = 1;
/// `NFULA_CFG_MODE`: how much is copied, and `NFULNL_COPY_PACKET`.
const CFG_MODE: u16 = 2;
const COPY_PACKET: u8 = 2;
/// `NFULA_CFG_QTHRESH`.
const CFG_QTHRESH: u16 = 5;
/// `NFULA_PAYLOAD`.
const NFULA_PAYLOAD: u16 = 9;
/// `NFULA_PREFIX`.
const NFULA_PREFIX: u16 = 10;

/// Bytes of a packet that are shown: room for every header before the ports.
const SHOWN: u32 = 256;

/// What comes in one group, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Group {
    socket: Socket,
}

/// A packet that a rule has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// What the rule says of it.
    pub prefix: String,
    /// Whose it is.
    pub header: Header,
}

/// There is no listening to a group.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// Somebody else listens to it.
    #[error("another process listens to group {0} of NFLOG")]
    Taken(u16),
    /// The kernel refused it.
    #[error(
        "listen to group {group} of NFLOG (does the kernel have CONFIG_NETFILTER_NETLINK_LOG?)"
    )]
    Refused {
        /// The group.
        group: u16,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl Group {
    /// Listens to `number`, until it is dropped.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn open(number: u16) -> Result<Self, GroupError> {
        let bound = Socket::open(libc::NETLINK_NETFILTER).and_then(|mut socket| {
            bind(&mut socket, number)?;
            Ok(Group { socket })
        });
        bound.map_err(|cause| match cause.raw_os_error().map(Errno::from_raw) {
            // What the kernel answers about a group of another socket's, by its version and who asks.
            Some(Errno::EBUSY | Errno::EPERM) => GroupError::Taken(number),
            Some(_) | None => GroupError::Refused { group: number, cause },
        })
    }

    /// Waits for packets; none when there was none `within` that time. What is no packet of IP, or cut short,
    /// is left out.
    ///
    /// # Errors
    /// When the socket fails. Packets that the kernel could not queue are lost without one.
    pub fn next(&mut self, within: Duration) -> io::Result<Vec<Logged>> {
        let limit = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
        let mut logged = Vec::new();
        match poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], limit) {
            Ok(0) | Err(Errno::EINTR) => return Ok(logged),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let read = self.socket.receive(|_, _, reply| {
            if let Reply::Message(message) = reply {
                logged.extend(Logged::read(message));
            }
        });
        match read {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(logged),
            read => read.map(|()| logged),
        }
    }
}

/// Asks for the group's packets, each as soon as it comes.
fn bind(socket: &mut Socket, group: u16) -> io::Result<()> {
    let mut request = Writer::default();
    request.message(Head { kind: CONFIG, flags: ACK, seq: 1, family: 0, res_id: group }, |body| {
        body.attr(CFG_CMD, &[BIND]);
        let [a, b, c, d] = SHOWN.to_be_bytes();
        body.attr(CFG_MODE, &[a, b, c, d, COPY_PACKET, 0]);
        body.be32(CFG_QTHRESH, 1);
    });
    socket.send(&request.bytes)?;
    let mut answer = None;
    while answer.is_none() {
        socket.receive(|_, _, reply| {
            if let Reply::Error { errno, .. } = reply {
                answer = Some(errno);
            }
        })?;
    }
    match answer {
        Some(errno) if errno != 0 => Err(io::Error::from_raw_os_error(errno)),
        Some(_) | None => Ok(()),
    }
}

impl Logged {
    /// Reads a message of the kernel's, header included.
    fn read(message: &[u8]) -> Option<Self> {
        let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
        (kind == PACKET).then_some(())?;
        let attrs = Attrs(message.get(PREFIX..)?);
        let prefix = attrs.text(NFULA_PREFIX).unwrap_or_default().to_owned();
        Some(Logged { prefix, header: Header::read(attrs.get(NFULA_PAYLOAD)?)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, prefix: &str, payload: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message(Head { kind, flags: 0, seq: 0, family: 2, res_id: 7 }, |body| {
            body.text(NFULA_PREFIX, prefix);
            body.attr(NFULA_PAYLOAD, payload);
        });
        writer.bytes
    }

    const SYN: [u8; 24] =
        [0x45, 0, 0, 24, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 0, 80];

    #[test]
    fn npx4_a_packet_comes_with_the_words_of_its_rule() {
        let logged = Logged::read(&message(PACKET, "denied", &SYN)).unwrap();
        assert_eq!(logged.prefix, "denied");
        assert_eq!((logged.header.sport, logged.header.dport), (40_000, 80));
        assert_eq!(Logged::read(&message(CONFIG, "denied", &SYN)), None);
    }

    #[test]
    fn npx4_what_is_cut_short_is_no_packet() {
        let whole = message(PACKET, "denied", &SYN);
        for length in 0..whole.len() - 4 {
            assert_eq!(Logged::read(&whole[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn npx4_hostile_bytes_are_read_or_left_out(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            payload in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            drop(Logged::read(&bytes));
            drop(Logged::read(&message(PACKET, "p", &payload)));
        }
    }
}
