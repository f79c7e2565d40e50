//! Which flows of UDP and SCTP may live: connection tracking sends every packet of a flow where its
//! first one went, for as long as packets come, so a flow to a backend that is gone must be forgotten.
//!
//! TCP has no rows. Its flows end by themselves, and those to an endpoint that terminates are meant
//! to end in their own time (S-69).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::{Family, Protocol};

use crate::{Table, diff};

/// A frontend, as the first packet of a flow names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowKey {
    /// UDP or SCTP.
    pub protocol: Protocol,
    /// Its address and port.
    pub at: SocketAddr,
}

/// The backends that flows to a frontend may lead to: sorted, each once. A flow that leads anywhere
/// else is to be forgotten, also one that nothing translates.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Serving(pub Arc<[SocketAddr]>);

impl Serving {
    /// Whether a flow may lead to `backend`.
    pub fn has(&self, backend: &SocketAddr) -> bool {
        self.0.binary_search(backend).is_ok()
    }
}

impl FromIterator<SocketAddr> for Serving {
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(backends: I) -> Self {
        let sorted: BTreeSet<SocketAddr> = backends.into_iter().collect();
        Serving(sorted.into_iter().collect())
    }
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, self.at)
    }
}

/// `-> 10.244.1.5:53 10.244.2.7:53`, or `-> nowhere`.
impl fmt::Display for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("->")?;
        match self.0.is_empty() {
            true => f.write_str(" nowhere"),
            false => self.0.iter().try_for_each(|backend| write!(f, " {backend}")),
        }
    }
}

/// A flow as connection tracking has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Where its first packet came from.
    pub from: SocketAddr,
    /// Where its first packet was sent.
    pub to: FlowKey,
    /// Who answers: the backend, or `to` itself where nothing is translated.
    pub backend: SocketAddr,
    /// Whether anything has come back.
    pub is_answered: bool,
}

impl Flow {
    /// Whether its destination is rewritten.
    pub fn is_translated(&self) -> bool {
        self.backend != self.to.at
    }
}

/// Flows that a change may have put in the wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suspect {
    /// The frontend they begin at.
    pub key: FlowKey,
    /// The backend they lead to; `None` for any.
    pub backend: Option<SocketAddr>,
}

/// The flows that agreed with `have` and may not agree with `want`.
///
/// Of a frontend that is new, or had no backend, nothing is known: whatever began there did so
/// before any rule did, and leads elsewhere (S-63). Else it can only be those to the backends that
/// are gone; a backend more suspects nobody.
pub fn suspects(have: &Table<FlowKey, Serving>, want: &Table<FlowKey, Serving>) -> Vec<Suspect> {
    let changes = diff(have, want);
    let mut found = Vec::new();
    for (key, put) in &changes.puts {
        match &put.old {
            Some(old) if !old.0.is_empty() => {
                let gone = old.0.iter().filter(|backend| !put.row.has(backend));
                found.extend(gone.map(|backend| Suspect { key: *key, backend: Some(*backend) }));
            }
            Some(_) | None => found.push(Suspect { key: *key, backend: None }),
        }
    }
    for key in &changes.deletes {
        let old = have.get(key).map(|row| &*row.0).unwrap_or_default();
        found.extend(old.iter().map(|backend| Suspect { key: *key, backend: Some(*backend) }));
    }
    found
}

/// What flows must have in common to be looked at. A field that is `None` may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowFilter {
    /// Their protocol.
    pub protocol: Protocol,
    /// Their family.
    pub family: Family,
    /// The address of the frontend.
    pub addr: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
    /// The address of the backend.
    pub backend_addr: Option<IpAddr>,
    /// Its port.
    pub backend_port: Option<u16>,
}

impl FlowFilter {
    /// All flows that a table can have rows for.
    pub fn all() -> impl Iterator<Item = FlowFilter> {
        let of = |protocol| Family::ALL.map(|family| FlowFilter::of(protocol, family));
        [Protocol::Udp, Protocol::Sctp].into_iter().flat_map(of)
    }

    fn of(protocol: Protocol, family: Family) -> Self {
        let (addr, port, backend_addr, backend_port) = (None, None, None, None);
        FlowFilter { protocol, family, addr, port, backend_addr, backend_port }
    }

    /// The narrowest filters that let all of `suspects` through, one for each protocol and family:
    /// however many they are, the kernel's table is walked once.
    ///
    /// So a backend that is gone is found by its own address, at however many frontends it was.
    pub fn covering(suspects: &[Suspect]) -> Vec<FlowFilter> {
        let mut groups: BTreeMap<(Protocol, Family), Vec<&Suspect>> = BTreeMap::new();
        for suspect in suspects {
            let FlowKey { protocol, at } = suspect.key;
            groups.entry((protocol, Family::of(at.ip()))).or_default().push(suspect);
        }
        let narrow = |((protocol, family), group): (_, Vec<&Suspect>)| {
            let backend = |s: &Suspect| s.backend;
            FlowFilter {
                addr: common(&group, |s| Some(s.key.at.ip())),
                port: common(&group, |s| Some(s.key.at.port())),
                backend_addr: common(&group, |s| Some(backend(s)?.ip())),
                backend_port: common(&group, |s| Some(backend(s)?.port())),
                ..FlowFilter::of(protocol, family)
            }
        };
        groups.into_iter().map(narrow).collect()
    }

    /// Whether `flow` is one of those.
    pub fn lets_through(&self, flow: &Flow) -> bool {
        let FlowKey { protocol, at } = flow.to;
        protocol == self.protocol
            && Family::of(at.ip()) == self.family
            && self.addr.is_none_or(|addr| addr == at.ip())
            && self.port.is_none_or(|port| port == at.port())
            && self.backend_addr.is_none_or(|addr| addr == flow.backend.ip())
            && self.backend_port.is_none_or(|port| port == flow.backend.port())
    }
}

