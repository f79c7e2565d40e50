//! The conversation of two agents: lines of JSON, and descriptors that come with them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Longest line, in bytes.
const LONGEST: usize = 4096;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The successor starts. This line is read by every release, whatever format follows.
    Announce {
        /// The oldest format it knows.
        oldest: u32,
        /// The newest.
        newest: u32,
        /// Its release, for people.
        release: String,
    },
    /// The predecessor goes by this format from here on.
    Welcome {
        /// One of those that both know.
        format: u32,
    },
    /// The predecessor does not hand over.
    Refuse {
        /// Why.
        why: String,
    },
    /// Whoever says so has handed over to another, and wants to know when the one that runs ends.
    StandBy,
    /// The successor knows the cluster: it can be handed over to.
    TakeOver,
    /// A socket, which comes with this line.
    Socket {
        /// What it is.
        name: String,
    },
    /// That was the last socket, and the ledger is free.
    Complete,
    /// The successor answers at every socket.
    Go,
}

/// One end of a conversation.
#[derive(Debug)]
pub(super) struct Talk {
    stream: UnixStream,
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl Talk {
    /// With an agent of the same user, and nobody else.
    ///
    /// # Errors
    /// `PermissionDenied` for another user.
    pub(super) fn with(stream: UnixStream) -> io::Result<Self> {
        let uid = stream.peer_cred()?.uid();
        if uid != nix::unistd::geteuid().as_raw() {
            let why = format!("user {uid} is at the other end");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(Talk { stream, bytes: Vec::new(), fds: VecDeque::new() })
    }

    /// # Errors
    /// The kernel's.
    pub(super) async fn say(&self, line: &Line) -> io::Result<()> {
        self.send(line, &[]).await
    }

    /// Gives `socket` away, as well.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) async fn give(&self, name: &str, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.send(&Line::Socket { name: name.to_owned() }, &[socket]).await
    }

    async fn send(&self, line: &Line, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        // A line is taken whole or not at all: it is much shorter than what the socket has room for.
        let send = || kernel::process::send_fds(self.stream.as_fd(), &bytes, fds);
        self.stream.async_io(Interest::WRITABLE, send).await
    }

    /// The next line; `None` when the other end has closed. What was heard of a line is kept when the
    /// future is dropped.
    ///
    /// # Errors
    /// The kernel's; `InvalidData` for what is no line.
    pub(super) async fn hear(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            if self.bytes.len() > LONGEST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
            }
            let receive = || kernel::process::receive_fds(self.stream.as_fd(), LONGEST);
            let (bytes, fds) = match self.stream.async_io(Interest::READABLE, receive).await {
                // It ended before it had read all.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                received => received?,
            };
            if bytes.is_empty() {
                return Ok(None);
            }
            self.bytes.extend(bytes);
            self.fds.extend(fds);
        }
    }

    /// The descriptor that came with the last [`Line::Socket`].
    pub(super) fn received(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }
}
