//! What CoreDNS counts, under its names and in its buckets, so that dashboards go on. docs/metrics.md
//! says what each means here.
//!
//! Source: CoreDNS's plugins `metrics`, `kubernetes`; DNS-150 to DNS-153.

use std::fmt::{self, Display};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::Family;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use proxy::dns::{
    CacheTally, Classes, Connections, Counts, DURATIONS, NamedTally, SIZES, Tally, UpstreamTally,
    Zone,
};
use wire::dns::{RecordType, Transport};

use crate::dns::Done;

/// What is counted under CoreDNS's names.
#[derive(Debug)]
pub(crate) struct Resolver {
    registry: Registry,
    counts: Read,
    programming_seconds: Histogram,
}

/// Reads what DNS has done so far, if it is there still.
type Reader = Box<dyn Fn() -> Option<Done> + Send + Sync>;

/// A [`Reader`], once there is a server.
#[derive(Clone, Default)]
struct Read(Arc<OnceLock<(String, Reader)>>);

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Read")
    }
}

impl Resolver {
    /// Nothing is counted yet.
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("coredns");
        let r = &mut registry;
        let version = Info::new([("version", concat!("seaway-", env!("CARGO_PKG_VERSION")))]);
        r.register("build", "Version of this agent", version);
        let counts = Read::default();
        r.register_collector(Box::new(counts.clone()));
        let programming_seconds = registered!(
            r,
            "kubernetes_dns_programming_duration_seconds",
            "Time from a change of endpoints to the answers that follow from it",
            Histogram::new(exponential_buckets(0.001, 2.0, 20))
        );
        Resolver { registry, counts, programming_seconds }
    }

    /// There is a server of the names under `domain`; `read` says what it has counted so far.
    pub(crate) fn serves(
        &self,
        domain: &impl Display,
        read: impl Fn() -> Option<Done> + Send + Sync + 'static,
    ) {
        // A second server would be another process.
        drop(self.counts.0.set((domain.to_string(), Box::new(read))));
    }

    /// Names follow changes that began so long ago.
    pub(crate) fn programmed(&self, took: &[(Family, Duration)]) {
        took.iter().for_each(|(_, took)| self.programming_seconds.observe(took.as_secs_f64()));
    }

    /// All of them, in the OpenMetrics text format, without its end.
    pub(super) fn encode(&self, text: &mut String) -> fmt::Result {
        encode_registry(text, &self.registry)
    }
}

impl Collector for Read {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some((domain, read)) = self.0.get() else { return Ok(()) };
        let Some(Done { counts, tally, named, excess }) = read() else { return Ok(()) };
        let shown = Shown { domain, counts, excess };
        shown.requests(&mut encoder)?;
        shown.responses(&mut encoder)?;
        shown.took(&mut encoder)?;
        shown.sizes(&mut encoder)?;
        shown.rest(&mut encoder)?;
        cache(&mut encoder, &tally)?;
        upstreams(&mut encoder, &tally)?;
        policies(&mut encoder, named)
    }
}

/// Labels that every metric of the server has: its address, the zone, and CoreDNS's view.
const SERVER: (&str, &str) = ("server", "dns://:53");
const VIEW: (&str, &str) = ("view", "");

/// Those of its cache: the zones it is for.
const ZONES: (&str, &str) = ("zones", ".");

/// Those of servers that are asked: the plugin that asks them in CoreDNS.
const PROXY: (&str, &str) = ("proxy_name", "forward");

/// What the server of `domain` has counted.
struct Shown<'a> {
    domain: &'a str,
    counts: Counts,
    /// Packets that were dropped because their clients sent too many, as far as that is known.
    excess: Option<u64>,
}

