//! Durations of one kind of operation.

use std::time::Duration;

/// Durations, in the order they were measured.
#[derive(Default)]
pub(super) struct Samples(pub(super) Vec<Duration>);

impl Samples {
    /// The duration, in milliseconds, that `share` of all are not above; 0 when there is none.
    pub(super) fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        let last = sorted.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 ≤ share ≤ 1"
        )]
        #[expect(clippy::cast_precision_loss, reason = "a few hundred samples")]
        let index = (last as f64 * share).round() as usize;
        sorted.get(index).map_or(0.0, Duration::as_secs_f64) * 1000.0
    }
}
