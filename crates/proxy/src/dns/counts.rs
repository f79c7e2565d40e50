//! What the server has done so far, in numbers.
//!
//! Each thread that answers has its own, so that no two of them write to one place; who wants to know
//! adds them up. What can be told apart is a closed set, whatever clients ask.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::Family;
use wire::dns::{Rcode, RecordType, Transport};

/// Whose name is in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// The cluster's: its zone, and addresses that lead back into it.
    Own,
    /// Anybody else's.
    Other,
}

/// Where an answer is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nobody was asked: the message is no question, or not one for this server.
    Refusal,
    /// The zones of the cluster.
    Zones,
    /// Settings: static entries.
    Settings,
    /// What others said before.
    Memory,
    /// Others, who were asked.
    Others,
}

impl Origin {
    /// The plugin that such an answer is from in CoreDNS; empty where it is from none.
    pub fn plugin(self) -> &'static str {
        match self {
            Origin::Refusal => "",
            Origin::Zones => "kubernetes",
            Origin::Settings => "hosts",
            Origin::Memory => "cache",
            Origin::Others => "forward",
        }
    }
}

/// What an answer is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Whose name was in question.
    pub zone: Zone,
    /// Where the answer is from.
    pub origin: Origin,
    /// The type in question; 0 where the question was not understood.
    pub kind: RecordType,
    /// How the question fared.
    pub rcode: Rcode,
    /// Which name of its search list the client was answered by, counted from 0 after the one in question, if
    /// by one of them (DNS-102).
    pub searched: Option<u8>,
}

/// Types that are counted one by one, as CoreDNS does; all others are one.
pub const KINDS: [RecordType; 20] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::SRV,
    RecordType::PTR,
    RecordType::TXT,
    RecordType::CNAME,
    RecordType::NS,
    RecordType::SOA,
    RecordType::MX,
    RecordType::HTTPS,
    RecordType::SVCB,
    RecordType::ANY,
    RecordType::AXFR,
    RecordType::IXFR,
    RecordType::HINFO,
    RecordType(43), // DS
    RecordType(46), // RRSIG
    RecordType(47), // NSEC
    RecordType(48), // DNSKEY
    RecordType(50), // NSEC3
];

const ZONES: [Zone; 2] = [Zone::Own, Zone::Other];
const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];
const ORIGINS: [Origin; 5] =
    [Origin::Refusal, Origin::Zones, Origin::Settings, Origin::Memory, Origin::Others];
pub(super) const RCODES: [Rcode; 8] = [
    Rcode::NoError,
    Rcode::FormErr,
    Rcode::ServFail,
    Rcode::NxDomain,
    Rcode::NotImp,
    Rcode::Refused,
    Rcode::BadVers,
    Rcode::BadCookie,
];

/// Upper bounds of the classes of durations; the last class has none.
pub const DURATIONS: [Duration; 12] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(4),
    Duration::from_millis(16),
    Duration::from_millis(64),
    Duration::from_millis(256),
    Duration::from_millis(1024),
    Duration::from_millis(4096),
    Duration::from_millis(8192),
];

/// Upper bounds of the classes of messages' lengths, in bytes; the last class has none.
pub const SIZES: [usize; 11] = [64, 128, 256, 512, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000];

/// How often something was in each class, and all of it together.
#[derive(Debug)]
pub(super) struct Histogram<const CLASSES: usize> {
    classes: [AtomicU64; CLASSES],
    sum: AtomicU64,
}

impl<const CLASSES: usize> Default for Histogram<CLASSES> {
    fn default() -> Self {
        Histogram { classes: [const { AtomicU64::new(0) }; CLASSES], sum: AtomicU64::new(0) }
    }
}

impl<const CLASSES: usize> Histogram<CLASSES> {
    fn add(&self, class: usize, value: u64, times: u64) {
        self.classes[class].fetch_add(times, Ordering::Relaxed);
        self.sum.fetch_add(value.saturating_mul(times), Ordering::Relaxed);
    }

    pub(super) fn add_all(&self, other: &Self) {
        add_each(&self.classes, &other.classes);
        self.sum.fetch_add(other.sum.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn shown(&self) -> Classes {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Classes { counts: self.classes.iter().map(count).collect(), sum: count(&self.sum) }
    }
}

impl Histogram<{ DURATIONS.len() + 1 }> {
    /// Counts `times` that something took so long, each.
    pub(super) fn add_took(&self, took: Duration, times: u64) {
        let class = DURATIONS.partition_point(|bound| *bound < took);
        self.add(class, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), times);
    }
}

/// A histogram, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    /// How many are in each class: not above its bound, but above the one before. The last class has
    /// what is above all bounds.
    pub counts: Vec<u64>,
    /// All values together: bytes, or nanoseconds.
    pub sum: u64,
}

