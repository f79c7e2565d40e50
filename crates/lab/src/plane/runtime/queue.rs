//! The keys that a controller has to look at: now, later, or again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::Failure;

/// Pause before the first retry; it doubles with every further failure.
const FIRST: SignedDuration = SignedDuration::from_millis(10);

/// The longest pause between two retries.
const LONGEST: SignedDuration = SignedDuration::from_secs(30);

/// Keys of one controller.
///
/// A key waits at one place only: it is ready, or has a time, or is in somebody's hands. What is put in
/// while it is in hands is looked at again when it comes back.
#[derive(Default)]
pub(super) struct Queue {
    /// By rank, highest first, then by arrival.
    ready: BTreeMap<(i64, u64), Arc<str>>,
    /// Place of each key in `ready`.
    places: HashMap<Arc<str>, (i64, u64)>,
    /// Keys whose time is to come, and that time by key.
    later: BTreeSet<(Timestamp, Arc<str>)>,
    times: HashMap<Arc<str>, (Timestamp, i64)>,
    /// Keys that are out, with the rank they are wanted again at.
    out: HashMap<Arc<str>, Option<i64>>,
    /// How often each key failed in a row, and why the last time.
    failures: HashMap<Arc<str>, (u32, Option<Failure>)>,
    arrivals: u64,
}

/// How a plan ended.
#[derive(Debug)]
pub(super) enum End {
    /// All is written, or there was nothing to write.
    Done,
    /// Somebody was faster: the newest state decides again.
    Overtaken,
    /// A write failed.
    Failed(Failure),
}

impl Queue {
    /// `key` is to be looked at as soon as possible.
    pub(super) fn add(&mut self, key: Arc<str>, rank: i64) {
        if let Some(again) = self.out.get_mut(&key) {
            *again = Some(again.map_or(rank, |other| other.max(rank)));
            return;
        }
        if let Some((time, _)) = self.times.remove(&key) {
            self.later.remove(&(time, key.clone()));
        }
        if let Some(place) = self.places.get(&key) {
            if place.0 <= -rank {
                return;
            }
            self.ready.remove(place);
        }
        self.arrivals += 1;
        let place = (-rank, self.arrivals);
        self.places.insert(key.clone(), place);
        self.ready.insert(place, key);
    }

    /// `key` is to be looked at when it is `time`, if not before.
    pub(super) fn add_at(&mut self, key: Arc<str>, rank: i64, time: Timestamp) {
        if self.places.contains_key(&key) {
            return;
        }
        if let Some((other, _)) = self.times.get(&key).copied() {
            if other <= time {
                return;
            }
            self.later.remove(&(other, key.clone()));
        }
        self.times.insert(key.clone(), (time, rank));
        self.later.insert((time, key));
    }

    /// The next key to look at `now`. It is out until [`Queue::back`].
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Arc<str>> {
        while let Some((_, key)) = self.later.first().filter(|(time, _)| *time <= now).cloned() {
            let rank = self.times.get(&key).map_or(0, |(_, rank)| *rank);
            if self.out.contains_key(&key) {
                self.times.remove(&key);
                self.later.pop_first();
            }
            self.add(key, rank);
        }
        let (_, key) = self.ready.pop_first()?;
        self.places.remove(&key);
        self.out.insert(key.clone(), None);
        Some(key)
    }

    /// When the next key will be ready, if none is.
    pub(super) fn next_time(&self) -> Option<Timestamp> {
        self.later.first().map(|(time, _)| *time)
    }

    /// What failed last for a key that is out.
    pub(super) fn failure(&self, key: &str) -> Option<&Failure> {
        self.failures.get(key)?.1.as_ref()
    }

    /// A key comes back. One whose plan was not carried out is looked at again after a pause, even if it
    /// changed while it was out: what keeps failing must not keep the machine busy.
    pub(super) fn back(&mut self, key: Arc<str>, end: End, now: Timestamp) {
        let again = self.out.remove(&key).flatten();
        let failure = match end {
            End::Done => {
                self.failures.remove(&key);
                if let Some(rank) = again {
                    self.add(key, rank);
                }
                return;
            }
            End::Overtaken => None,
            End::Failed(failure) => Some(failure),
        };
        let times = self.failures.get(&key).map_or(0, |(times, _)| *times);
        self.failures.insert(key.clone(), (times + 1, failure));
        let pause = FIRST * 2i32.pow(times.min(12));
        self.add_at(key, again.unwrap_or(0), now + pause.min(LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tried;
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    fn next(queue: &mut Queue, millis: i64) -> String {
        queue.next(at(millis)).map_or("-".to_owned(), |key| key.to_string())
    }

    #[test]
    fn a_key_is_out_once_and_comes_again_if_it_changed_meanwhile() {
        let mut queue = Queue::default();
        for key in ["a", "b", "a"] {
            queue.add(key.into(), 0);
        }
        assert_eq!(next(&mut queue, 0), "a");
        queue.add("a".into(), 0);
        assert_eq!(next(&mut queue, 0), "b");
        assert_eq!(next(&mut queue, 0), "-");
        queue.back("a".into(), End::Done, at(0));
        queue.back("b".into(), End::Done, at(0));
        assert_eq!(next(&mut queue, 0), "a");
        assert_eq!(next(&mut queue, 0), "-");
    }

    #[test]
    fn rank_goes_before_arrival_and_a_time_before_neither() {
        let mut queue = Queue::default();
        queue.add("low".into(), -5);
        queue.add("first".into(), 0);
        queue.add("high".into(), 5);
        queue.add("second".into(), 0);
        queue.add_at("timed".into(), 0, at(10));
        queue.add_at("timed".into(), 0, at(20));
        for expect in ["high", "first", "second", "low", "-"] {
            assert_eq!(next(&mut queue, 9), expect);
        }
        assert_eq!(queue.next_time(), Some(at(10)));
        assert_eq!(next(&mut queue, 10), "timed");
    }

    #[test]
    fn what_fails_pauses_longer_and_longer_and_keeps_its_reason() {
        let mut queue = Queue::default();
        let failure = Failure { tried: Tried::Create, message: "no".to_owned() };
        queue.add("a".into(), 0);
        let mut now = 0;
        for pause in [10, 20, 40] {
            assert_eq!(next(&mut queue, now), "a");
            queue.add("a".into(), 0);
            queue.back("a".into(), End::Failed(failure.clone()), at(now));
            assert_eq!(queue.next_time(), Some(at(now + pause)));
            now += pause;
        }
        assert_eq!(next(&mut queue, now), "a");
        assert_eq!(queue.failure("a"), Some(&failure));
        queue.back("a".into(), End::Done, at(now));
        assert_eq!(queue.failure("a"), None);
        assert_eq!(queue.next_time(), None);
    }
}
