//! What policies drop, packet by packet as far as the kernel shows them: who, whom, and which policy says so.
//!
//! Rules show some of what they drop, at a limited rate ([`compile::policy::Ending`]). Here it is explained by the
//! judge that explains everything else about policies, and packets of one kind are one line for a while. The last
//! lines are kept for those who ask; each is written to the log when it begins.

mod line;
mod listening;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use compile::policy::Ending;

pub(crate) use line::{Dropped, Line};
pub(crate) use listening::Listening;

/// How many lines are kept.
const KEPT: usize = 1000;

/// How long packets of one kind are one line.
const WHILE: Duration = Duration::from_secs(60);

/// What makes packets be of one kind: their ending, client, server, protocol and the server's port.
type Kind = (Ending, IpAddr, IpAddr, u8, u16);

/// The last lines.
#[derive(Debug, Default, Clone)]
pub(crate) struct Drops(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    /// In the order in which they began; their numbers are successive.
    kept: VecDeque<Line>,
    /// The number of the newest line of each kind, while it is kept.
    newest: BTreeMap<Kind, u64>,
    next: u64,
}

impl Drops {
    /// What is kept, oldest first.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.kept.iter().cloned().collect()
    }

    /// Counts a packet of `kind` that came `now`, a time since 1970. Where it begins a line, that says what
    /// `explain` does, and is returned.
    pub(crate) fn add(
        &self,
        kind: Kind,
        now: Duration,
        explain: impl FnOnce() -> Dropped,
    ) -> Option<Line> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.open(&kind, now) {
            (line.last, line.packets) = (now, line.packets + 1);
            return None;
        }
        let line =
            Line { number: lines.next, first: now, last: now, packets: 1, dropped: explain() };
        lines.begin(kind, line.clone());
        Some(line)
    }
}

impl Lines {
    /// The line that a packet of `kind` belongs to, if it is still that of its kind.
    fn open(&mut self, kind: &Kind, now: Duration) -> Option<&mut Line> {
        let oldest = self.kept.front()?.number;
        let at = usize::try_from(self.newest.get(kind)?.checked_sub(oldest)?).ok()?;
        self.kept.get_mut(at).filter(|line| now.saturating_sub(line.first) < WHILE)
    }

    fn begin(&mut self, kind: Kind, line: Line) {
        if self.kept.len() == KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            self.newest.retain(|_, number| *number != oldest.number);
        }
        self.newest.insert(kind, line.number);
        self.next = line.number + 1;
        self.kept.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use compile::policy::Party;
    use model::{Direction, DropReason};

    use super::line::Side;
    use super::*;

    fn kind(port: u16) -> Kind {
        let ending = Ending {
            reason: DropReason::Denied,
            direction: Some(Direction::Egress),
            is_audit: false,
        };
        (ending, [10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 6, port)
    }

    fn dropped(port: u16) -> Dropped {
        let (ending, client, server, protocol, _) = kind(port);
        let side = |addr, port| Side { who: Party::Elsewhere, addr, port };
        Dropped {
            ending,
            client: side(client, 40_000),
            server: side(server, port),
            protocol,
            by: None,
        }
    }

    /// Packets at ports and seconds; `PORT xCOUNT` of each line.
    fn lines(packets: &[(u16, u64)]) -> Vec<String> {
        let drops = Drops::default();
        for (port, seconds) in packets {
            drops.add(kind(*port), Duration::from_secs(*seconds), || dropped(*port));
        }
        let said = |line: &Line| format!("{} x{}", line.dropped.server.port, line.packets);
        drops.lines().iter().map(said).collect()
    }

    #[test]
    fn npx4_packets_of_one_kind_are_one_line_for_a_while() {
        assert_eq!(lines(&[]), [""; 0]);
        assert_eq!(lines(&[(80, 0), (80, 1), (81, 1), (80, 59)]), ["80 x3", "81 x1"]);
        assert_eq!(lines(&[(80, 0), (80, 60), (80, 61)]), ["80 x1", "80 x2"]);
        assert_eq!(lines(&[(80, 100), (80, 50)]), ["80 x2"], "the clock was set back");
    }

    #[test]
    fn npx4_what_is_kept_is_bounded() {
        let drops = Drops::default();
        let now = Duration::from_secs(1);
        let many = u16::try_from(KEPT + 10).unwrap();
        for port in 0..many {
            assert!(drops.add(kind(port), now, || dropped(port)).is_some());
        }
        let lines = drops.lines();
        assert_eq!((lines.len(), lines[0].number), (KEPT, 10));
        assert_eq!(drops.0.lock().unwrap().newest.len(), KEPT);
        assert!(drops.add(kind(many - 1), now, || dropped(0)).is_none());
        assert!(drops.add(kind(0), now, || dropped(0)).is_some(), "it is kept no more");
    }
}