/// A question as it is counted: zone, transport, family, and the place of its type in [`KINDS`].
type Requests = [[[[AtomicU64; KINDS.len() + 1]; 2]; 2]; 2];

/// What the server has done. Every number only grows.
#[derive(Debug, Default)]
pub struct Counts {
    requests: Requests,
    /// By zone, origin and rcode.
    responses: [[[AtomicU64; RCODES.len()]; ORIGINS.len()]; 2],
    /// By zone, in nanoseconds.
    took: [Histogram<{ DURATIONS.len() + 1 }>; 2],
    /// By transport.
    request_sizes: [Histogram<{ SIZES.len() + 1 }>; 2],
    response_sizes: [Histogram<{ SIZES.len() + 1 }>; 2],
    /// Messages that nothing is said to: too short, or answers.
    pub(super) silent: AtomicU64,
    /// Messages of clients that may not ask here.
    pub(super) strangers: AtomicU64,
    /// Questions for which nobody was asked because their client, or all together, had too many open
    /// ones.
    pub(super) shed: AtomicU64,
    /// Connections that were closed at once, for the same reason.
    pub(super) connections_shed: AtomicU64,
    /// Answers that the kernel did not take.
    pub(super) unsent: AtomicU64,
    /// Questions whose answering panicked.
    pub(super) panics: AtomicU64,
    /// Questions that were answered by another name of the client's search list.
    searched: AtomicU64,
}

impl Counts {
    pub(super) fn add_one(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a question of `request` bytes that was answered in `response` bytes.
    pub(super) fn add(
        &self,
        told: Told,
        transport: Transport,
        family: Family,
        [request, response]: [usize; 2],
    ) {
        let kind = KINDS.iter().position(|kind| *kind == told.kind).unwrap_or(KINDS.len());
        let (zone, transport) = (told.zone as usize, transport as usize);
        Self::add_one(&self.requests[zone][transport][family as usize][kind]);
        if told.searched.is_some() {
            Self::add_one(&self.searched);
        }
        let rcode = RCODES.iter().position(|rcode| *rcode == told.rcode);
        if let Some(rcode) = rcode {
            Self::add_one(&self.responses[zone][told.origin as usize][rcode]);
        }
        for (sizes, size) in [(&self.request_sizes, request), (&self.response_sizes, response)] {
            let class = SIZES.partition_point(|bound| *bound < size);
            sizes[transport].add(class, size as u64, 1);
        }
    }

    /// Counts how long `times` questions about `zone` took, each.
    pub(super) fn add_took(&self, zone: Zone, took: Duration, times: u64) {
        self.took[zone as usize].add_took(took, times);
    }

    /// Adds what `other` has counted.
    pub(super) fn add_all(&self, other: &Counts) {
        add_each(
            self.requests.as_flattened().as_flattened().as_flattened(),
            other.requests.as_flattened().as_flattened().as_flattened(),
        );
        add_each(
            self.responses.as_flattened().as_flattened(),
            other.responses.as_flattened().as_flattened(),
        );
        for (mine, its) in self.took.iter().zip(&other.took) {
            mine.add_all(its);
        }
        for (mine, its) in [
            (&self.request_sizes, &other.request_sizes),
            (&self.response_sizes, &other.response_sizes),
        ] {
            mine.iter().zip(its).for_each(|(mine, its)| mine.add_all(its));
        }
        add_each(&self.single(), &other.single());
    }

    fn single(&self) -> [&AtomicU64; 7] {
        [
            &self.silent,
            &self.strangers,
            &self.shed,
            &self.connections_shed,
            &self.unsent,
            &self.panics,
            &self.searched,
        ]
    }

    /// How many questions there were, by zone, transport, family and type; the last is `None` for all
    /// types that are not in [`KINDS`]. Without those that there were none of.
    pub fn requests(
        &self,
    ) -> impl Iterator<Item = (Zone, Transport, Family, Option<RecordType>, u64)> + '_ {
        let kinds = || KINDS.into_iter().map(Some).chain([None]);
        let labels = ZONES.into_iter().flat_map(move |zone| {
            TRANSPORTS.into_iter().flat_map(move |transport| {
                Family::ALL.into_iter().flat_map(move |family| {
                    kinds().map(move |kind| (zone, transport, family, kind))
                })
            })
        });
        let counts = self.requests.as_flattened().as_flattened().as_flattened();
        labels.zip(counts).filter_map(|((zone, transport, family, kind), count)| {
            let count = count.load(Ordering::Relaxed);
            (count > 0).then_some((zone, transport, family, kind, count))
        })
    }

