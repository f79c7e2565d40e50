//! Probes: one task for each probe of each run of a container, which tells the pod's worker when its
//! answer has changed.
//!
//! A container without a startup probe has started when it runs; the others are silent until then.
//! Readiness is false until its probe has succeeded, liveness is true until it has failed.
//!
//! Source: kubelet `prober/worker.go`, `prober/prober.go`; Pod API `Probe`.

mod check;
mod grpc;
mod http;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Probe};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, MissedTickBehavior};

pub(crate) use check::{Outcome, Target, check, ports};
pub(crate) use http::{Get, get};

use super::worker::News;
use crate::events::{Events, Kind as Matters};

/// How often a probe that could not be tried at all is tried again before that is told.
const TRIES: u32 = 3;

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whether the container is ready.
    Readiness,
    /// Whether it goes on.
    Liveness,
    /// Whether it has started.
    Startup,
}

impl Kind {
    /// As events name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
            Self::Startup => "Startup",
        }
    }
}

/// What a probe has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Which probe.
    pub kind: Kind,
    /// Its answer from now on.
    pub ok: bool,
}

/// The probes of one run: what they are tried on, and whom they tell.
#[derive(Clone)]
pub(crate) struct Probing {
    /// What they ask.
    pub target: Target,
    /// Id of the run.
    pub run: String,
    /// When it started.
    pub since: Instant,
    /// The pod and the name of its container, for events.
    pub of: (Arc<Pod>, String),
    /// Where events are told.
    pub events: Events,
    /// Where answers are told.
    pub news: UnboundedSender<News>,
}

impl Probing {
    /// Asks `probe` again and again. A startup probe and a failed liveness probe have said all they
    /// had to say: then this ends.
    pub(crate) async fn run(self, kind: Kind, probe: Probe) {
        let seconds = |value: Option<i32>, default: u64| {
            value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default)
        };
        let delay = Duration::from_secs(seconds(probe.initial_delay_seconds, 0));
        tokio::time::sleep_until(self.since + delay).await;
        let period = Duration::from_secs(seconds(probe.period_seconds, 10).max(1));
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut row = Row::of(&probe);
        let mut last = None;
        loop {
            ticks.tick().await;
            let Some(ok) = self.ask(kind, &probe).await else { continue };
            if !row.adds(ok) || last == Some(ok) {
                continue;
            }
            last = Some(ok);
            let is_last = kind == Kind::Startup || (kind == Kind::Liveness && !ok);
            let told = self.news.send(News::Probed(self.run.clone(), Answer { kind, ok }));
            if told.is_err() || is_last {
                return;
            }
        }
    }

    /// One try; `None` if it could not be made, which counts neither way.
    async fn ask(&self, kind: Kind, probe: &Probe) -> Option<bool> {
        let mut outcome = check(&self.target, probe).await;
        for _ in 1..TRIES {
            if !matches!(outcome, Outcome::Impossible(_)) {
                break;
            }
            outcome = check(&self.target, probe).await;
        }
        let name = kind.name();
        let (ok, reason, message) = match outcome {
            Outcome::Success => return Some(true),
            Outcome::Warning(said) => {
                (Some(true), "ProbeWarning", format!("{name} probe warning: {said}"))
            }
            Outcome::Failure(said) => {
                (Some(false), "Unhealthy", format!("{name} probe failed: {said}"))
            }
            Outcome::Impossible(why) => {
                let said = "probe errored and resulted in unknown state";
                (None, "Unhealthy", format!("{name} {said}: {why}"))
            }
        };
        let (pod, container) = &self.of;
        self.events.tell(pod, Some(container), Matters::Warning, reason, message);
        ok
    }
}

/// How often in a row a probe has had the same outcome.
struct Row {
    successes: u32,
    failures: u32,
    last: Option<bool>,
    length: u32,
}

impl Row {
    fn of(probe: &Probe) -> Self {
        let threshold = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default).max(1)
        };
        Self {
            successes: threshold(probe.success_threshold, 1),
            failures: threshold(probe.failure_threshold, 3),
            last: None,
            length: 0,
        }
    }

    /// Whether the row, with one more, is long enough to count.
    fn adds(&mut self, ok: bool) -> bool {
        self.length = if self.last == Some(ok) { self.length.saturating_add(1) } else { 1 };
        self.last = Some(ok);
        self.length >= if ok { self.successes } else { self.failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_decide_when_a_row_counts() {
        let cases = [
            ("defaults", None, None, "+ - - - + -", "+..-+."),
            ("a success more", Some(2), Some(1), "+ + + - + +", ".++-.+"),
            ("failures are counted anew", Some(1), Some(2), "- + - - - +", ".+.--+"),
            ("nonsense counts as one", Some(0), Some(-1), "+ -", "+."),
        ];
        for (claim, success, failure, outcomes, counted) in cases {
            let probe = Probe {
                success_threshold: success,
                failure_threshold: failure,
                ..Probe::default()
            };
            let mut row = Row::of(&probe);
            let shown: String = outcomes
                .split(' ')
                .map(|outcome| match (row.adds(outcome == "+"), outcome) {
                    (true, outcome) => outcome.to_owned(),
                    (false, _) => ".".to_owned(),
                })
                .collect();
            assert_eq!(shown, counted, "{claim}");
        }
    }
}
