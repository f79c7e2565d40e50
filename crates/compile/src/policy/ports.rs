//! Ranges of ports.

use model::Protocol;

use super::Ports;

/// All of these ranges, joined where they overlap or touch.
pub(super) fn merged(ranges: impl IntoIterator<Item = (Protocol, u16, u16)>) -> Ports {
    let mut sorted: Vec<_> = ranges.into_iter().collect();
    sorted.sort_unstable();
    let mut ports = Ports::new();
    for (protocol, first, last) in sorted {
        let of: &mut Vec<(u16, u16)> = ports.entry(protocol).or_default();
        match of.last_mut() {
            Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = last.max(*end),
            Some(_) | None => of.push((first, last)),
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use Protocol::{Tcp, Udp};

    #[test]
    fn ranges_that_overlap_or_touch_are_one() {
        let ranges = [(Tcp, 90, 100), (Tcp, 80, 89), (Udp, 53, 53), (Tcp, 85, 86), (Tcp, 102, 102)];
        let want = Ports::from([(Tcp, vec![(80, 100), (102, 102)]), (Udp, vec![(53, 53)])]);
        assert_eq!(merged(ranges), want);
        assert_eq!(merged([(Tcp, 0, 65535), (Tcp, 65535, 65535)])[&Tcp], [(0, 65535)]);
        assert!(merged([]).is_empty());
    }
}
