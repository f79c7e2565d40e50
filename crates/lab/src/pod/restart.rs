//! When a container that has ended is started again.
//!
//! Source: kubelet `doBackOff`, `flowcontrol.Backoff`; Pod API `restartPolicy`.

use std::time::{Duration, Instant};

/// Wait before the second restart; each one after it doubles.
const FIRST: Duration = Duration::from_secs(10);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(300);
/// A container that ran this long after its last restart is forgiven.
const FORGIVEN: Duration = Duration::from_secs(600);

/// Pod API `restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Whatever its status.
    Always,
    /// Unless its status is 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl Policy {
    /// As the manifest names it; `Always` is the default.
    pub(crate) fn named(name: Option<&str>) -> Self {
        match name {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// Whether a container that ended with `code` is started again.
    pub(crate) fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// The wait between restarts of one thing: none before the first, then 10 s, 20 s … 5 min.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    last: Option<(Instant, Duration)>,
}

impl Backoff {
    /// When it may start again, having ended at `ended`.
    pub(crate) fn earliest(&self, ended: Instant) -> Instant {
        ended + self.wait(ended).unwrap_or_default()
    }

    /// Takes note that it starts again at `now`, having ended at `ended`.
    pub(crate) fn started(&mut self, ended: Instant, now: Instant) {
        let delay = self.wait(ended).map_or(FIRST, |delay| (delay * 2).min(LONGEST));
        self.last = Some((now, delay));
    }

    fn wait(&self, ended: Instant) -> Option<Duration> {
        let (started, delay) = self.last?;
        (ended.saturating_duration_since(started) < FORGIVEN).then_some(delay)
    }
}

/// A wait as kubelet's messages print it: `40s`, `2m40s`.
///
/// Source: Go `time.Duration.String`.
pub(crate) fn in_words(wait: Duration) -> String {
    match (wait.as_secs() / 60, wait.as_secs() % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_and_the_status_decide_a_restart() {
        for (policy, code, restarts) in [
            ("Always", 0, true),
            ("Always", 1, true),
            ("OnFailure", 0, false),
            ("OnFailure", 137, true),
            ("Never", 0, false),
            ("Never", 1, false),
        ] {
            assert_eq!(Policy::named(Some(policy)).restarts(code), restarts, "{policy} {code}");
        }
        assert_eq!(Policy::named(None), Policy::Always);
    }

    #[test]
    fn restarts_wait_twice_as_long_each_time_up_to_five_minutes() {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let ended = now + Duration::from_secs(1);
            now = backoff.earliest(ended);
            waits.push(now.duration_since(ended).as_secs());
            backoff.started(ended, now);
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_minutes_of_running_forgive_all_earlier_crashes() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        backoff.started(start, start);
        let ended = start + Duration::from_secs(601);
        assert_eq!(backoff.earliest(ended), ended);
    }

    #[test]
    fn waits_are_told_in_minutes_and_seconds() {
        for (seconds, words) in [(10, "10s"), (80, "1m20s"), (300, "5m0s")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
