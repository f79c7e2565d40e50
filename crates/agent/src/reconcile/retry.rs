//! When the loop looks again without being asked.

use std::time::{Duration, Instant};

use super::flows::SETTLE;

/// First wait after a failure; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(100);

/// Longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(30);

/// Every place is read back about this often, whatever the kernel reported in between.
const READ_BACK: Duration = Duration::from_secs(60);

/// Times of the next retry and of the next reading of every place.
#[derive(Debug)]
pub(super) struct Retry {
    failures: u32,
    again_at: Option<Instant>,
    read_at: Instant,
    /// When a step that is not settled is to look again.
    settle_at: Option<Instant>,
    /// Moves the times of this agent away from those of its neighbors: 0 to 1.
    jitter: f64,
}

impl Retry {
    /// No failure yet, at `now`. `seed` differs between nodes.
    pub(super) fn new(now: Instant, seed: &str) -> Self {
        let jitter = f64::from(crc32fast::hash(seed.as_bytes())) / f64::from(u32::MAX);
        let mut retry =
            Retry { failures: 0, again_at: None, read_at: now, settle_at: None, jitter };
        retry.was_read(now);
        retry
    }

    /// When the loop must wake up at the latest.
    pub(super) fn deadline(&self) -> Instant {
        let sooner = self.again_at.into_iter().chain(self.settle_at);
        sooner.fold(self.read_at, Instant::min)
    }

    /// Whether what failed is to be tried again, now: the pass at hand is then that retry.
    pub(super) fn take_retry(&mut self, now: Instant) -> bool {
        self.again_at.take_if(|at| *at <= now).is_some()
    }

    /// Whether every place is to be read back.
    pub(super) fn is_read_due(&self, now: Instant) -> bool {
        self.read_at <= now
    }

    /// Every place is read in this pass.
    pub(super) fn was_read(&mut self, now: Instant) {
        self.read_at = now + READ_BACK.mul_f64(0.75 + self.jitter / 2.0);
    }

    /// A pass ended. A retry that failed again waits twice as long; a pass for another reason moves
    /// a retry that is due anyway neither closer nor away, even when it takes longer than the wait: only
    /// the retry reads what somebody else may have deleted. What is not settled then is looked at again when
    /// it must be.
    pub(super) fn pass_ended(&mut self, now: Instant, has_failures: bool, is_unsettled: bool) {
        self.settle_at = is_unsettled.then(|| now + SETTLE);
        if !has_failures {
            self.failures = 0;
            self.again_at = None;
        } else if self.again_at.is_none() {
            let wait = (SHORTEST * 2_u32.pow(self.failures.min(10))).min(LONGEST);
            self.failures += 1;
            self.again_at = Some(now + wait.mul_f64(0.75 + self.jitter / 2.0));
        }
    }

    /// What is wanted changed: what failed before may work now.
    pub(super) fn start_over(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_longer_each_time_and_success_starts_over() {
        let start = Instant::now();
        let mut retry = Retry::new(start, "a");
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..12 {
            retry.pass_ended(now, true, false);
            let again = retry.again_at.unwrap();
            waits.push(again - now);
            now = again;
            assert!(retry.take_retry(now) && !retry.take_retry(now), "one retry");
        }
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(waits[0] < Duration::from_millis(130) && waits[11] > Duration::from_secs(22));
        retry.pass_ended(now, false, false);
        assert_eq!(retry.again_at, None);
    }

    #[test]
    fn what_is_not_settled_wakes_the_loop_and_does_not_count_as_a_retry() {
        let start = Instant::now();
        let mut retry = Retry::new(start, "a");
        retry.pass_ended(start, false, true);
        assert_eq!(retry.deadline(), start + SETTLE);
        assert!(!retry.take_retry(start + SETTLE) && !retry.is_read_due(start + SETTLE));
        retry.pass_ended(start + SETTLE, false, false);
        assert!(retry.deadline() > start + Duration::from_secs(40));
    }

    #[test]
    fn a_pass_for_another_reason_does_not_delay_the_retry() {
        let start = Instant::now();
        let mut retry = Retry::new(start, "a");
        retry.pass_ended(start, true, false);
        let due = retry.again_at;
        retry.pass_ended(start + Duration::from_millis(1), true, false);
        assert_eq!(retry.again_at, due);
        // Others have had the loop pass all the while, each time for longer than the wait.
        let late = start + Duration::from_secs(1);
        retry.pass_ended(late, true, false);
        assert!(retry.take_retry(late), "the next pass is the retry");
    }
}
