//! One netlink socket: options, sending, and walking through what came back.
//!
//! Options (LIB-50 of the notes behind this project, netlink(7)): extended acknowledgements for the
//! kernel's own words, capped ones so that answers stay small, strict checking so that filters are
//! honored or refused, and large buffers so that a batch's answers fit.

#![expect(unsafe_code, reason = "netlink socket options have no safe wrapper in nix or socket2")]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    recv, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// Bytes wanted for either buffer of the socket.
const SOCKET_BUFFER: usize = 8 << 20;

/// Bytes for one datagram: the kernel fills at most 32 KiB of a list at once, and a notification
/// is never larger.
const RECEIVE_BUFFER: usize = 64 << 10;

/// Netlink answers from within the call that asks; one that stays away this long, in seconds, is lost.
const ANSWER_SECONDS: i64 = 10;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Protocol and port of every socket of this process, so that a monitor can tell its changes from
/// those of others, each with how many have it: namespaces number their ports independently.
static OWN_PORTS: Mutex<BTreeMap<(libc::c_int, u32), usize>> = Mutex::new(BTreeMap::new());

/// Whether a socket of this process has `port`. Ports are unique within a namespace only; a clash
/// with a stranger's costs that change's notice, and the next pass finds it.
pub(crate) fn is_own_port(protocol: libc::c_int, port: u32) -> bool {
    own_ports().contains_key(&(protocol, port))
}

fn own_ports() -> MutexGuard<'static, BTreeMap<(libc::c_int, u32), usize>> {
    // A panic cannot leave a map of numbers half changed.
    OWN_PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The port of a socket of this process, known as such while the value lives.
#[derive(Debug)]
pub(crate) struct OwnPort {
    protocol: libc::c_int,
    port: u32,
}

impl OwnPort {
    /// The port of `fd`, which is bound to one of the kernel's choice unless it has one.
    pub(crate) fn of(fd: &OwnedFd, protocol: libc::c_int) -> io::Result<Self> {
        let port = || Ok::<_, Errno>(getsockname::<NetlinkAddr>(fd.as_raw_fd())?.pid());
        if port()? == 0 {
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        }
        let port = port()?;
        *own_ports().entry((protocol, port)).or_default() += 1;
        Ok(OwnPort { protocol, port })
    }
}

/// A bound netlink socket, unconnected, close-on-exec.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    /// Tells a monitor of this process that the changes are its own.
    _own: OwnPort,
    buffer: Vec<u8>,
}

impl Drop for OwnPort {
    fn drop(&mut self) {
        if let Entry::Occupied(mut sockets) = own_ports().entry((self.protocol, self.port)) {
            *sockets.get_mut() -= 1;
            if *sockets.get() == 0 {
                sockets.remove();
            }
        }
    }
}

