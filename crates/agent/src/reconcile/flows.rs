//! What connection tracking remembers of flows, after the rules that began them have changed.
//!
//! Its entries are made by packets and not by us, so this is no place that is made equal to a table: the
//! table says which entries may live, and the others are removed. It comes after nftables in the loop's
//! order: an entry that is removed before its rule is made again by the next packet.
//!
//! - What changed is looked for with one walk for each protocol and family, that the kernel narrows
//!   down to what the change can have put in the wrong.
//! - A packet that the old rules had seen when they went may leave its entry after that walk. So what
//!   was looked for is looked for again a second later.
//! - Until then an entry stays whose first packet waits for its answer: an endpoint that leaves its Service
//!   answers what it was asked, and without the entry nobody would know the answer for one.
//! - Like every place, all of it is looked at from time to time, and at the start: once, by protocol.
//!
//! Which entries are ours: those that begin at a frontend of the table, or at one that was of the
//! table before, or of the rules that the last agent left ([`LeftBehind`]), where these translated it.
//! See docs/decisions/0020.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use compile::flows::LeftBehind;
use kernel::conntrack::{Entries, Error, Walked};
use model::chain;
use plan::{Flow, FlowFilter, FlowKey, Plan, Serving, Suspect, Table, suspects};

use super::report::{FailureRow, StepReport, Subject};
use super::stage::{Reach, Stage};
use crate::observe::Metrics;

/// Longer than a packet is on its way between two hooks of one node.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// Where flows are remembered.
pub(crate) trait Tracking: Send {
    /// Removes the entries of `filter` that are `wrong`.
    fn remove(
        &mut self,
        filter: &FlowFilter,
        wrong: &dyn Fn(&Flow) -> bool,
    ) -> Result<Walked, Error>;
}

impl Tracking for Entries {
    fn remove(
        &mut self,
        filter: &FlowFilter,
        wrong: &dyn Fn(&Flow) -> bool,
    ) -> Result<Walked, Error> {
        Entries::remove(self, filter, wrong)
    }
}

/// The last step: flows that must not live are forgotten.
pub(crate) struct Flows<T> {
    tracking: T,
    metrics: Arc<Metrics>,
    /// The table that all entries agree with, as far as is known; `None` before the first look.
    agreed: Option<Table<FlowKey, Serving>>,
    /// Any entry may be wrong.
    stale: bool,
    left: LeftBehind,
    /// What was looked for less than a while ago, and when.
    settling: Vec<(Instant, BTreeSet<Suspect>)>,
    report: StepReport,
}

const NAME: &str = "flows";

impl<T: Tracking> Flows<T> {
    /// The step, before it has looked at anything.
    pub(crate) fn new(tracking: T, metrics: Arc<Metrics>) -> Self {
        Flows {
            tracking,
            metrics,
            agreed: None,
            stale: true,
            left: LeftBehind::default(),
            settling: Vec::new(),
            report: StepReport { step: NAME, ..StepReport::default() },
        }
    }

    /// Looks at what may be wrong under `want`.
    fn look(&mut self, want: &Table<FlowKey, Serving>) -> Result<(), Error> {
        let new = suspects(self.agreed.as_ref().unwrap_or(&Table::default()), want);
        let new: BTreeSet<Suspect> = new.into_iter().collect();
        let is_due = |(since, _): &(Instant, BTreeSet<Suspect>)| since.elapsed() >= SETTLE;
        let again = self.settling.iter().filter(|batch| is_due(batch)).flat_map(|(_, all)| all);
        let all: Vec<Suspect> = new.iter().chain(again).copied().collect();
        let filters = match self.stale {
            true => FlowFilter::all().collect(),
            false => FlowFilter::covering(&all),
        };
        let gone: BTreeSet<FlowKey> =
            all.iter().map(|suspect| suspect.key).filter(|key| want.get(key).is_none()).collect();
        let waits = |flow: &Flow| {
            let of = |backend| Suspect { key: flow.to, backend };
            let led = flow.is_translated() && !flow.is_answered;
            led && [None, Some(flow.backend)].map(of).iter().any(|one| new.contains(one))
        };
        for filter in filters {
            let (left, start) = (&self.left, Instant::now());
            let is_wrong = |flow: &Flow| match want.get(&flow.to) {
                Some(serving) => !serving.has(&flow.backend),
                None => flow.is_translated() && gone.contains(&flow.to) || left.has(flow),
            };
            let walked = self.tracking.remove(&filter, &|flow| is_wrong(flow) && !waits(flow))?;
            self.metrics.proxy.walked(filter.family, start.elapsed(), walked.removed);
            self.report.deletes += walked.removed;
        }
        self.settling.retain(|batch| !is_due(batch));
        if !new.is_empty() {
            self.settling.push((Instant::now(), new));
        }
        self.stale = false;
        self.left = LeftBehind::default();
        self.agreed = Some(want.clone());
        Ok(())
    }
}

impl<T: Tracking> Stage for Flows<T> {
    fn name(&self) -> &'static str {
        NAME
    }

    /// What fails is looked for by the next pass in any case.
    fn put(&mut self, plan: &Plan, reach: Reach) -> bool {
        // Flows may have begun by newer rules than the plan's. All are looked at once it is known.
        if reach == Reach::Changes {
            return false;
        }
        let start = Instant::now();
        if let Err(error) = self.look(&plan.flows) {
            let text = chain(&error);
            self.report.failures.push(FailureRow { subject: Subject::Others, text });
        }
        self.report.took += start.elapsed();
        false
    }

    fn report(&mut self) -> StepReport {
        let empty = StepReport { step: NAME, ..StepReport::default() };
        std::mem::replace(&mut self.report, empty)
    }

    fn mark_stale(&mut self) {
        self.stale = true;
    }

    fn is_unsettled(&self) -> bool {
        !self.settling.is_empty()
    }

    /// Whose flows the rules are that were there before.
    fn note(&mut self, have: &Plan) {
        if self.agreed.is_none() {
            self.left = LeftBehind::of(&have.nft);
        }
    }

    fn dump(&self) -> String {
        let Some(agreed) = &self.agreed else { return "not read yet\n".to_owned() };
        agreed.iter().map(|(key, serving)| format!("{key} {serving}\n")).collect()
    }
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
