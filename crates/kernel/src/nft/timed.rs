//! Sets of addresses that stay for a time of their own each: [`Timed`].
//!
//! They are declared by a plan, which says nothing of what is in them. Who writes them is not the mechanism
//! that declares them and has a socket of its own: a set that is gone meanwhile is no error.

use std::io;

use nix::errno::Errno;
use plan::nft::{SetName, TABLE, TableFamily, Value};
use plan::{Stay, Unwritten};

use super::abi::{self, msg};
use super::set::{read_timed, write_timed};
use super::socket::{ACK, Refusal, Socket};
use super::wire::{Head, Writer};

/// `NLM_F_EXCL`: what is there already is refused.
const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`.
const CREATE: u16 = 0x400;

/// How often a transaction is tried again because elements came or went meanwhile.
const TRIES: usize = 5;

/// Writes sets of one network namespace.
#[derive(Debug)]
pub struct Timed {
    socket: Socket,
}

/// A write that is to be done.
struct Operation<'s> {
    stay: &'s Stay,
    /// There is one to be taken out first: only since Linux 6.12 a time can be changed.
    is_there: bool,
    /// There is nothing more to be done.
    is_over: bool,
}

impl Timed {
    /// Opens nf_tables in the network namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel has no nf_tables.
    pub fn open() -> io::Result<Self> {
        Ok(Timed { socket: Socket::open()? })
    }

    /// What is in `set` now, and for how long still; nothing when there is no such set.
    ///
    /// # Errors
    /// When it could not be read.
    pub fn read(&mut self, set: &SetName) -> io::Result<Vec<Stay>> {
        let mut found = Vec::new();
        let filter = |out: &mut Writer| name(out, set);
        let listed = self.socket.dump(msg::GETSETELEM, family(), filter, |message| {
            let list = message.attrs().nested(abi::element::LIST_ELEMENTS);
            let elements = list.into_iter().flatten();
            found.extend(elements.filter_map(|(_, element)| {
                let (addr, left) = read_timed(super::wire::Attrs(element))?;
                Some(Stay { set: set.clone(), addr, left: Some(left) })
            }));
        });
        match listed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map(|()| found),
        }
    }

    /// Has `stays`, each of another address or set, be as they say, in one transaction, whatever was there before. No packet finds an address
    /// missing that was there before and is still.
    ///
    /// # Errors
    /// When the kernel refused for another reason than [`Unwritten`] has; nothing is written then.
    pub fn write(&mut self, stays: &[Stay]) -> io::Result<Unwritten> {
        let mut todo: Vec<Operation<'_>> = stays
            .iter()
            .map(|stay| Operation { stay, is_there: stay.left.is_none(), is_over: false })
            .collect();
        let mut written = Unwritten::default();
        for _ in 0..TRIES {
            if todo.is_empty() {
                return Ok(written);
            }
            let (batch, which) = batch(&todo);
            let refusals = self.socket.commit(&batch)?;
            if refusals.is_empty() {
                return Ok(written);
            }
            for Refusal { seq, errno } in refusals {
                let message = usize::try_from(seq).ok().and_then(|seq| seq.checked_sub(1));
                let Some((at, removes)) = message.and_then(|i| which.get(i)).copied() else {
                    return Err(errno.into());
                };
                todo[at].refused(errno, removes, &mut written)?;
            }
            todo.retain(|operation| !operation.is_over);
        }
        Err(io::Error::other("elements came and went during each try"))
    }
}

impl Operation<'_> {
    /// Takes note of why a message was refused that `removes` or puts.
    fn refused(&mut self, errno: Errno, removes: bool, written: &mut Unwritten) -> io::Result<()> {
        if errno == Errno::ENOENT && removes {
            self.is_there = false;
            self.is_over = self.stay.left.is_none();
        } else if errno == Errno::EEXIST {
            self.is_there = true;
        } else if errno == Errno::ENOENT || errno == Errno::ENFILE {
            let unwritten = match errno == Errno::ENOENT {
                true => &mut written.missing,
                false => &mut written.full,
            };
            unwritten.insert(self.stay.set.clone());
            self.is_over = true;
        } else {
            return Err(errno.into());
        }
        Ok(())
    }
}

/// `NFPROTO_INET`.
fn family() -> u8 {
    super::nfproto(TableFamily::Inet)
}

fn name(out: &mut Writer, set: &SetName) {
    out.text(abi::element::LIST_TABLE, TABLE);
    out.text(abi::element::LIST_SET, &set.0);
}

/// A transaction, and for each of its messages the operation it is of and whether it takes out.
fn batch(todo: &[Operation<'_>]) -> (Vec<u8>, Vec<(usize, bool)>) {
    let (mut out, mut which) = (Writer::default(), Vec::new());
    edge(&mut out, msg::BATCH_BEGIN);
    let mut last = 0;
    for (at, Operation { stay, is_there, .. }) in todo.iter().enumerate() {
        let takes_out = is_there.then_some((msg::DELSETELEM, 0, None));
        let puts_in = stay.left.map(|left| (msg::NEWSETELEM, CREATE | EXCL, Some(left)));
        for (kind, flags, left) in takes_out.into_iter().chain(puts_in) {
            which.push((at, kind == msg::DELSETELEM));
            let seq = u32::try_from(which.len()).expect("fewer messages than bytes");
            let kind = msg::SUBSYSTEM << 8 | kind;
            last = out.open(Head { kind, flags, seq, family: family(), res_id: 0 });
            name(&mut out, &stay.set);
            let list = out.open_nest(abi::element::LIST_ELEMENTS);
            write_timed(&mut out, &Value::from(stay.addr), left);
            out.close_attr(list);
            out.close(last);
        }
    }
    out.add_flags(last, ACK);
    edge(&mut out, msg::BATCH_END);
    (out.bytes, which)
}

fn edge(out: &mut Writer, kind: u16) {
    out.message(Head { kind, flags: 0, seq: 0, family: 0, res_id: msg::SUBSYSTEM }, |_| {});
}
