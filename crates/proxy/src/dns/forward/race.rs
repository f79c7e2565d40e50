//! One question, several servers: who answers first, in the time that a client waits (DNS-95).

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};
use wire::dns::Rcode;

use super::upstream::Upstream;
use crate::dns::{Found, Sought};

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// After how long the next server is asked as well.
    pub(super) hedge: Duration,
    /// After how long nobody is waited for any more: a client's five seconds are never used up.
    pub(super) total: Duration,
    /// How long a client who could have a stale answer waits for a fresh one.
    pub(super) verify: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            hedge: Duration::from_millis(400),
            total: Duration::from_millis(1800),
            verify: Duration::from_millis(100),
        }
    }
}

/// Asks `upstreams`, the best one first, and the next when one fails or takes its time. The first answer
/// about the name counts; when there is none, the last one that says why; `None` when nobody said
/// anything.
pub(super) async fn ask(
    upstreams: &[Arc<Upstream>],
    sought: &Sought,
    timing: Timing,
) -> Option<Found> {
    let end = Instant::now() + timing.total;
    let mut rest = upstreams.iter();
    let mut asked = FuturesUnordered::new();
    let mut silent: Vec<&Arc<Upstream>> = Vec::new();
    let mut last = None;
    let mut is_next_due = true;
    let mut hedge = end;
    loop {
        if is_next_due && let Some(next) = rest.next() {
            silent.push(next);
            asked.push(async move { (next, next.ask(sought).await) });
            hedge = Instant::now() + timing.hedge;
        }
        is_next_due = true;
        tokio::select! {
            answer = asked.next() => match answer {
                Some((upstream, Ok(found))) => {
                    silent.retain(|other| !Arc::ptr_eq(other, upstream));
                    if matches!(found.rcode, Rcode::NoError | Rcode::NxDomain) {
                        return Some(found);
                    }
                    last = Some(found);
                }
                Some((upstream, Err(error))) => {
                    tracing::debug!("dns: ask {upstream} for {}: {error}", sought.name);
                    upstream.suspect();
                }
                None => return last,
            },
            () = sleep_until(hedge), if hedge < end && !silent.is_empty() => {
                // It may be the question that is hard; the check tells.
                silent.drain(..).for_each(Upstream::suspect);
                hedge = end;
            }
            () = sleep_until(end) => return last,
        }
    }
}
