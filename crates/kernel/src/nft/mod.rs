//! nftables over netlink: [`Nft`] makes the tables named `seaway` equal to a plan's.
//!
//! `lower` turns a rule into the kernel's expressions and `raise` turns them back, `encode` and
//! `decode` do the same for whole rows, `batch` orders the changes of a pass into one transaction.
//! Of others' tables only the chains that may drop packets are read, and none is written, but for what others
//! left behind when somebody asks for that (`leftover`).

mod abi;
#[cfg(test)]
mod arbitrary;
mod batch;
mod bytes;
mod counted;
mod decode;
mod encode;
mod expression;
mod foreign;
mod learned;
mod leftover;
mod lower;
mod owned;
mod raise;
mod read;
mod set;
mod socket;
#[cfg(test)]
mod tests;
mod timed;
pub(crate) mod wire;

pub use counted::{Counted, counted};
pub use foreign::{Drops, ForeignChain, Passing, dropping, foreign};
pub use learned::{Learned, learned};
pub use leftover::{Former, Leftover, leftovers, take_away};
pub use owned::{Hold, OWNED, Owned, OwnedError};
pub use timed::Timed;

use std::collections::BTreeSet;
use std::io;

use nix::errno::Errno;
use plan::nft::{Key, Row, TableFamily};
use plan::{Changes, Failure, Mechanism, ObserveError, Put, Table};

use batch::{Batch, Operation, Todo};
use encode::Named;
use socket::{Refusal, Socket};

/// How often a read is tried again because others changed the ruleset meanwhile.
const READS: usize = 20;

/// The nftables tables named `seaway` of one network namespace.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
    /// That of the ruleset after the last read or write here. Every transaction of anyone changes it;
    /// `None` when one may have come between.
    generation: Option<u32>,
}

