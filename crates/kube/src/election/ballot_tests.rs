//! Contenders on paper: a Lease, requests that take their time or are lost, clocks that are wrong.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

fn wall(seconds: u64) -> Rfc3339 {
    Rfc3339(Duration::from_secs(seconds))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The Lease, with its `resourceVersion`.
#[derive(Debug, Default)]
struct Lease(RefCell<(Option<Record>, u64)>);

impl Lease {
    fn get(&self) -> (Option<Record>, u64) {
        self.0.borrow().clone()
    }

    /// Whether it was taken.
    fn put(&self, record: Record, version: u64) -> bool {
        let mut now = self.0.borrow_mut();
        let is_current = now.1 == version;
        if is_current {
            *now = (Some(record), version + 1);
        }
        is_current
    }
}

/// Tries once, without any time passing in between; returns whether it leads.
fn attempt(ballot: &mut Ballot, lease: &Lease, now: Instant, clock: Rfc3339) -> bool {
    let (found, version) = lease.get();
    ballot.look(now, found);
    if !ballot.may_take(now) {
        return false;
    }
    let claim = ballot.claim(clock);
    let is_written = lease.put(claim.clone(), version);
    if is_written {
        ballot.won(now, claim);
    }
    is_written
}

#[test]
fn the_first_leads_and_the_second_waits_until_it_is_gone_by_its_own_clock() {
    let (lease, start) = (Lease::default(), Instant::now());
    let (mut a, mut b) = (Ballot::new("a".into()), Ballot::new("b".into()));
    assert!(attempt(&mut a, &lease, start, wall(100)));
    // The second one's wall clock is a day ahead, which means nothing.
    for second in 0..15 {
        assert!(!attempt(&mut b, &lease, start + seconds(second), wall(86_500 + second)));
    }
    assert!(attempt(&mut a, &lease, start + seconds(14), wall(114)), "it has renewed");
    assert!(!attempt(&mut b, &lease, start + seconds(15), wall(86_515)));
    assert!(!attempt(&mut b, &lease, start + seconds(29), wall(86_529)));
    assert!(attempt(&mut b, &lease, start + seconds(30), wall(86_530)));
    assert!(!attempt(&mut a, &lease, start + seconds(30), wall(130)));
    let record = lease.get().0.unwrap();
    assert_eq!((record.transitions, record.acquired), (1, wall(86_530)));
    assert_eq!((a.leader(), b.leader()), (Some("b"), Some("b")));
}

#[test]
fn who_resigns_is_followed_at_once_and_who_does_not_lead_has_nothing_to_resign_from() {
    let (lease, start) = (Lease::default(), Instant::now());
    let (mut a, mut b) = (Ballot::new("a".into()), Ballot::new("b".into()));
    assert!(attempt(&mut a, &lease, start, wall(0)));
    assert_eq!(b.resignation(wall(1)), None);
    let resignation = a.resignation(wall(1)).unwrap();
    assert_eq!((resignation.holder.as_str(), a.until()), ("", None));
    assert!(lease.put(resignation, 1));
    assert!(attempt(&mut b, &lease, start + seconds(1), wall(1)));
    assert_eq!(lease.get().0.unwrap().transitions, 1);
    assert_eq!(a.resignation(wall(2)), None);
}

#[test]
fn a_renewal_keeps_since_when_it_leads() {
    let (lease, start) = (Lease::default(), Instant::now());
    let mut a = Ballot::new("a".into());
    for second in [0, 2, 4] {
        assert!(attempt(&mut a, &lease, start + seconds(second), wall(second)));
    }
    let record = lease.get().0.unwrap();
    assert_eq!((record.acquired, record.renewed, record.transitions), (wall(0), wall(4), 0));
    assert_eq!(a.until(), Some(start + seconds(14)));
}

#[test]
fn who_does_not_hear_that_it_has_won_finds_itself_in_the_lease() {
    let (lease, start) = (Lease::default(), Instant::now());
    let mut a = Ballot::new("a".into());
    assert!(lease.put(a.claim(wall(0)), 0));
    assert_eq!(a.until(), None, "nobody leads who does not know it");
    assert!(attempt(&mut a, &lease, start + seconds(3), wall(3)));
}

#[test]
fn looks_are_rare_in_large_clusters_and_a_leader_that_seems_gone_is_looked_at_when_it_is() {
    let start = Instant::now();
    let mut b = Ballot::new("b".into());
    let usual = seconds(100);
    assert_eq!(b.pause((start, wall(0)), usual, 0.0), usual);
    let record = Ballot::new("a".into()).claim(wall(50));
    b.look(start, Some(record));
    for (now, clock, chance, want) in [
        (0, 50, 0.0, 100_000),
        (0, 50, 1.0, 220_000),
        (0, 64, 0.5, 160_000),
        (0, 65, 0.0, 15_000),
        (10, 75, 0.5, 6_000),
        (20, 85, 0.0, 1_000),
    ] {
        let pause = b.pause((start + seconds(now), wall(clock)), usual, chance);
        assert_eq!(pause.as_millis(), want, "at {now}, by {clock}, {chance}");
    }
    assert_eq!(b.pause((start, wall(65)), seconds(2), 0.0), seconds(2));
}

/// A request of one contender, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Try {
    who: usize,
    /// After the one before of anybody.
    after: u64,
    /// Until the API server has done it; until the answer is there.
    on_the_way: (u64, u64),
    /// Whether the server hears it, and whether the answer comes.
    is_heard: (bool, bool),
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let heard = (prop::bool::weighted(0.8), prop::bool::weighted(0.8));
    let one = (0..3_usize, 0..6_000_u64, (0..4_000_u64, 0..4_000_u64), heard);
    let one =
        one.prop_map(|(who, after, on_the_way, is_heard)| Try { who, after, on_the_way, is_heard });
    prop::collection::vec(one, 1..120)
}

proptest! {
    /// However long requests take, whichever are lost, and whatever the clocks on the walls say.
    #[test]
    fn two_never_lead_at_once(tries in tries(), skews in prop::array::uniform3(0..100_000_u64)) {
        let (lease, start) = (Lease::default(), Instant::now());
        let mut ballots = ["a", "b", "c"].map(|name| Ballot::new(name.into()));
        let mut busy = [start; 3];
        let mut led: Vec<(usize, Instant, Instant)> = Vec::new();
        let mut now = start;
        for Try { who, after, on_the_way, is_heard } in tries {
            now += Duration::from_millis(after);
            // Each waits for its own answer. What is done at the server is done in the order of its arrival,
            // which this keeps to by letting time go on.
            let began = now.max(busy[who]);
            let clock = Rfc3339(Duration::from_millis(skews[who]) + (began - start));
            let (found, version) = lease.get();
            let ballot = &mut ballots[who];
            ballot.look(began, found);
            if !ballot.may_take(began) {
                continue;
            }
            let claim = ballot.claim(clock);
            now = began + Duration::from_millis(on_the_way.0);
            let is_written = is_heard.0 && lease.put(claim.clone(), version);
            busy[who] = now + Duration::from_millis(on_the_way.1);
            if is_written && is_heard.1 {
                ballot.won(began, claim);
                led.push((who, busy[who], ballot.until().unwrap()));
            }
        }
        for (i, (who, from, until)) in led.iter().enumerate() {
            for (other, others_from, others_until) in &led[i + 1..] {
                let is_apart = others_from >= until || from >= others_until;
                prop_assert!(who == other || is_apart, "{who} and {other}");
            }
        }
    }
}