/// One message that came back.
#[derive(Debug)]
pub(crate) enum Reply<'a> {
    /// A message of the family, with its header.
    Message(&'a [u8]),
    /// An acknowledgement: `errno` 0, or why not, with the kernel's words.
    Error { errno: i32, words: Option<&'a str> },
    /// The end of a list.
    Done { errno: i32, words: Option<&'a str> },
}

impl Socket {
    /// Opens a socket of `protocol` (`NETLINK_ROUTE`, `NETLINK_NETFILTER`) in the calling thread's
    /// network namespace.
    pub(crate) fn open(protocol: libc::c_int) -> io::Result<Self> {
        let kind = match protocol {
            libc::NETLINK_NETFILTER => SockProtocol::NetlinkNetFilter,
            _ => SockProtocol::NetlinkRoute,
        };
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, kind)?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK, libc::NETLINK_GET_STRICT_CHK] {
            netlink_option(fd.as_fd(), option, 1)?;
        }
        enlarge(&fd)?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS, 0))?;
        let own = OwnPort::of(&fd, protocol)?;
        Ok(Socket { fd, _own: own, buffer: vec![0; RECEIVE_BUFFER] })
    }

    /// Joins a multicast group by its number.
    pub(crate) fn join(&self, group: u32) -> io::Result<()> {
        let group = libc::c_int::try_from(group).map_err(|_| Errno::EINVAL)?;
        netlink_option(self.fd.as_fd(), libc::NETLINK_ADD_MEMBERSHIP, group)
    }

    /// Sends `bytes` to the kernel in one datagram.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.fd.as_raw_fd(), bytes, &kernel, MsgFlags::empty())?;
        Ok(())
    }

    /// Waits for one datagram and passes each of its messages to `each`, with sequence number and
    /// flags.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(u32, u16, Reply<'_>)) -> io::Result<()> {
        let length = loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer from netlink"));
                }
                other => break other?,
            }
        };
        if length > self.buffer.len() {
            return Err(Errno::EMSGSIZE.into());
        }
        let mut rest = &self.buffer[..length];
        while let Some((message, after)) = split_message(rest) {
            let (kind, flags) = (u16_at(message, 4), u16_at(message, 6));
            each(u32_at(message, 8), flags, reply(message, kind, flags));
            rest = after;
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Classifies one message, header included.
fn reply(message: &[u8], kind: u16, flags: u16) -> Reply<'_> {
    let errno = || if message.len() >= HEADER + 4 { -i32_at(message, HEADER) } else { 0 };
    match kind {
        NLMSG_ERROR => {
            // After the error number comes the request: its header alone when capped.
            let mut start = HEADER + 4 + HEADER;
            if flags & NLM_F_CAPPED == 0 && message.len() >= start {
                let request = u32_at(message, HEADER + 4) as usize;
                start = HEADER + 4 + request.next_multiple_of(4);
            }
            Reply::Error { errno: errno(), words: words(message, start, flags) }
        }
        NLMSG_DONE => Reply::Done { errno: errno(), words: words(message, HEADER + 4, flags) },
        _ => Reply::Message(message),
    }
}

/// The kernel's words (`NLMSGERR_ATTR_MSG`) among the attributes from `start` on.
fn words(message: &[u8], start: usize, flags: u16) -> Option<&str> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let mut rest = message.get(start..)?;
    while rest.len() >= 4 {
        let (length, kind) = (usize::from(u16_at(rest, 0)), u16_at(rest, 2) & 0x3fff);
        let value = rest.get(4..length)?;
        if kind == NLMSGERR_ATTR_MSG {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return std::str::from_utf8(text).ok();
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// The first message of `bytes` and what follows it; `None` at the end or on a broken length.
fn split_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = (bytes.len() >= HEADER).then(|| u32_at(bytes, 0) as usize)?;
    let message = (length >= HEADER).then(|| bytes.get(..length))??;
    Some((message, bytes.get(length.next_multiple_of(4)..).unwrap_or(&[])))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Asks for large buffers: past the system's limit where we may, up to it elsewhere.
fn enlarge(fd: &OwnedFd) -> io::Result<()> {
    if setsockopt(fd, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(fd, sockopt::RcvBuf, &SOCKET_BUFFER)?;
    }
    if setsockopt(fd, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(fd, sockopt::SndBuf, &SOCKET_BUFFER)?;
    }
    Ok(())
}

/// Sets an integer option of level SOL_NETLINK.
fn netlink_option(fd: BorrowedFd<'_>, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(io::Error::other)?;
    // SAFETY: the pointer and the size are those of `value`, which lives across the call.
    // WHY: nix has no options of level SOL_NETLINK.
    let set = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_NETLINK, option, value, size)
    };
    Errno::result(set)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_lengths_end_the_walk_instead_of_looping() {
        assert!(split_message(&[]).is_none());
        assert!(split_message(&[0; 16]).is_none());
        assert!(split_message(&[255; 16]).is_none());
        let mut one = [0; 18];
        one[0] = 17;
        assert_eq!(split_message(&one).map(|(m, rest)| (m.len(), rest.len())), Some((17, 0)));
    }

    #[test]
    fn a_cut_acknowledgement_has_no_words() {
        for length in 0..40 {
            let mut message = vec![0u8; 16 + length];
            message[4] = 2;
            reply(&message, NLMSG_ERROR, NLM_F_ACK_TLVS);
            reply(&message, NLMSG_DONE, NLM_F_ACK_TLVS);
        }
    }
}
