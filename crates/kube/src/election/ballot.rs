//! Who leads, as one contender sees it. No clock of another machine counts: a leader that is not seen to
//! renew for as long as its own record says is none any more.
//!
//! Source: client-go's `tools/leaderelection`.

use std::time::{Duration, Instant};

use model::Rfc3339;

/// How long others leave a leader alone that is not seen to renew.
pub(crate) const DURATION: Duration = Duration::from_secs(15);

/// How long a leader leads after the beginning of its last write. Less than [`DURATION`], which others
/// begin to count when they see that write, or later.
pub(crate) const RENEW_WITHIN: Duration = Duration::from_secs(10);

/// Time between two writes of a leader, and the shortest between two looks of the others.
pub(crate) const RETRY: Duration = Duration::from_secs(2);

/// What the Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Who leads; empty when nobody does.
    pub(crate) holder: String,
    /// How long without a renewal.
    pub(crate) duration: Duration,
    /// Since when, by the leader's clock.
    pub(crate) acquired: Rfc3339,
    /// As of when, by the leader's clock.
    pub(crate) renewed: Rfc3339,
    /// How many leaders there have been before.
    pub(crate) transitions: i32,
}

/// What one contender knows.
#[derive(Debug)]
pub(crate) struct Ballot {
    me: String,
    seen: Option<Seen>,
    /// When the last write began that made, or kept, this contender the leader.
    held: Option<Instant>,
}

/// A record, and since when it is known that it says so.
#[derive(Debug)]
struct Seen {
    record: Record,
    since: Instant,
}

impl Ballot {
    /// Of the contender `me`, which no other is called.
    pub(crate) fn new(me: String) -> Self {
        Ballot { me, seen: None, held: None }
    }

    /// The Lease was `found` to say this after `now`.
    pub(crate) fn look(&mut self, now: Instant, found: Option<Record>) {
        match (found, &self.seen) {
            (Some(record), Some(seen)) if seen.record == record => {}
            (Some(record), _) => self.seen = Some(Seen { record, since: now }),
            (None, _) => self.seen = None,
        }
    }

    /// Whether it may write itself into the Lease, as that was last seen.
    pub(crate) fn may_take(&self, now: Instant) -> bool {
        self.seen.as_ref().is_none_or(|seen| {
            let holder = &seen.record.holder;
            holder.is_empty() || *holder == self.me || now >= seen.until()
        })
    }

    /// What it writes to lead, or to go on leading.
    pub(crate) fn claim(&self, wall: Rfc3339) -> Record {
        let seen = self.seen.as_ref().map(|seen| &seen.record);
        let own = seen.filter(|record| record.holder == self.me);
        Record {
            holder: self.me.clone(),
            duration: DURATION,
            acquired: own.map_or(wall, |record| record.acquired),
            renewed: wall,
            transitions: match (seen, own) {
                (None, _) => 0,
                (Some(_), Some(own)) => own.transitions,
                (Some(before), None) => before.transitions.saturating_add(1),
            },
        }
    }

    /// What it writes when it does not want to lead any more; `None` where it does not.
    pub(crate) fn resignation(&mut self, wall: Rfc3339) -> Option<Record> {
        self.held.take()?;
        let seen = self.seen.as_ref().filter(|seen| seen.record.holder == self.me)?;
        Some(Record {
            holder: String::new(),
            duration: Duration::from_secs(1),
            acquired: wall,
            renewed: wall,
            transitions: seen.record.transitions,
        })
    }

    /// `record`, a claim, was written; that began at `began`.
    pub(crate) fn won(&mut self, began: Instant, record: Record) {
        self.seen = Some(Seen { record, since: began });
        self.held = Some(began);
    }

    /// It leads no more.
    pub(crate) fn lost(&mut self) {
        self.held = None;
    }

    /// Until when it leads, whatever others do; `None` when it does not.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.held.map(|held| held + RENEW_WITHIN)
    }

    /// Who leads as far as is known.
    pub(crate) fn leader(&self) -> Option<&str> {
        let seen = self.seen.as_ref()?;
        Some(&*seen.record.holder).filter(|holder| !holder.is_empty())
    }

    /// How long it waits before it looks again while somebody else leads: `usual` or up to 1.2 times as
    /// long again, by `chance` between 0 and 1; but no longer than it takes to find out whether a leader is
    /// gone that seems to be so by this machine's clock, which only says when to look.
    pub(crate) fn pause(
        &self,
        (now, wall): (Instant, Rfc3339),
        usual: Duration,
        chance: f64,
    ) -> Duration {
        let usual = usual + usual.mul_f64(1.2 * chance);
        let Some(seen) = &self.seen else { return usual };
        if wall.0 < seen.record.renewed.0 + seen.record.duration {
            return usual;
        }
        let gone = seen.until().saturating_duration_since(now) + RETRY.mul_f64(chance);
        usual.min(gone.max(RETRY / 2))
    }
}

impl Seen {
    /// When the leader is gone unless it is seen to renew.
    fn until(&self) -> Instant {
        self.since + self.record.duration
    }
}

#[cfg(test)]
#[path = "ballot_tests.rs"]
mod tests;