/// What `part` is of every suspect, if it is the same of all.
fn common<T: PartialEq>(group: &[&Suspect], part: impl Fn(&Suspect) -> Option<T>) -> Option<T> {
    let first = part(group.first()?)?;
    group.iter().all(|suspect| part(suspect).as_ref() == Some(&first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// `udp 10.96.0.10:53 -> 10.1.0.2:53 10.1.0.3:53`, a row a line.
    fn table(text: &str) -> Table<FlowKey, Serving> {
        let row = |line: &str| {
            let (key, backends) = line.split_once(" ->").unwrap();
            let (protocol, frontend) = key.trim().split_once(' ').unwrap();
            let key = FlowKey { protocol: protocol.parse().unwrap(), at: at(frontend) };
            (key, backends.split_whitespace().map(at).collect())
        };
        text.lines().filter(|line| !line.trim().is_empty()).map(row).collect()
    }

    fn show(suspects: &[Suspect]) -> String {
        let line = |s: &Suspect| match s.backend {
            Some(backend) => format!("{} to {backend}", s.key),
            None => format!("{} to any", s.key),
        };
        suspects.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_change_suspects_flows_to_what_is_gone_and_whatever_was_there_before_it() {
        let cases = [
            (
                "nothing changed",
                "udp 10.96.0.1:53 -> 10.1.0.2:53",
                "udp 10.96.0.1:53 -> 10.1.0.2:53",
                "",
            ),
            ("a new frontend", "", "udp 10.96.0.1:53 -> 10.1.0.2:53", "udp 10.96.0.1:53 to any"),
            ("a new one without a backend", "", "udp 10.96.0.1:53 ->", "udp 10.96.0.1:53 to any"),
            (
                "the first backend",
                "udp 10.96.0.1:53 ->",
                "udp 10.96.0.1:53 -> 10.1.0.2:53",
                "udp 10.96.0.1:53 to any",
            ),
            (
                "one more",
                "udp 10.96.0.1:53 -> 10.1.0.2:53",
                "udp 10.96.0.1:53 -> 10.1.0.2:53 10.1.0.3:53",
                "",
            ),
            (
                "one for another",
                "sctp 10.96.0.1:53 -> 10.1.0.2:53 10.1.0.3:53",
                "sctp 10.96.0.1:53 -> 10.1.0.3:53 10.1.0.4:53",
                "sctp 10.96.0.1:53 to 10.1.0.2:53",
            ),
            (
                "the last one",
                "udp 10.96.0.1:53 -> 10.1.0.2:53",
                "udp 10.96.0.1:53 ->",
                "udp 10.96.0.1:53 to 10.1.0.2:53",
            ),
            (
                "the frontend",
                "udp [fd00::1]:53 -> [fd01::2]:53",
                "",
                "udp [fd00::1]:53 to [fd01::2]:53",
            ),
            ("a frontend without a backend", "udp [fd00::1]:53 ->", "", ""),
        ];
        for (what, have, want, expected) in cases {
            assert_eq!(show(&suspects(&table(have), &table(want))), expected, "{what}");
        }
    }

    #[test]
    fn a_filter_is_as_narrow_as_its_suspects_are_alike() {
        let all = "udp 10.96.0.1:53 -> 10.1.0.2:5353 10.1.0.3:5353
                   udp 192.0.2.1:30053 -> 10.1.0.2:5353 10.1.0.3:5353
                   udp [fd00::1]:53 -> [fd01::2]:5353";
        let filters = |want: &str| FlowFilter::covering(&suspects(&table(all), &table(want)));
        let one_backend = filters(
            "udp 10.96.0.1:53 -> 10.1.0.3:5353
             udp 192.0.2.1:30053 -> 10.1.0.3:5353
             udp [fd00::1]:53 -> [fd01::2]:5353",
        );
        let [only] = one_backend[..] else { panic!("{one_backend:?}") };
        assert_eq!((only.addr, only.port), (None, None));
        assert_eq!(only.backend_addr, Some("10.1.0.2".parse().unwrap()));
        assert_eq!(only.backend_port, Some(5353));
        let nothing_left = filters("");
        let [v4, v6] = nothing_left[..] else { panic!("{nothing_left:?}") };
        assert_eq!((v4.addr, v4.backend_addr, v4.backend_port), (None, None, Some(5353)));
        assert_eq!((v6.addr, v6.port), (Some("fd00::1".parse().unwrap()), Some(53)));
        assert_eq!(FlowFilter::all().count(), 4);
    }

    #[test]
    fn what_is_suspected_passes_the_filter() {
        let have = table(
            "udp 10.96.0.1:53 -> 10.1.0.2:53 10.1.0.3:54
             udp 10.96.0.2:54 -> 10.1.0.2:53
             sctp 10.96.0.2:54 -> 10.1.0.9:9",
        );
        for want in ["", "udp 10.96.0.1:53 -> 10.1.0.2:53", "udp 10.96.0.9:53 ->"] {
            let suspects = suspects(&have, &table(want));
            let filters = FlowFilter::covering(&suspects);
            for suspect in &suspects {
                let from = at("10.1.0.9:4000");
                let backend = suspect.backend.unwrap_or(suspect.key.at);
                let flow = Flow { from, to: suspect.key, backend, is_answered: true };
                assert_eq!(filters.iter().filter(|f| f.lets_through(&flow)).count(), 1);
            }
        }
    }
}
