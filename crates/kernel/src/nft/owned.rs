//! A table that lives as long as somebody answers: [`Owned`].
//!
//! The kernel removes a table with the flag `owner` together with the socket that made it, before the
//! process that held the socket is gone. So rules that are true only while a process serves need nobody
//! to take them away. Ownership belongs to the socket and not to the process: who is handed the socket
//! has the table, without a moment between.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use plan::nft::{Key, Row, TableFamily};
use plan::{Changes, Put, Table};

use super::abi::{self, msg};
use super::batch::{Batch, Todo};
use super::counted::counters;
use super::encode::Named;
use super::lower::Inexpressible;
use super::socket::Socket;

/// Name of the table, in the family inet.
pub const OWNED: &str = "seaway-dns";

/// How the table is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It goes with its socket.
    Owned,
    /// The kernel knows no owner of tables (before Linux 5.12): it stays until somebody removes it.
    Kept,
}

/// The table `seaway-dns` of one network namespace, held by a socket of its own.
#[derive(Debug)]
pub struct Owned {
    socket: Socket,
}

/// Why the table is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum OwnedError {
    /// nf_tables could not be reached.
    #[error("open a netlink socket to nf_tables for table {OWNED}")]
    Open(#[source] io::Error),
    /// Another process has it and lives.
    #[error("write table {OWNED}: another process owns it; does another agent run?")]
    Foreign,
    /// The kernel has no expressions for a row.
    #[error("write table {OWNED}: {0}")]
    Inexpressible(String),
    /// The kernel refused.
    #[error("write table {OWNED}")]
    Write(#[source] io::Error),
}

impl Owned {
    /// A socket for the table in the network namespace of the calling thread. There is no table yet.
    /// When the process dies, the table is gone before other descriptors are closed.
    ///
    /// # Errors
    /// [`OwnedError::Open`].
    pub fn open() -> Result<Self, OwnedError> {
        Self::of(Socket::open()).map_err(OwnedError::Open)
    }

    /// Takes over the table with the socket that another [`Owned`] was.
    ///
    /// # Errors
    /// [`OwnedError::Open`] when it is no such socket.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, OwnedError> {
        Self::of(Socket::of(fd)).map_err(OwnedError::Open)
    }

    fn of(socket: io::Result<Socket>) -> io::Result<Self> {
        let mut socket = socket?;
        socket.close_first()?;
        Ok(Owned { socket })
    }

    /// A copy of the socket, to give to whoever takes over. The table stays as long as one is open.
    ///
    /// # Errors
    /// [`OwnedError::Open`] when the process has no descriptor left.
    pub fn to_fd(&self) -> Result<OwnedFd, OwnedError> {
        self.socket.to_fd().map_err(OwnedError::Open)
    }

    /// The socket, for whoever takes over; the table stays as long as it is open.
    pub fn into_fd(self) -> OwnedFd {
        self.socket.into_fd()
    }

    /// Makes the table hold `rows` and nothing else, in one transaction.
    ///
    /// # Errors
    /// [`OwnedError`]; the table is as it was.
    pub fn put(&mut self, rows: &Table<Key, Row>) -> Result<Hold, OwnedError> {
        match self.write(rows, abi::table::F_OWNER) {
            Err(OwnedError::Write(cause)) if knows_no_owner(&cause) => {
                self.write(rows, 0).map(|()| Hold::Kept)
            }
            written => written.map(|()| Hold::Owned),
        }
    }

    /// Removes the table; it may be gone already.
    ///
    /// # Errors
    /// [`OwnedError`].
    pub fn clear(&mut self) -> Result<(), OwnedError> {
        self.write(&Table::default(), 0)
    }

    /// Whether there is a table.
    ///
    /// # Errors
    /// [`OwnedError::Write`] when the kernel does not say.
    pub fn stands(&mut self) -> Result<bool, OwnedError> {
        let mut stands = false;
        let family = super::nfproto(TableFamily::Inet);
        let listed = self.socket.dump(
            msg::GETTABLE,
            family,
            |_| {},
            |message| {
                stands |= message.attrs().text(abi::table::NAME) == Some(OWNED);
            },
        );
        listed.map(|()| stands).map_err(OwnedError::Write)
    }

    /// How many packets the rules have counted since the table was put.
    ///
    /// # Errors
    /// [`OwnedError::Write`] when the kernel does not say.
    pub fn counted(&mut self) -> Result<u64, OwnedError> {
        let mut counted = 0;
        let family = super::nfproto(TableFamily::Inet);
        let listed = self.socket.dump(
            msg::GETRULE,
            family,
            |out| out.text(abi::rule::TABLE, OWNED),
            |message| {
                let attrs = message.attrs();
                if attrs.text(abi::rule::TABLE) == Some(OWNED) {
                    counted += counters(attrs).sum::<u64>();
                }
            },
        );
        match listed {
            // There is no table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            listed => listed.map(|()| counted).map_err(OwnedError::Write),
        }
    }

    /// Replaces the table, as one with these flags; without rows there is none.
    fn write(&mut self, rows: &Table<Key, Row>, flags: u32) -> Result<(), OwnedError> {
        let put = |(key, row): (&Key, &Row)| (key.clone(), Put { row: row.clone(), old: None });
        let changes = Changes { puts: rows.iter().map(put).collect(), deletes: Vec::new() };
        let (mut todo, refused) = Todo::new(&changes);
        if let Some((_, Inexpressible(why))) = refused.into_iter().next() {
            return Err(OwnedError::Inexpressible(why));
        }
        if self.stands()? {
            todo.resets.insert(TableFamily::Inet);
        }
        if todo.is_empty() {
            return Ok(());
        }
        let batch = Batch::new(&todo, Named { name: OWNED, flags }, false);
        let refusals = self.socket.commit(batch.bytes()).map_err(OwnedError::Write)?;
        match refusals.first().map(|refusal| refusal.errno) {
            None => Ok(()),
            Some(Errno::EPERM) => Err(OwnedError::Foreign),
            Some(errno) => Err(OwnedError::Write(errno.into())),
        }
    }
}

/// What kernels answer that don't know the flag.
fn knows_no_owner(cause: &io::Error) -> bool {
    let errno = cause.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EOPNOTSUPP | Errno::EINVAL))
}
