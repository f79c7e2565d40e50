//! Ports that policies don't tell apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::Protocol;

use super::judge::Judge;
use super::{Destination, Members, Ports, ports};

/// Every protocol that has ports.
const WITH_PORTS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// Some ports, and perhaps all protocols without ports.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortSet {
    /// The ports.
    pub ports: Ports,
    /// Whether ICMP and all other protocols without ports are meant.
    pub others: bool,
}

/// Some ports of one protocol of which policies say the same, or all protocols without ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Probe {
    pub(super) protocol: Option<Protocol>,
    pub(super) first: u16,
    pub(super) last: u16,
}

impl Probe {
    /// Everything, in pieces that none of the judges tells apart.
    pub(super) fn all(judges: &[Judge<'_>]) -> Vec<Probe> {
        let mut starts: BTreeMap<Protocol, BTreeSet<u16>> =
            WITH_PORTS.into_iter().map(|protocol| (protocol, [0].into())).collect();
        let mut add = |protocol: Protocol, first: u16, last: u16| {
            let of = starts.entry(protocol).or_default();
            of.insert(first);
            of.extend(last.checked_add(1));
        };
        for table in judges.iter().map(|judge| judge.table) {
            let groups = table.pods.values().flat_map(|pod| [&pod.ingress, &pod.egress]);
            let distinct: BTreeMap<usize, _> =
                groups.map(|group| (std::sync::Arc::as_ptr(group).addr(), group)).collect();
            let rules = distinct.values().flat_map(|group| group.rules());
            for target in rules.flat_map(|rule| &rule.targets) {
                if let Destination::Ports(ports) = &target.destination {
                    for (protocol, ranges) in ports {
                        ranges.iter().for_each(|(first, last)| add(*protocol, *first, *last));
                    }
                }
            }
            for members in table.sets.values() {
                if let Members::Ports(all) = members {
                    all.iter().for_each(|(_, protocol, port)| add(*protocol, *port, *port));
                }
            }
        }
        let others = Probe { protocol: None, first: 0, last: 0 };
        let with_ports = starts.into_iter().flat_map(|(protocol, starts)| {
            let starts: Vec<u16> = starts.into_iter().collect();
            let lasts: Vec<u16> =
                starts[1..].iter().map(|next| next - 1).chain([u16::MAX]).collect();
            let ranges = starts.into_iter().zip(lasts);
            ranges.map(move |(first, last)| Probe { protocol: Some(protocol), first, last })
        });
        with_ports.chain([others]).collect()
    }

    /// The number of its protocol: for all that have no ports one that nobody has (RFC 5237).
    pub(super) fn number(self) -> u8 {
        self.protocol.map_or(u8::MAX, Protocol::number)
    }
}

impl FromIterator<Probe> for PortSet {
    fn from_iter<I: IntoIterator<Item = Probe>>(probes: I) -> Self {
        let (mut ranges, mut others) = (Vec::new(), false);
        for Probe { protocol, first, last } in probes {
            match protocol {
                Some(protocol) => ranges.push((protocol, first, last)),
                None => others = true,
            }
        }
        PortSet { ports: ports::merged(ranges), others }
    }
}

impl PortSet {
    /// Whether a port is one of them.
    pub fn has(&self, protocol: Protocol, port: u16) -> bool {
        let mut ranges = self.ports.get(&protocol).into_iter().flatten();
        ranges.any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// The ports that are none of them.
    fn missing(&self) -> Ports {
        let mut missing = Vec::new();
        for protocol in WITH_PORTS {
            let mut next = Some(0);
            for (first, last) in self.ports.get(&protocol).into_iter().flatten() {
                let before = next.and_then(|next: u16| Some((next, first.checked_sub(1)?)));
                missing.extend(before.filter(|(a, b)| a <= b).map(|(a, b)| (protocol, a, b)));
                next = last.checked_add(1);
            }
            missing.extend(next.map(|next| (protocol, next, u16::MAX)));
        }
        ports::merged(missing)
    }
}

/// `tcp/80,443 udp/53`, `tcp`, `everything`, `everything but tcp/80`.
impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.others {
            return f.write_str(&list(&self.ports));
        }
        match self.missing() {
            missing if missing.is_empty() => f.write_str("everything"),
            missing => write!(f, "everything but {}", list(&missing)),
        }
    }
}

/// `tcp/80,8000-8010 udp`.
pub(super) fn list(ports: &Ports) -> String {
    let range = |(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let words = ports.iter().map(|(protocol, ranges)| match ranges[..] {
        [(0, u16::MAX)] => protocol.to_string(),
        _ => format!("{protocol}/{}", ranges.iter().map(range).collect::<Vec<_>>().join(",")),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Protocol::{Sctp, Tcp, Udp};

    #[test]
    fn ports_are_said_in_as_few_words_as_there_are() {
        let set = |ports: &[(Protocol, u16, u16)], others| PortSet {
            ports: ports::merged(ports.iter().copied()),
            others,
        };
        let all = [(Tcp, 0, 65535), (Udp, 0, 65535), (Sctp, 0, 65535)];
        let cases = [
            (
                set(&[(Tcp, 80, 80), (Tcp, 8000, 8010), (Udp, 53, 53)], false),
                "tcp/80,8000-8010 udp/53",
            ),
            (set(&[(Tcp, 0, 65535)], false), "tcp"),
            (set(&all, true), "everything"),
            (set(&all, false), "tcp udp sctp"),
            (set(&[(Tcp, 0, 79), (Tcp, 81, 65535), all[1], all[2]], true), "everything but tcp/80"),
            (set(&[], true), "everything but tcp udp sctp"),
        ];
        for (set, want) in cases {
            assert_eq!(set.to_string(), want);
        }
    }
}
