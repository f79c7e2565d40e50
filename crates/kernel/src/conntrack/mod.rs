//! Connection tracking of one network namespace: what it counts, and entries that have to go.
//!
//! Entries are no rows of a place: the kernel makes them, of packets, and most are nobody's business of
//! ours. So there is no [`plan::Mechanism`] here but two operations: to walk those that a [`FlowFilter`]
//! lets through and to remove those that somebody finds wrong, and to take bits out of their marks.

mod abi;
mod counters;
mod entry;
mod marks;

pub use counters::{Conntrack, observe};

use std::io;

use nix::errno::Errno;
use plan::{Flow, FlowFilter};

use crate::netlink::socket::{Reply, Socket};
use crate::nft::wire::{Head, Writer};
use entry::Entry;

/// `NLM_F_ACK`.
const ACK: u16 = 4;
/// `NLM_F_DUMP`.
const DUMP: u16 = 0x300;
/// Most removals in one send: their acknowledgements must fit the socket's receive buffer.
const BATCH: usize = 256;

/// Entries of connection tracking in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Entries {
    socket: Socket,
    seq: u32,
}

/// What one walk came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// Entries that the kernel showed.
    pub shown: usize,
    /// Entries that were removed.
    pub removed: usize,
}

/// Connection tracking did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct Error {
    attempt: &'static str,
    #[source]
    cause: io::Error,
}

impl Error {
    /// What was `attempt`ed, and why it failed.
    pub fn new(attempt: &'static str, cause: io::Error) -> Self {
        Error { attempt, cause }
    }
}

impl Entries {
    /// Opens connection tracking.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn open() -> Result<Self, Error> {
        let failed = |cause| Error { attempt: "open a netlink socket to conntrack", cause };
        Ok(Entries { socket: Socket::open(libc::NETLINK_NETFILTER).map_err(failed)?, seq: 0 })
    }

    /// Removes the entries of `filter` that are `wrong`.
    ///
    /// The kernel shows no others than those the filter lets through, or all if it is older than
    /// Linux 5.8 and does not know filters; those of other zones than the first are left out: who
    /// has zones looks after them. An entry that is gone meanwhile, or was made anew for another flow,
    /// does not count.
    ///
    /// # Errors
    /// When the entries cannot be listed or one cannot be removed; the rest is left as it is.
    pub fn remove(
        &mut self,
        filter: &FlowFilter,
        wrong: &dyn Fn(&Flow) -> bool,
    ) -> Result<Walked, Error> {
        let failed = |attempt| move |cause| Error { attempt, cause };
        let (shown, entries) =
            self.list(filter, wrong).map_err(failed("list the entries of conntrack"))?;
        let mut removed = 0;
        for batch in entries.chunks(BATCH) {
            removed += self.delete(batch).map_err(failed("remove an entry of conntrack"))?;
        }
        Ok(Walked { shown, removed })
    }

    /// The flows that are tracked and `wanted`: of protocols that have ports, and of the first zone.
    ///
    /// # Errors
    /// When the entries cannot be listed.
    pub fn flows(&mut self, wanted: &dyn Fn(&Flow) -> bool) -> Result<Vec<Flow>, Error> {
        let mut found = Vec::new();
        let listed = self.dump(
            0,
            |_| {},
            |message| {
                let flow = Entry::read(message).map(|entry| entry.flow);
                found.extend(flow.filter(|flow| wanted(flow)));
            },
        );
        listed.map_err(|cause| Error { attempt: "list the entries of conntrack", cause })?;
        Ok(found)
    }

    /// How many entries the kernel showed, and those that are `wrong`.
    fn list(
        &mut self,
        filter: &FlowFilter,
        wrong: &dyn Fn(&Flow) -> bool,
    ) -> io::Result<(usize, Vec<Entry>)> {
        let (mut shown, mut found) = (0, Vec::new());
        let narrow = |body: &mut Writer| entry::write_filter(body, filter);
        self.dump(abi::nfproto(filter.family), narrow, |message| {
            shown += 1;
            let entry = Entry::read(message);
            found.extend(
                entry.filter(|entry| filter.lets_through(&entry.flow) && wrong(&entry.flow)),
            );
        })?;
        Ok((shown, found))
    }

    /// Shows `visit` every entry of a family, or of all where it is 0, that the kernel narrows down to.
    fn dump(
        &mut self,
        family: u8,
        narrow: impl FnOnce(&mut Writer),
        mut visit: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let seq = self.next_seq();
        let mut request = Writer::default();
        request.message(Head { kind: abi::GET, flags: DUMP, seq, family, res_id: 0 }, narrow);
        self.socket.send(&request.bytes)?;
        let mut end = None;
        while end.is_none() {
            self.socket.receive(|of, _, reply| match reply {
                _ if of != seq => {}
                Reply::Message(message) => visit(message),
                Reply::Error { errno, .. } | Reply::Done { errno, .. } => end = Some(errno),
            })?;
        }
        match end {
            Some(errno) if errno != 0 => Err(io::Error::from_raw_os_error(errno)),
            Some(_) | None => Ok(()),
        }
    }

    /// Removes `entries`; returns how many were still there.
    fn delete(&mut self, entries: &[Entry]) -> io::Result<usize> {
        self.each(abi::DELETE, entries, Entry::family, Entry::write)
    }

    /// Sends a request about each of `entries`; returns how many were still there.
    fn each<T>(
        &mut self,
        kind: u16,
        entries: &[T],
        family: impl Fn(&T) -> u8,
        write: impl Fn(&T, &mut Writer),
    ) -> io::Result<usize> {
        let mut requests = Writer::default();
        let mut last = self.seq;
        for entry in entries {
            last = self.next_seq();
            let head = Head { kind, flags: ACK, seq: last, family: family(entry), res_id: 0 };
            requests.message(head, |body| write(entry, body));
        }
        self.socket.send(&requests.bytes)?;
        let (mut done, mut refused, mut is_over) = (0, None, entries.is_empty());
        while !is_over {
            self.socket.receive(|of, _, reply| {
                if let Reply::Error { errno, .. } = reply {
                    is_over |= of == last;
                    match errno {
                        0 => done += 1,
                        libc::ENOENT => {}
                        other => refused = refused.or(Some(Errno::from_raw(other))),
                    }
                }
            })?;
        }
        match refused {
            Some(errno) => Err(errno.into()),
            None => Ok(done),
        }
    }

    fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.seq
    }
}
