//! A step as the loop sees it, whatever its place holds.

use std::collections::BTreeSet;

use model::{AttachmentKey, IfName};
use plan::{Plan, Table};

use super::report::StepReport;

/// How much of a place is brought to a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of it.
    All,
    /// What has changed since the first plan that reached so far. The plan follows from old knowledge, and
    /// what the place held then may follow from newer: it stays. Where there was nothing, all of it.
    Changes,
}

/// A step, whatever its place holds. What is about rows has nothing to do where a step holds none.
pub(crate) trait Stage: Send {
    /// Its name, as in reports and `seaway dump`.
    fn name(&self) -> &'static str;
    /// Writes what `plan` has and the place has not, and removes nothing yet, unless the place
    /// changes in one transaction. Returns whether that may have taken rows of later steps along.
    fn put(&mut self, plan: &Plan, reach: Reach) -> bool;
    /// Removes what the last [`Stage::put`] found too much.
    fn delete(&mut self) {}
    /// Removes the links of `keys` and nothing else, whatever the place holds.
    fn detach(&mut self, _keys: &[AttachmentKey]) {}
    /// Takes the report of the pass.
    fn report(&mut self) -> StepReport;
    /// Has the place read before the next diff.
    fn mark_stale(&mut self) {}
    /// Has the rows of these links read before the next diff, if the place is the one that holds them.
    fn mark_doubtful(&mut self, _links: &BTreeSet<IfName>) {}
    /// Whether what was written may still be undone by a packet on its way, so that the step wants
    /// another pass soon.
    fn is_unsettled(&self) -> bool {
        false
    }
    /// As [`Stage::mark_stale`], when the last reading or the last write of a row failed.
    fn mark_stale_after_failure(&mut self) {}
    /// Puts everything the place holds, read now, into its table of `have`.
    ///
    /// # Errors
    /// Why the place could not be read, as one line.
    fn read(&mut self, _have: &mut Plan) -> Result<(), String> {
        Ok(())
    }
    /// Takes note of what all places have, as far as that matters to what is done here.
    fn note(&mut self, _have: &Plan) {}
    /// What the place is known to hold, a line per row.
    fn dump(&self) -> String;
}

/// The place's table in a plan, to read and to write.
#[derive(Debug)]
pub(crate) struct InPlan<K: Ord, R> {
    /// To read.
    pub(crate) get: fn(&Plan) -> &Table<K, R>,
    /// To write.
    pub(crate) get_mut: fn(&mut Plan) -> &mut Table<K, R>,
}

/// The table of a plan that stands in the field `$field`.
macro_rules! table {
    ($field:ident) => {
        $crate::reconcile::InPlan { get: |plan| &plan.$field, get_mut: |plan| &mut plan.$field }
    };
}

pub(crate) use table;
