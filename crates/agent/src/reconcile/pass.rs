//! One pass over all steps.

use std::time::Instant;

use model::{AttachmentKey, Generation};
use plan::Plan;

use super::report::{FailureRow, Report};
use super::stage::{Reach, Stage};
use crate::sources::Disturbance;

/// All steps of a node, in their order: what a row stands on comes before it.
pub(crate) struct Steps(Vec<Box<dyn Stage>>);

impl Steps {
    /// These steps, in this order.
    pub(crate) fn new(steps: Vec<Box<dyn Stage>>) -> Self {
        Steps(steps)
    }

    /// Their names, in order.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|step| step.name()).collect()
    }

    /// Brings every place to `plan` as far as it reaches: writes run forwards, removals backwards, so nothing is removed
    /// while something else still stands on it. A step that fails stops no other.
    pub(crate) fn pass(&mut self, plan: &Plan, reach: Reach, generation: Generation) -> Report {
        let start = Instant::now();
        let mut shaken = false;
        for step in &mut self.0 {
            if shaken {
                step.mark_stale();
            }
            shaken |= step.put(plan, reach);
        }
        for step in self.0.iter_mut().rev() {
            step.delete();
        }
        let steps = self.0.iter_mut().map(|step| step.report()).collect();
        Report { generation, steps, took: start.elapsed() }
    }

    /// Removes the links of `keys` and leaves everything else alone: for a time when it is not known
    /// yet what else should be there. Returns what failed.
    pub(crate) fn detach(&mut self, keys: &[AttachmentKey]) -> Vec<FailureRow> {
        for step in &mut self.0 {
            step.detach(keys);
        }
        self.0.iter_mut().flat_map(|step| step.report().failures).collect()
    }

    /// Has every place read before the next diff.
    pub(crate) fn mark_all_stale(&mut self) {
        self.0.iter_mut().for_each(|step| step.mark_stale());
    }

    /// Has what somebody else wrote to read before the next diff.
    pub(crate) fn mark_disturbed(&mut self, disturbed: &Disturbance) {
        for step in &mut self.0 {
            step.mark_doubtful(&disturbed.pod_links);
            if disturbed.places.contains(step.name()) {
                step.mark_stale();
            }
        }
    }

    /// Has the places read where something failed.
    pub(crate) fn mark_stale_after_failure(&mut self) {
        self.0.iter_mut().for_each(|step| step.mark_stale_after_failure());
    }

    /// Whether a step wants another pass soon, whatever happens.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.0.iter().any(|step| step.is_unsettled())
    }

    /// Everything the places hold, read now.
    ///
    /// # Errors
    /// The first place that could not be read, as one line.
    pub(crate) fn read(&mut self) -> Result<Plan, String> {
        let mut have = Plan::default();
        self.0.iter_mut().try_for_each(|step| step.read(&mut have))?;
        self.0.iter_mut().for_each(|step| step.note(&have));
        Ok(have)
    }

    /// What the step called `name` is known to hold; `None` when there is no such step.
    pub(crate) fn dump(&self, name: &str) -> Option<String> {
        self.0.iter().find(|step| step.name() == name).map(|step| step.dump())
    }
}
