//! Since when the kernel is behind what the cluster asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What was asked for and is not in the kernel yet.
///
/// It is noted outside of the loop, so that a loop that hangs is found out.
#[derive(Debug, Default, Clone)]
pub(crate) struct Due(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// The oldest change that the loop has not looked at.
    queued: Option<Instant>,
    /// The oldest change that it has, without a pass that brought it into the kernel.
    taken: Option<Instant>,
}

impl Due {
    /// Something new was asked for at `now`.
    pub(crate) fn queue(&self, now: Instant) {
        self.lock().queued.get_or_insert(now);
    }

    /// The loop is about to look at everything that was asked for so far.
    pub(crate) fn take(&self) {
        let mut waiting = self.lock();
        let queued = waiting.queued.take();
        waiting.taken = waiting.taken.or(queued);
    }

    /// A pass ended at `now`; with `is_done` everything that was taken is in the kernel.
    pub(crate) fn pass_ended(&self, is_done: bool, now: Instant) {
        let mut waiting = self.lock();
        waiting.taken = if is_done { None } else { waiting.taken.or(Some(now)) };
    }

    /// Since when the kernel is behind; `None` when it is not.
    pub(crate) fn since(&self) -> Option<Instant> {
        let waiting = self.lock();
        waiting.taken.or(waiting.queued)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_kernel_is_behind_since_the_oldest_change_that_no_pass_has_brought_there() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let due = Due::default();
        assert_eq!(due.since(), None);
        due.queue(at(1));
        due.queue(at(2));
        assert_eq!(due.since(), Some(at(1)), "the loop does not look");
        due.take();
        due.queue(at(3));
        assert_eq!(due.since(), Some(at(1)));
        due.pass_ended(true, at(4));
        assert_eq!(due.since(), Some(at(3)), "what came during the pass is not in it");
        due.take();
        due.pass_ended(false, at(5));
        due.queue(at(6));
        due.take();
        due.pass_ended(false, at(7));
        assert_eq!(due.since(), Some(at(3)));
        due.pass_ended(true, at(8));
        assert_eq!(due.since(), None);
        due.pass_ended(false, at(9));
        assert_eq!(due.since(), Some(at(9)), "a pass that nobody asked for fails, too");
    }
}