    /// How many answers there were, by zone, origin and rcode. Without those that there were none of.
    pub fn responses(&self) -> impl Iterator<Item = (Zone, Origin, Rcode, u64)> + '_ {
        let labels = ZONES.into_iter().flat_map(|zone| {
            let of = move |origin| RCODES.into_iter().map(move |rcode| (zone, origin, rcode));
            ORIGINS.into_iter().flat_map(of)
        });
        let counts = self.responses.as_flattened().as_flattened();
        labels.zip(counts).filter_map(|((zone, origin, rcode), count)| {
            let count = count.load(Ordering::Relaxed);
            (count > 0).then_some((zone, origin, rcode, count))
        })
    }

    /// How long questions about `zone` took until their answers were sent, in classes of [`DURATIONS`].
    pub fn took(&self, zone: Zone) -> Classes {
        self.took[zone as usize].shown()
    }

    /// Lengths of questions, in classes of [`SIZES`].
    pub fn request_sizes(&self, transport: Transport) -> Classes {
        self.request_sizes[transport as usize].shown()
    }

    /// Lengths of answers, in classes of [`SIZES`].
    pub fn response_sizes(&self, transport: Transport) -> Classes {
        self.response_sizes[transport as usize].shown()
    }

    /// Messages that nothing was said to: too short, or answers themselves (DNS-61).
    pub fn silent(&self) -> u64 {
        self.silent.load(Ordering::Relaxed)
    }

    /// Messages and connections of clients that may not ask where they asked.
    pub fn strangers(&self) -> u64 {
        self.strangers.load(Ordering::Relaxed)
    }

    /// Questions for which nobody was asked because their client, or all clients together, had too many
    /// open ones (DNS-96).
    pub fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Connections that were closed at once, for the same reason (DNS-71).
    pub fn connections_shed(&self) -> u64 {
        self.connections_shed.load(Ordering::Relaxed)
    }

    /// Answers that the kernel did not take.
    pub fn unsent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }

    /// Questions whose answering panicked, and which were answered with SERVFAIL (DNS-160).
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Questions that were answered by another name of the client's search list (DNS-102).
    pub fn searched(&self) -> u64 {
        self.searched.load(Ordering::Relaxed)
    }
}

fn add_each<T: std::borrow::Borrow<AtomicU64>>(to: &[T], from: &[T]) {
    for (to, from) in to.iter().zip(from) {
        to.borrow().fetch_add(from.borrow().load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown_under_its_labels_and_adds_up() {
        let told = Told {
            zone: Zone::Other,
            origin: Origin::Memory,
            kind: RecordType::MX,
            rcode: Rcode::NxDomain,
            searched: Some(0),
        };
        let [one, all] = [(); 2].map(|()| Counts::default());
        one.add(told, Transport::Tcp, Family::V6, [64, 65]);
        one.add(Told { kind: RecordType(999), ..told }, Transport::Tcp, Family::V6, [1, 60_000]);
        one.add_took(Zone::Own, Duration::from_micros(60), 3);
        Counts::add_one(&one.panics);
        all.add_all(&one);
        all.add_all(&one);
        let at = (Zone::Other, Transport::Tcp, Family::V6);
        let requests: Vec<_> = all.requests().collect();
        assert_eq!(
            requests,
            [(at.0, at.1, at.2, Some(RecordType::MX), 2), (at.0, at.1, at.2, None, 2)]
        );
        let responses: Vec<_> = all.responses().collect();
        assert_eq!(responses, [(Zone::Other, Origin::Memory, Rcode::NxDomain, 4)]);
        let took = all.took(Zone::Own);
        assert_eq!((took.counts[1], took.sum), (6, 360_000));
        let sizes = [all.request_sizes(Transport::Tcp), all.response_sizes(Transport::Tcp)];
        assert_eq!(sizes.clone().map(|sizes| sizes.counts[0]), [4, 0]);
        assert_eq!(sizes.map(|sizes| sizes.counts.last().copied()), [Some(0), Some(2)]);
        assert_eq!((all.panics(), all.shed(), all.searched()), (2, 0, 4));
    }
}
