//! rtnetlink: links, addresses, routes, rules, neighbors and forwarding entries.
//!
//! A [`Request`] is one change as a value, with the words that describe it; [`Netlink`] sends one or
//! a batch of them and reads lists back. Everything is synchronous: the kernel has acted when a call
//! returns. `netlink-packet-route` encodes and decodes; the socket is ours (`socket`).
//!
//! ```no_run
//! use seaway_kernel::netlink::{Netlink, Request, VethEnd};
//! use seaway_kernel::netns::Netns;
//!
//! let mut netlink = Netlink::open()?;
//! let blue = Netns::open("/run/netns/blue")?;
//! netlink.send(Request::add_veth(
//!     &VethEnd { name: "cable0", ..VethEnd::default() },
//!     &VethEnd { name: "eth0", netns: Some(&blue), ..VethEnd::default() },
//! ))?;
//! netlink.send(Request::link_up("cable0"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod addr;
mod conf;
mod link;
mod link_row;
mod neigh;
mod route;
mod rule;
pub(crate) mod socket;

use std::fmt;
use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;

pub use addr::AddrRow;
pub use conf::{Ipv4Conf, Ipv6Conf};
pub use link::{LinkChange, LinkId, PortFlags, VethEnd, VxlanParams};
pub use link_row::{LinkKindRow, LinkRow};
pub use neigh::{FdbRow, NeighborRow};
pub use route::{RouteRow, RouteSpec};
pub use rule::{RuleRow, RuleSpec};

use crate::netns::{Netns, NetnsError};
use socket::{Reply, Socket};

/// Most requests in one send: their acknowledgements must fit the socket's receive buffer.
const BATCH: usize = 400;

/// How often a list is read again when the kernel says that it changed meanwhile.
const DUMP_ATTEMPTS: u32 = 16;

/// A request the kernel refused, or a socket that failed.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct Error {
    attempt: String,
    #[source]
    cause: Refusal,
}

/// The kernel's answer: the error number, and its own words about it where it has any (extack).
#[derive(Debug)]
pub struct Refusal {
    errno: io::Error,
    words: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.words {
            Some(words) => write!(f, "{words}: {}", self.errno),
            None => self.errno.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<io::Error> for Refusal {
    fn from(errno: io::Error) -> Self {
        Refusal { errno, words: None }
    }
}

impl Error {
    pub(crate) fn new(attempt: impl Into<String>, cause: impl Into<Refusal>) -> Self {
        Error { attempt: attempt.into(), cause: cause.into() }
    }

    /// What was attempted, and the kernel's answer.
    pub(crate) fn into_parts(self) -> (String, Refusal) {
        (self.attempt, self.cause)
    }

    /// The kernel's answer alone, for a caller that names the attempt itself.
    pub(crate) fn into_cause(self) -> Refusal {
        self.cause
    }

    /// The error number, when the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        self.cause.errno.raw_os_error()
    }

    /// Whether a capability is missing.
    pub fn is_denied(&self) -> bool {
        self.errno() == Some(libc::EPERM)
    }

    /// Whether what was to be made is there already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// Whether what was to be changed or removed is not there.
    pub fn is_gone(&self) -> bool {
        matches!(
            self.errno(),
            Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL)
        )
    }
}

/// One change, ready to be sent, with the words that describe it.
#[derive(Debug, Clone)]
pub struct Request {
    attempt: String,
    message: RouteNetlinkMessage,
    flags: u16,
    /// Namespaces the message names by descriptor: open until it is sent.
    holds: Vec<Netns>,
}

impl Request {
    fn new(attempt: impl Into<String>, message: RouteNetlinkMessage, flags: u16) -> Self {
        Request { attempt: attempt.into(), message, flags, holds: Vec::new() }
    }
}

/// What it does, in the words of `ip` and `bridge`.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.attempt)
    }
}

