//! The contract between a table and the place it describes.
//!
//! `kernel/tests/laws.rs` holds every implementation to the same laws: convergence, least change,
//! empty plan, foreign state, any prefix.

use std::error::Error;

use crate::{Changes, Table, diff};

/// One kind of place that can be read back and written row by row.
pub trait Mechanism {
    /// What identifies a row.
    type Key: Ord + Clone;
    /// What the place holds under a key.
    type Row: Eq + Clone;

    /// Everything here that is Seaway's, from the place itself and never from memory.
    ///
    /// # Errors
    /// When the place could not be read; nothing is known about it then.
    fn observe(&mut self) -> Result<Table<Self::Key, Self::Row>, ObserveError>;

    /// Whether the place certainly holds what it held after the last [`Mechanism::observe`] or
    /// [`Mechanism::apply`], so that reading it would tell nothing new. `false` when in doubt.
    fn stands(&mut self) -> bool {
        false
    }

    /// Writes the puts in the order of their keys, then the deletes in reverse order.
    ///
    /// A row that cannot be written does not stop the others: each failure names its row. Putting
    /// what is there and deleting what is gone succeed, so a pass that was cut short can be run again.
    fn apply(&mut self, changes: &Changes<Self::Key, Self::Row>) -> Vec<Failure<Self::Key>>;
}

/// A place could not be read.
#[derive(Debug)]
pub struct ObserveError {
    /// What was attempted, like `list routes`.
    pub attempt: String,
    /// Why it failed.
    pub cause: Box<dyn Error + Send + Sync>,
}

impl std::fmt::Display for ObserveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.attempt)
    }
}

impl Error for ObserveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

/// A row that could not be written.
#[derive(Debug)]
pub struct Failure<K> {
    /// Its key.
    pub key: K,
    /// What was attempted, in the place's own notation, like `put route 10.1.0.0/24 via 192.0.2.7`.
    pub attempt: String,
    /// Why it failed.
    pub cause: Box<dyn Error + Send + Sync>,
}

/// Brings one place to `want` and says what that took. Newest state against newest plan, never an
/// event, so a lost, doubled or reordered event costs a pass and not correctness.
///
/// # Errors
/// When the place could not be read. Rows that could not be written are in the second value.
#[expect(clippy::type_complexity, reason = "a pair of two named types; a third name hides it")]
pub fn converge<M: Mechanism>(
    place: &mut M,
    want: &Table<M::Key, M::Row>,
) -> Result<(Changes<M::Key, M::Row>, Vec<Failure<M::Key>>), ObserveError> {
    let changes = diff(&place.observe()?, want);
    let failures = if changes.is_empty() { Vec::new() } else { place.apply(&changes) };
    Ok((changes, failures))
}
