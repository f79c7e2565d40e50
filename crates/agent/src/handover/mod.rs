//! A planned restart: an agent that starts while another one runs takes its place, and nobody who asks
//! the node for anything notices.
//!
//! ```text
//!  successor                                    predecessor
//!  announces itself ───────────────────────────► goes on as before
//!  lists everything from the API server
//!  asks to take over ──────────────────────────► answers the CNI requests it has, ends its loop, closes the
//!                                                ledger; goes on answering DNS, health, metrics
//!  ◄───────────────────── every socket it has open
//!  opens the ledger, makes its first pass,
//!  answers at the sockets
//!  says go ────────────────────────────────────► answers what it has, closes everything, stands by
//!  ◄──────────── connections of DNS, between two questions
//! ```
//!
//! Sockets are given away open ([`Sockets`](crate::sockets::Sockets)): what waits in them is answered by
//! whoever reads it. When the connection ends before *go*, the predecessor goes on where it stopped. After
//! *go* it stands by until it is told to end: a process that ended by itself would be started again by
//! whoever keeps it, and take the place of its own successor. It starts anew should the successor end.
//!
//! Both talk over `handover.sock`, in lines of JSON; a socket comes with the line that names it. The
//! successor says which formats it knows, and the predecessor picks one of them or refuses. An agent knows
//! the format of the minor release before its own.
//!
//! Source: `docs/decisions/0023-an-agent-hands-over-what-it-has-open.md`.

mod door;
mod predecessor;
mod talk;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use door::{Door, Heir, Verdict};
pub(crate) use predecessor::Predecessor;

/// The formats this release speaks, oldest and newest.
const FORMATS: (u32, u32) = (1, 1);

/// Where agents find each other.
pub(crate) const SOCKET: &str = "handover.sock";

/// Most sockets that are handed over. A node with more health check node ports has other troubles.
const MOST: usize = 4096;

/// An agent could not take another one's place, or not find out whether there is one.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The conversation failed.
    #[error("take over from the agent that runs here, by {}", path.display())]
    Talk {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The agent that runs says no.
    #[error("the agent that runs here does not hand over: {0}")]
    Refused(String),
    /// The socket for the next one could not be made.
    #[error("listen on {}", path.display())]
    Listen {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

fn talk_failed(path: &Path) -> impl FnOnce(io::Error) -> HandoverError {
    move |cause| HandoverError::Talk { path: path.to_owned(), cause }
}