/// An rtnetlink socket. It stays in the namespace it was opened in, whoever holds it.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(libc::NETLINK_ROUTE)
            .map_err(|cause| Error::new("open an rtnetlink socket", cause))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Opens a socket in `netns`, without moving the calling thread there.
    ///
    /// # Errors
    /// When the namespace could not be entered.
    pub fn open_in(netns: &Netns) -> Result<Self, Error> {
        netns.run(Netlink::open).unwrap_or_else(|error| Err(error.into()))
    }

    /// Sends one request and waits for its acknowledgement.
    ///
    /// # Errors
    /// What the kernel refused, with its reason.
    pub fn send(&mut self, request: Request) -> Result<(), Error> {
        self.batch(vec![request]).pop().unwrap_or(Ok(()))
    }

    /// Sends requests together, in order; the answers are in the same order. One refusal does not
    /// stop those after it. Up to 400 requests are one system call, which no signal interrupts.
    pub fn batch(&mut self, requests: Vec<Request>) -> Vec<Result<(), Error>> {
        let mut answers = Vec::with_capacity(requests.len());
        for chunk in requests.chunks(BATCH) {
            let first = self.sequence.wrapping_add(1);
            let mut bytes = Vec::with_capacity(chunk.len() * 128);
            for request in chunk {
                self.encode(&request.message, request.flags | NLM_F_ACK, &mut bytes);
            }
            match self.acknowledgements(&bytes, first, chunk.len()) {
                Ok(refusals) => answers.extend(chunk.iter().zip(refusals).map(|(request, no)| {
                    no.map_or(Ok(()), |refusal| Err(Error::new(&request.attempt, refusal)))
                })),
                Err(cause) => answers.extend(chunk.iter().map(|request| {
                    let cause = io::Error::new(cause.kind(), cause.to_string());
                    Err(Error::new(&request.attempt, cause))
                })),
            }
        }
        answers
    }

    /// Appends `message` with the next sequence number to `bytes`.
    fn encode(&mut self, message: &RouteNetlinkMessage, flags: u16, bytes: &mut Vec<u8>) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let payload = NetlinkPayload::InnerMessage(message.clone());
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..]);
    }

    /// Sends `bytes`, which hold `count` requests from sequence number `first` on, and gathers one
    /// answer for each: `None` for success.
    fn acknowledgements(
        &mut self,
        bytes: &[u8],
        first: u32,
        count: usize,
    ) -> io::Result<Vec<Option<Refusal>>> {
        self.socket.send(bytes)?;
        let mut answers: Vec<Option<Refusal>> = Vec::new();
        answers.resize_with(count, || None);
        let mut missing = count;
        while missing > 0 {
            self.socket.receive(|sequence, _, reply| {
                let Some(answer) = answers.get_mut(sequence.wrapping_sub(first) as usize) else {
                    return; // left from an earlier call that failed
                };
                if let Reply::Error { errno, words } = reply {
                    missing = missing.saturating_sub(1);
                    *answer = (errno != 0).then(|| Refusal {
                        errno: io::Error::from_raw_os_error(errno),
                        words: words.map(str::to_owned),
                    });
                }
            })?;
        }
        Ok(answers)
    }

    /// Reads a list: everything the kernel answers to `request`, as `pick` understands it.
    ///
    /// A list that changed while it was read is read again from the start. A message that the codec
    /// cannot read is somebody else's novelty and is left out.
    fn dump<T>(
        &mut self,
        attempt: &str,
        request: &RouteNetlinkMessage,
        mut pick: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut bytes = Vec::new();
            self.encode(request, NLM_F_DUMP, &mut bytes);
            let rows = self.rows(&bytes, &mut pick).map_err(|cause| Error::new(attempt, cause))?;
            if let Some(rows) = rows {
                return Ok(rows);
            }
        }
        let cause = io::Error::from_raw_os_error(libc::EINTR);
        Err(Error::new(format!("{attempt} (it kept changing)"), cause))
    }

    /// One attempt at a list; `None` when it changed while it was read.
    fn rows<T>(
        &mut self,
        bytes: &[u8],
        pick: &mut impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Refusal> {
        self.socket.send(bytes)?;
        let current = self.sequence;
        let (mut rows, mut interrupted, mut end) = (Vec::new(), false, None);
        while end.is_none() {
            self.socket.receive(|sequence, flags, reply| {
                if sequence != current {
                    return;
                }
                interrupted |= flags & netlink_packet_core::NLM_F_DUMP_INTR != 0;
                match reply {
                    Reply::Message(message) => match decode(message) {
                        Ok(message) => rows.extend(pick(message)),
                        Err(error) => tracing::debug!(%error, "unreadable netlink message"),
                    },
                    Reply::Error { errno, words } | Reply::Done { errno, words } => {
                        end = Some((errno, words.map(str::to_owned)));
                    }
                }
            })?;
        }
        match end {
            Some((errno, words)) if errno != 0 && errno != libc::EINTR => {
                Err(Refusal { errno: io::Error::from_raw_os_error(errno), words })
            }
            Some((libc::EINTR, _)) => Ok(None),
            _ => Ok((!interrupted).then_some(rows)),
        }
    }

    /// Asks for one object; `None` when it does not exist.
    fn get<T>(
        &mut self,
        attempt: &str,
        request: &RouteNetlinkMessage,
        pick: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let mut bytes = Vec::new();
        self.encode(request, NLM_F_ACK, &mut bytes);
        let mut pick = pick;
        match self.rows(&bytes, &mut pick) {
            Ok(rows) => Ok(rows.unwrap_or_default().pop()),
            Err(cause) => {
                let error = Error::new(attempt, cause);
                if error.is_gone() { Ok(None) } else { Err(error) }
            }
        }
    }
}

impl From<NetnsError> for Error {
    fn from(error: NetnsError) -> Self {
        let (attempt, cause) = error.into_parts();
        Error::new(attempt, cause)
    }
}

/// Decodes a message, header included.
pub(crate) fn decode(
    bytes: &[u8],
) -> Result<RouteNetlinkMessage, netlink_packet_core::DecodeError> {
    let payload = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes)?.payload;
    if let NetlinkPayload::InnerMessage(message) = payload {
        Ok(message)
    } else {
        Err(format!("message of type {}", payload.message_type()).into())
    }
}