/// What nf_tables refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// nf_tables could not be reached.
    #[error("open a netlink socket to nf_tables (does the kernel have CONFIG_NF_TABLES?)")]
    Open(#[source] io::Error),
    /// A transaction was not carried out, for a reason that no row has.
    #[error("commit an nftables transaction")]
    Commit(#[source] io::Error),
    /// The kernel has no expressions for a row.
    #[error("{0}")]
    Inexpressible(String),
    /// The kernel refused one rule of a chain.
    #[error("rule {rule}")]
    Rule {
        /// The rule, in nft's notation.
        rule: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl Nft {
    /// Opens nf_tables in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Open`] when the kernel has no nf_tables.
    pub fn open() -> Result<Self, Error> {
        Ok(Nft { socket: Socket::open().map_err(Error::Open)?, generation: None })
    }

    /// Reads both tables at one generation of the ruleset.
    fn read(&mut self) -> io::Result<Table<Key, Row>> {
        self.generation = None;
        let mut generation = self.socket.generation()?;
        for _ in 0..READS {
            let mut rows = Table::default();
            for family in [TableFamily::Inet, TableFamily::Bridge] {
                decode::read_table(&mut self.socket, family, &mut rows)?;
            }
            let now = self.socket.generation()?;
            if now == generation {
                self.generation = Some(generation);
                return Ok(rows);
            }
            generation = now;
        }
        Err(io::Error::other(format!("the ruleset changed during each of {READS} reads")))
    }

    /// Carries `todo` out, and names the rows that could not be.
    fn carry_out(&mut self, mut todo: Todo<'_>, changes: &Changes<Key, Row>) -> Vec<Failure<Key>> {
        let mut failures = Vec::new();
        let mut precise = false;
        while !todo.is_empty() {
            let batch = Batch::new(&todo, Named::PLANNED, precise);
            let refusals = match self.socket.commit(batch.bytes()) {
                Ok(refusals) if refusals.is_empty() => break,
                Ok(refusals) => refusals,
                Err(cause) => {
                    failures.extend(all_failed(&todo, &cause));
                    break;
                }
            };
            if !precise {
                precise = true;
                continue;
            }
            let (gone, refused) = sort(&batch, &refusals);
            if gone.is_empty() && refused.is_empty() {
                failures.extend(all_failed(&todo, &refusals[0].errno.into()));
                break;
            }
            let skip: BTreeSet<_> =
                refused.iter().filter_map(|(operation, _)| operation.key).collect();
            failures.extend(first_of_each(&refused, changes));
            todo.gone(&gone);
            todo.skip(&skip);
        }
        failures
    }
}

impl Mechanism for Nft {
    type Key = Key;
    type Row = Row;

    fn observe(&mut self) -> Result<Table<Key, Row>, ObserveError> {
        self.read().map_err(|cause| ObserveError {
            attempt: "list the nftables tables named seaway".to_owned(),
            cause: hint(cause),
        })
    }

    fn stands(&mut self) -> bool {
        self.generation.is_some() && self.socket.generation().ok() == self.generation
    }

    /// One transaction, and one before it for new chains that others lead to. When one is refused,
    /// the rows that were refused are left out of the next.
    ///
    /// A table in which a set's declaration or a chain's hook changes is made anew, in the same
    /// transaction: the kernel can't change either while rules use them.
    fn apply(&mut self, changes: &Changes<Key, Row>) -> Vec<Failure<Key>> {
        let anew = made_anew(changes);
        if anew.is_empty() {
            let first = ahead(changes);
            let none = BTreeSet::new;
            let mut failures = match first.is_empty() {
                true => Vec::new(),
                false => self.write(changes, |key| first.contains(key), none()),
            };
            failures.extend(self.write(changes, |key| !first.contains(key), none()));
            return failures;
        }
        let mut want = match self.read() {
            Ok(have) => have,
            Err(cause) => return all_failed(&Todo::new(changes).0, &cause),
        };
        want.patch(changes);
        let mut all = Changes { puts: changes.puts.clone(), deletes: changes.deletes.clone() };
        all.deletes.retain(|key| !anew.contains(&encode::family(key)));
        for (key, row) in want.iter().filter(|(key, _)| anew.contains(&encode::family(key))) {
            all.puts.insert(key.clone(), Put { row: row.clone(), old: None });
        }
        self.write(&all, |_| true, anew)
    }
}

impl Nft {
    /// Writes the `part` of `changes` in one transaction.
    fn write(
        &mut self,
        changes: &Changes<Key, Row>,
        part: impl Fn(&Key) -> bool,
        resets: BTreeSet<TableFamily>,
    ) -> Vec<Failure<Key>> {
        let (todo, refused) = Todo::of(changes, part);
        let mut failures: Vec<_> = refused
            .into_iter()
            .map(|(key, why)| Failure {
                key: key.clone(),
                attempt: attempt(key, changes),
                cause: Error::Inexpressible(why.0).into(),
            })
            .collect();
        let before = self.generation.take();
        failures.extend(self.carry_out(Todo { resets, ..todo }, changes));
        // One transaction was carried out, if any, and it was this one if the number is the next.
        let now = self.socket.generation().ok();
        let own = |before: u32| now.is_some_and(|now| now.wrapping_sub(before) <= 1);
        self.generation = now.filter(|_| failures.is_empty() && before.is_some_and(own));
        failures
    }
}

/// Families whose tables can't be changed where they stand.
fn made_anew(changes: &Changes<Key, Row>) -> BTreeSet<TableFamily> {
    let differs = |put: &Put<Row>| match (&put.old, &put.row) {
        (Some(Row::Set(old)), Row::Set(new)) => old != new,
        (Some(Row::Chain(old)), Row::Chain(new)) => old.hook != new.hook,
        (Some(_) | None, _) => false,
    };
    let changed = changes.puts.iter().filter(|(_, put)| differs(put));
    changed.map(|(key, _)| encode::family(key)).collect()
}

/// What of `changes` is written one transaction before the rest: new chains that others lead to, with the
/// new sets that they look into.
///
/// A packet reads rules of the generation in which it began and elements of the newest: one that is under
/// way during a transaction may be led by a new element to a new chain, and finds that empty. One
/// transaction later the chain has its rules in both generations.
fn ahead(changes: &Changes<Key, Row>) -> BTreeSet<&Key> {
    let is_new = |key: &Key| changes.puts.get(key).is_some_and(|put| put.old.is_none());
    let stands = |key: &Key| !is_new(&Key::Table(encode::family(key)));
    let of_kind = |kind: fn(&Row) -> bool| {
        let puts = changes.puts.iter().filter(move |(_, put)| kind(&put.row));
        puts.map(|(key, _)| key).filter(|key| is_new(key) && stands(key))
    };
    let mut first: BTreeSet<_> =
        of_kind(|row| matches!(row, Row::Chain(chain) if chain.hook.is_none())).collect();
    if !first.is_empty() {
        first.extend(of_kind(|row| matches!(row, Row::Set(_))));
    }
    first
}

/// Tells operations that found their object gone already from those that were refused.
///
/// Once a jump closes a loop or makes calls too deep, the kernel refuses every operation after it,
/// too: only the first of those counts.
fn sort<'a>(
    batch: &Batch<'a>,
    refusals: &[Refusal],
) -> (BTreeSet<&'a Key>, Vec<(Operation<'a>, Errno)>) {
    let (mut gone, mut refused) = (BTreeSet::new(), Vec::new());
    let mut invalid = false;
    for refusal in refusals {
        let Some(operation) = batch.operation_of(refusal.seq) else { continue };
        let is_invalid = matches!(refusal.errno, Errno::ELOOP | Errno::EMLINK);
        match operation.key {
            Some(key) if operation.removes && refusal.errno == Errno::ENOENT => {
                gone.insert(key);
            }
            Some(_) if is_invalid && invalid => {}
            Some(_) => refused.push((operation, refusal.errno)),
            None => {}
        }
        invalid |= is_invalid;
    }
    (gone, refused)
}

/// One failure for each row, from its first refusal.
fn first_of_each(
    refused: &[(Operation<'_>, Errno)],
    changes: &Changes<Key, Row>,
) -> Vec<Failure<Key>> {
    let mut seen = BTreeSet::new();
    let first = refused.iter().filter(|(operation, _)| seen.insert(operation.key));
    first.filter_map(|(operation, errno)| failure(*operation, *errno, changes)).collect()
}

fn failure(
    operation: Operation<'_>,
    errno: Errno,
    changes: &Changes<Key, Row>,
) -> Option<Failure<Key>> {
    let key = operation.key?;
    let cause = io::Error::from(errno);
    let rule = match (changes.puts.get(key).map(|put| &put.row), operation.rule) {
        (Some(Row::Chain(chain)), Some(at)) => chain.rules.get(at).map(ToString::to_string),
        (Some(_) | None, _) => None,
    };
    let cause = match rule {
        Some(rule) => Error::Rule { rule, cause }.into(),
        None => cause.into(),
    };
    Some(Failure { key: key.clone(), attempt: attempt(key, changes), cause })
}

/// Every row of `todo` failed for one reason.
fn all_failed(todo: &Todo<'_>, cause: &io::Error) -> Vec<Failure<Key>> {
    let again = || match cause.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(cause.kind(), cause.to_string()),
    };
    let puts = todo.tables.iter().copied();
    let puts = puts.chain(todo.sets.iter().map(|(key, _)| *key));
    let puts = puts.chain(todo.chains.iter().map(|(key, ..)| *key));
    let puts = puts.chain(todo.elements.iter().map(|element| element.key));
    let puts = puts.map(|key| (key, format!("put {key}")));
    let deletes = todo.deletes.iter().map(|key| (*key, format!("delete {key}")));
    let all = puts.chain(deletes);
    all.map(|(key, attempt)| Failure {
        key: key.clone(),
        attempt,
        cause: Error::Commit(again()).into(),
    })
    .collect()
}

fn attempt(key: &Key, changes: &Changes<Key, Row>) -> String {
    match changes.puts.get(key).map(|put| &put.row) {
        None => format!("delete {key}"),
        Some(Row::Table | Row::Chain(_) | Row::Element(None)) => format!("put {key}"),
        Some(row @ (Row::Set(_) | Row::Element(Some(_)))) => format!("put {key} {row}"),
    }
}

/// What a kernel without nf_tables answers is told as such.
fn hint(cause: io::Error) -> Box<dyn std::error::Error + Send + Sync> {
    let absent = [Errno::EINVAL, Errno::EOPNOTSUPP, Errno::EPROTONOSUPPORT];
    match cause.raw_os_error().map(Errno::from_raw) {
        Some(errno) if absent.contains(&errno) => Error::Open(cause).into(),
        Some(_) | None => cause.into(),
    }
}

/// `NFPROTO_` of a family.
fn nfproto(family: TableFamily) -> u8 {
    match family {
        TableFamily::Inet => 1,
        TableFamily::Bridge => 7,
    }
}
