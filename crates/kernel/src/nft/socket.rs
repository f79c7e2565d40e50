//! A netlink socket to nf_tables: dumps, and transactions.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

use super::abi::{NFTA_GEN_ID, msg};
use super::wire::{Head, Message, Writer, messages, u32_ne};
use crate::netlink::socket::OwnPort;

/// `NLM_F_ACK`.
pub(super) const ACK: u16 = 4;
/// `NLM_F_DUMP`.
const DUMP: u16 = 0x300;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// The kernel answers at once; a socket that stays silent this long is broken.
const SILENCE: Duration = Duration::from_secs(10);
/// Longer than any datagram that the kernel sends (32 KiB of a dump).
const DATAGRAM: usize = 1 << 17;

/// Above the descriptors of whoever has fewer open than this. The kernel keeps a table as long as the
/// highest one: 128 KiB.
const HIGHEST: i32 = 1 << 14;
/// How many descriptors may be the highest at once.
const ROOM: i32 = 16;

/// A socket to nf_tables in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// Tells a monitor of this process that the changes are its own.
    _own: OwnPort,
    seq: u32,
    buffer: Vec<u8>,
}

/// An operation of a transaction that the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// `seq` of its message.
    pub(super) seq: u32,
    /// Why.
    pub(super) errno: Errno,
}

impl Socket {
    /// Opens a socket.
    pub(super) fn open() -> io::Result<Self> {
        let protocol = SockProtocol::NetlinkNetFilter;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        Self::of(fd)
    }

    /// A socket to nf_tables that was opened before, perhaps by another process. It keeps its port.
    pub(super) fn of(fd: OwnedFd) -> io::Result<Self> {
        let seconds = i64::try_from(SILENCE.as_secs()).expect("a few seconds");
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(seconds, 0))?;
        let own = OwnPort::of(&fd, libc::NETLINK_NETFILTER)?;
        Ok(Socket { fd, _own: own, seq: 0, buffer: vec![0; DATAGRAM] })
    }

    /// Asks for all objects of one kind and shows each to `visit`.
    pub(super) fn dump(
        &mut self,
        operation: u16,
        family: u8,
        filter: impl FnOnce(&mut Writer),
        mut visit: impl FnMut(Message<'_>),
    ) -> io::Result<()> {
        self.request(operation, DUMP, family, filter)?;
        loop {
            let len = self.receive(MsgFlags::empty())?;
            for message in messages(&self.buffer[..len]).filter(|message| message.seq == self.seq) {
                match message.kind {
                    DONE | ERROR => {
                        return errno(message.payload).map_or(Ok(()), |errno| Err(errno.into()));
                    }
                    _ => visit(message),
                }
            }
        }
    }

    /// Number of the ruleset's generation: it grows with every transaction of anyone.
    pub(super) fn generation(&mut self) -> io::Result<u32> {
        self.request(msg::GETGEN, 0, 0, |_| {})?;
        loop {
            let len = self.receive(MsgFlags::empty())?;
            for message in messages(&self.buffer[..len]).filter(|message| message.seq == self.seq) {
                if message.kind == ERROR {
                    return Err(errno(message.payload).unwrap_or(Errno::EIO).into());
                }
                if let Some(id) = message.attrs().be32(NFTA_GEN_ID) {
                    return Ok(id);
                }
            }
        }
    }

    /// Has the socket close before others when the process dies: the kernel puts away what a dying process
    /// has open from the highest descriptor down (`task_work_add()` is a stack).
    #[expect(unsafe_code, reason = "std duplicates to the lowest number alone")]
    pub(super) fn close_first(&mut self) -> io::Result<()> {
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let highest = i32::try_from(limit).unwrap_or(i32::MAX).min(HIGHEST);
        let least = highest.saturating_sub(ROOM).max(self.fd.as_raw_fd());
        let fd = fcntl(&self.fd, FcntlArg::F_DUPFD_CLOEXEC(least))?;
        // SAFETY: fcntl(2) has just made it, and nobody else knows of it.
        self.fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(())
    }

    /// A copy of the descriptor.
    pub(super) fn to_fd(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// The descriptor, to hand it over.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    fn request(
        &mut self,
        operation: u16,
        flags: u16,
        family: u8,
        body: impl FnOnce(&mut Writer),
    ) -> io::Result<()> {
        self.seq = self.seq.wrapping_add(1);
        let kind = msg::SUBSYSTEM << 8 | operation;
        let mut request = Writer::default();
        request.message(Head { kind, flags, seq: self.seq, family, res_id: 0 }, body);
        send(self.fd.as_raw_fd(), &request.bytes, MsgFlags::empty())?;
        Ok(())
    }

    /// Commits one transaction: all of it, or nothing when operations are refused.
    ///
    /// The kernel works the batch off while it is being sent, so that its answers are there already.
    pub(super) fn commit(&mut self, batch: &[u8]) -> io::Result<Vec<Refusal>> {
        // Twice, as the kernel counts its own bookkeeping, too; and room for an answer to each.
        setsockopt(&self.fd, sockopt::SndBufForce, &(2 * batch.len() + 4096))?;
        setsockopt(&self.fd, sockopt::RcvBufForce, &(4 * batch.len() + (1 << 16)))?;
        send(self.fd.as_raw_fd(), batch, MsgFlags::empty())?;
        let (mut refusals, mut acknowledged) = (Vec::new(), false);
        loop {
            let len = match self.receive(MsgFlags::MSG_DONTWAIT) {
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            };
            for message in messages(&self.buffer[..len]).filter(|message| message.kind == ERROR) {
                match errno(message.payload) {
                    None => acknowledged = true,
                    Some(errno) => refusals.push(Refusal { seq: message.seq, errno }),
                }
            }
        }
        if refusals.is_empty() && !acknowledged {
            return Err(io::Error::other("the kernel did not confirm the transaction"));
        }
        Ok(refusals)
    }

    fn receive(&mut self, flags: MsgFlags) -> io::Result<usize> {
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, flags) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if flags.is_empty() => return Err(Errno::ETIMEDOUT.into()),
                received => return Ok(received?),
            }
        }
    }
}

/// The error in an `NLMSG_ERROR` or `NLMSG_DONE`; `None` when all is well.
fn errno(payload: &[u8]) -> Option<Errno> {
    match u32_ne(payload).map(u32::cast_signed) {
        Some(0) => None,
        Some(code) => Some(Errno::from_raw(code.saturating_neg())),
        None => Some(Errno::EBADMSG),
    }
}
