//! Controller managers, which may give Nodes their pod CIDRs: one that works has had its time, and one that does
//! not is waited for. No clock of another machine counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kube::Seat;

/// How long one is left alone that is not seen to renew its Lease; as long as the next one waits that takes it
/// over, and a little more.
const SILENT: Duration = Duration::from_secs(20);

/// Those that have Leases.
#[derive(Debug, Default)]
pub(super) struct Managers(BTreeMap<&'static str, Seen>);

#[derive(Debug)]
struct Seen {
    seat: Seat,
    /// When it was seen to say what it says.
    at: Instant,
    /// Since when the same one is seen to renew it, without a break.
    works: Option<Instant>,
}

impl Managers {
    /// `seats` are what there is `now`.
    pub(super) fn look(&mut self, seats: Vec<Seat>, now: Instant) {
        self.0.retain(|name, _| seats.iter().any(|seat| seat.name == *name));
        for seat in seats {
            let Some(seen) = self.0.get_mut(seat.name) else {
                self.0.insert(seat.name, Seen { seat, at: now, works: None });
                continue;
            };
            if seen.seat != seat {
                let is_same = seen.seat.holder == seat.holder;
                seen.works = seen.works.filter(|_| is_same).or(Some(now));
                (seen.seat, seen.at) = (seat, now);
            }
            if seen.seat.holder.is_empty() || now.duration_since(seen.at) > SILENT {
                seen.works = None;
            }
        }
    }

    /// One that has not been seen to work for as long as `patience`.
    pub(super) fn awaited(&self, now: Instant, patience: Duration) -> Option<&Seat> {
        let has_worked =
            |seen: &Seen| seen.works.is_some_and(|since| now.duration_since(since) >= patience);
        self.0.values().find(|seen| !has_worked(seen)).map(|seen| &seen.seat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn seat(holder: &str, renewed: u64) -> Seat {
        let (holder, renewed) = (holder.to_owned(), renewed.to_string());
        Seat { name: "kube-controller-manager", holder, renewed }
    }

    /// Whether it is waited for at the end of looks at these seconds, each with the Lease's holder and time.
    fn is_awaited(looks: &[(u64, &str, u64)]) -> bool {
        let (mut managers, start) = (Managers::default(), Instant::now());
        let mut now = start;
        for (second, holder, renewed) in looks {
            now = start + Duration::from_secs(*second);
            managers.look(vec![seat(holder, *renewed)], now);
        }
        managers.awaited(now, PATIENCE).is_some()
    }

    #[test]
    fn one_that_works_has_had_its_time_and_one_that_does_not_is_waited_for() {
        let steady = |holder: &'static str, from: u64, to: u64| {
            (from..=to).step_by(5).map(move |second| (second, holder, second))
        };
        let cases: [(&str, Vec<_>, bool); 6] = [
            ("just seen", vec![(0, "a", 1)], true),
            ("renewed for 30 s", steady("a", 0, 35).collect(), false),
            ("renewed for less", steady("a", 0, 30).collect(), true),
            ("left behind by somebody", vec![(0, "a", 1), (100, "a", 1)], true),
            (
                "silent since",
                steady("a", 0, 100).chain([(105, "a", 100), (125, "a", 100)]).collect(),
                true,
            ),
            (
                "followed by another",
                steady("a", 0, 100).chain(steady("b", 105, 130)).collect(),
                true,
            ),
        ];
        for (what, looks, want) in cases {
            assert_eq!(is_awaited(&looks), want, "{what}");
        }
        let mut managers = Managers::default();
        assert!(managers.awaited(Instant::now(), PATIENCE).is_none(), "there is none");
        managers.look(vec![seat("", 1)], Instant::now());
        managers.look(vec![seat("", 2)], Instant::now());
        assert!(managers.awaited(Instant::now(), Duration::ZERO).is_some(), "nobody has it");
        managers.look(Vec::new(), Instant::now());
        assert!(managers.awaited(Instant::now(), PATIENCE).is_none(), "it is gone");
    }
}