impl Shown<'_> {
    fn zone(&self, zone: Zone) -> (&'static str, &str) {
        ("zone", if zone == Zone::Own { self.domain } else { "." })
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = described(encoder, "dns_requests", "Questions", MetricType::Counter)?;
        for (zone, transport, family, kind, count) in self.counts.requests() {
            let kind = kind.map_or_else(|| "other".to_owned(), |kind: RecordType| kind.to_string());
            let labels =
                [SERVER, self.zone(zone), VIEW, proto(transport), number(family), ("type", &kind)];
            put(&mut metric, labels, count)?;
        }
        Ok(())
    }

    fn responses(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = described(encoder, "dns_responses", "Answers", MetricType::Counter)?;
        for (zone, origin, rcode, count) in self.counts.responses() {
            let (rcode, plugin) = (rcode.to_string(), ("plugin", origin.plugin()));
            let labels = [SERVER, self.zone(zone), VIEW, ("rcode", &rcode), plugin];
            put(&mut metric, labels, count)?;
        }
        Ok(())
    }

    fn took(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time from a question to its answer";
        let name = "dns_request_duration_seconds";
        let mut metric = described(encoder, name, help, MetricType::Histogram)?;
        for zone in [Zone::Own, Zone::Other] {
            let labels = [SERVER, self.zone(zone), VIEW];
            let Classes { counts, sum } = self.counts.took(zone);
            let bounds = DURATIONS.iter().map(Duration::as_secs_f64);
            let sum = Duration::from_nanos(sum).as_secs_f64();
            put_classes(&mut metric, labels, sum, bounds, &counts)?;
        }
        Ok(())
    }

    fn sizes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = [
            (
                "dns_request_size_bytes",
                "Length of questions",
                Counts::request_sizes as fn(&Counts, Transport) -> Classes,
            ),
            ("dns_response_size_bytes", "Length of answers", Counts::response_sizes),
        ];
        for (name, help, sizes) in all {
            let mut metric = described(encoder, name, help, MetricType::Histogram)?;
            for transport in [Transport::Udp, Transport::Tcp] {
                // Of all zones: theirs is not told apart here.
                let labels = [SERVER, ("zone", "."), VIEW, proto(transport)];
                let Classes { counts, sum } = sizes(&self.counts, transport);
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "lengths, and Prometheus has floats"
                )]
                put_classes(
                    &mut metric,
                    labels,
                    sum as f64,
                    SIZES.iter().map(|size| *size as f64),
                    &counts,
                )?;
            }
        }
        Ok(())
    }

    fn rest(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = &self.counts;
        let rows = [
            ("panics", "Questions whose answering panicked", counts.panics()),
            ("dns_silent", "Messages that nothing is said to", counts.silent()),
            ("dns_strangers", "Messages of clients that may not ask here", counts.strangers()),
            ("dns_shed", "Questions refused because too many were open", counts.shed()),
            (
                "dns_connections_shed",
                "Connections closed because too many were open",
                counts.connections_shed(),
            ),
            ("dns_unsent", "Answers that the kernel did not take", counts.unsent()),
        ];
        let help = "Packets dropped because their clients sent too many";
        let excess = self.excess.map(|excess| ("dns_excess_packets", help, excess));
        for (name, help, count) in rows.into_iter().chain(excess) {
            let mut metric = described(encoder, name, help, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let help = "Questions that were answered by another name of a search list";
        let mut metric = described(encoder, "autopath_success", help, MetricType::Counter)?;
        put(&mut metric, [SERVER], counts.searched())
    }
}

/// A counter's name, its meaning, and what it is of `T`.
type Row<T> = (&'static str, &'static str, fn(&T) -> u64);

/// What is remembered of others' answers.
fn cache(encoder: &mut DescriptorEncoder<'_>, tally: &Tally) -> fmt::Result {
    let Tally { success, denial, misses, .. } = tally;
    let types = [(("type", "success"), success), (("type", "denial"), denial)];
    let name = "cache_entries";
    let mut metric = described(encoder, name, "Answers that are remembered", MetricType::Gauge)?;
    for (kind, kept) in types {
        let count = i64::try_from(kept.entries).unwrap_or(i64::MAX);
        metric.encode_family(&[SERVER, kind, ZONES, VIEW])?.encode_gauge(&count)?;
    }
    let by_type: [Row<CacheTally>; 2] = [
        ("cache_hits", "Questions that were answered from memory", |kept| kept.hits),
        ("cache_evictions", "Answers that had to go for others", |kept| kept.evictions),
    ];
    for (name, help, read) in by_type {
        let mut metric = described(encoder, name, help, MetricType::Counter)?;
        for (kind, kept) in types {
            put(&mut metric, [SERVER, kind, ZONES, VIEW], read(kept))?;
        }
    }
    let requests = success.hits + denial.hits + misses;
    let rows = [
        ("cache_requests", "Questions about names of others", requests),
        ("cache_misses", "Questions that were not answered from memory", *misses),
        ("cache_prefetch", "Answers that were renewed before their time", tally.prefetches),
        ("cache_served_stale", "Answers that were given after their time", tally.stale),
    ];
    for (name, help, count) in rows {
        let mut metric = described(encoder, name, help, MetricType::Counter)?;
        put(&mut metric, [SERVER, ZONES, VIEW], count)?;
    }
    Ok(())
}

/// What policies allow by name.
fn policies(encoder: &mut DescriptorEncoder<'_>, named: NamedTally) -> fmt::Result {
    let NamedTally { names, addrs, evictions, failures, late } = named;
    let gauges = [
        ("dns_policy_names", "Names that policies allow and that have been answered", names),
        ("dns_policy_addresses", "Addresses that policies allow by name", addrs),
    ];
    for (name, help, count) in gauges {
        let mut metric = described(encoder, name, help, MetricType::Gauge)?;
        metric.encode_gauge(&i64::try_from(count).unwrap_or(i64::MAX))?;
    }
    let counters = [
        ("dns_policy_evictions", "Addresses of names that had to go for others", evictions),
        ("dns_policy_failures", "Writes of addresses of names that failed", failures),
        ("dns_policy_late", "Answers that left before their addresses were allowed", late),
    ];
    for (name, help, count) in counters {
        let mut metric = described(encoder, name, help, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    Ok(())
}

/// How it went with the servers that are asked.
fn upstreams(encoder: &mut DescriptorEncoder<'_>, tally: &Tally) -> fmt::Result {
    let rows = [
        ("forward_max_concurrent_rejects", "Questions for which there was no room", tally.rejects),
        ("forward_healthcheck_broken", "Questions when no server was well", tally.broken),
    ];
    for (name, help, count) in rows {
        let mut metric = described(encoder, name, help, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    let all: Vec<(String, &UpstreamTally)> =
        tally.upstreams.iter().map(|upstream| (upstream.to.to_string(), upstream)).collect();
    let name = "proxy_request_duration_seconds";
    let help = "Time that a server took to answer";
    let mut metric = described(encoder, name, help, MetricType::Histogram)?;
    for (to, upstream) in &all {
        for (rcode, Classes { counts, sum }) in &upstream.took {
            let labels = [PROXY, ("to", to), ("rcode", &rcode.to_string())];
            let bounds = DURATIONS.iter().map(Duration::as_secs_f64);
            let sum = Duration::from_nanos(*sum).as_secs_f64();
            put_classes(&mut metric, labels, sum, bounds, counts)?;
        }
    }
    let name = "proxy_healthcheck_failures";
    let help = "Health checks of other servers that failed";
    let mut metric = described(encoder, name, help, MetricType::Counter)?;
    for (to, upstream) in &all {
        put(&mut metric, [PROXY, ("to", to)], upstream.failed_checks)?;
    }
    let by_connection: [Row<Connections>; 2] = [
        ("proxy_conn_cache_hits", "Questions for which there was a connection", |c| c.reused),
        ("proxy_conn_cache_misses", "Questions for which one had to be made", |c| c.made),
    ];
    for (name, help, read) in by_connection {
        let mut metric = described(encoder, name, help, MetricType::Counter)?;
        for (to, UpstreamTally { tcp, tls, .. }) in &all {
            for (proto, connections) in [("tcp", tcp), ("tcp-tls", tls)] {
                if *connections != Connections::default() {
                    let labels = [PROXY, ("to", to.as_str()), ("proto", proto)];
                    put(&mut metric, labels, read(connections))?;
                }
            }
        }
    }
    Ok(())
}

fn described<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, kind)
}

fn put<const N: usize>(
    metric: &mut MetricEncoder<'_>,
    labels: [(&str, &str); N],
    count: u64,
) -> fmt::Result {
    metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)
}

fn put_classes<const N: usize>(
    metric: &mut MetricEncoder<'_>,
    labels: [(&str, &str); N],
    sum: f64,
    bounds: impl Iterator<Item = f64>,
    counts: &[u64],
) -> fmt::Result {
    let classes: Vec<(f64, u64)> =
        bounds.chain([f64::INFINITY]).zip(counts.iter().copied()).collect();
    let all = counts.iter().sum();
    metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, all, &classes, None)
}

fn proto(transport: Transport) -> (&'static str, &'static str) {
    ("proto", if transport == Transport::Udp { "udp" } else { "tcp" })
}

/// The family by the number that CoreDNS gives it.
fn number(family: Family) -> (&'static str, &'static str) {
    ("family", if family == Family::V4 { "1" } else { "2" })
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
