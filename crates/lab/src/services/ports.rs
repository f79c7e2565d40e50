//! Ports of nodes that lead to Services.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// kube-apiserver's `--service-node-port-range` default.
const RANGE: RangeInclusive<u16> = 30000..=32767;
/// The first of those that who does not choose gets: before it are `clamp(size / 32, 16, 128)` for those
/// who choose (KEP-3668).
const DYNAMIC: u16 = 30000 + 86;

/// Which ports are in use.
#[derive(Debug, Default)]
pub(super) struct Ports {
    used: BTreeSet<u16>,
    /// How far the search has come: a port that was given back rests as long as it can.
    next: u16,
}

impl Ports {
    /// Marks a port as in use, or not; how it was before.
    pub(super) fn set(&mut self, port: u16, used: bool) -> bool {
        match used {
            true => !self.used.insert(port),
            false => self.used.remove(&port),
        }
    }

    /// Why this very port can't be had.
    pub(super) fn refusal(&self, port: u64) -> Option<String> {
        let number = u16::try_from(port).ok().filter(|port| RANGE.contains(port));
        match number {
            None => Some(format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                RANGE.start(),
                RANGE.end()
            )),
            Some(port) if self.used.contains(&port) => {
                Some("provided port is already allocated".to_owned())
            }
            Some(_) => None,
        }
    }

    /// A free port for who does not choose.
    pub(super) fn pick(&mut self) -> Option<u16> {
        let from = self.next.clamp(DYNAMIC, *RANGE.end());
        let free = |port: &u16| !self.used.contains(port);
        let all = (from..=*RANGE.end()).chain(DYNAMIC..from).chain(*RANGE.start()..DYNAMIC);
        let port = { all }.find(free)?;
        self.next = port + 1;
        Some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_the_range_is_given_once_and_the_lower_ones_last() {
        let mut ports = Ports::default();
        let mut given = Vec::new();
        while let Some(port) = ports.pick() {
            assert!(!ports.set(port, true));
            given.push(port);
        }
        assert_eq!((given[0], given.len()), (30086, 2768));
        assert_eq!(given.last(), Some(&30085));
        assert!(ports.refusal(30000).unwrap().contains("already allocated"));
        assert!(ports.refusal(80).unwrap().ends_with("is 30000-32767"));
        assert!(ports.refusal(70000).is_some());
        ports.set(30500, false);
        assert_eq!((ports.refusal(30500), ports.pick()), (None, Some(30500)));
    }
}
