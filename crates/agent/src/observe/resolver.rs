//! What CoreDNS counts, under its names and in its buckets, so that dashboards go on. docs/metrics.md
//! says what each means here.
//!
//! Source: CoreDNS's plugins `metrics`, `kubernetes`; DNS-150, DNS-153.

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
use proxy::dns::{Classes, Counts, DURATIONS, Origin, SIZES, Tally, Zone};
use wire::dns::{RecordType, Transport};

/// What is counted under CoreDNS's names.
#[derive(Debug)]
pub(crate) struct Resolver {
    registry: Registry,
    counts: Read,
    programming_seconds: Histogram,
}

/// Reads what the server has counted so far, and what it has asked of others, if it is there still.
type Reader = Box<dyn Fn() -> Option<(Counts, Tally)> + Send + Sync>;

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
        read: impl Fn() -> Option<(Counts, Tally)> + Send + Sync + 'static,
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
        let Some((counts, tally)) = read() else { return Ok(()) };
        let shown = Shown { domain, counts };
        shown.requests(&mut encoder)?;
        shown.responses(&mut encoder)?;
        shown.took(&mut encoder)?;
        shown.sizes(&mut encoder)?;
        shown.rest(&mut encoder)?;
        others(&mut encoder, tally)
    }
}

/// Labels that every metric of the server has: its address, the zone, and CoreDNS's view.
const SERVER: (&str, &str) = ("server", "dns://:53");
const VIEW: (&str, &str) = ("view", "");

/// What the server of `domain` has counted.
struct Shown<'a> {
    domain: &'a str,
    counts: Counts,
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
            let (rcode, plugin) = (rcode.to_string(), ("plugin", plugin(origin)));
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
        for (name, help, count) in rows {
            let mut metric = described(encoder, name, help, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let help = "Questions that were answered by another name of a search list";
        let mut metric = described(encoder, "autopath_success", help, MetricType::Counter)?;
        put(&mut metric, [SERVER], counts.searched())
    }
}

/// What was asked of others, and remembered of it.
fn others(encoder: &mut DescriptorEncoder<'_>, tally: Tally) -> fmt::Result {
    let name = "cache_entries";
    let mut metric = described(encoder, name, "Answers that are remembered", MetricType::Gauge)?;
    for (kind, count) in [("success", tally.answers), ("denial", tally.denials)] {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        metric.encode_family(&[SERVER, ("type", kind)])?.encode_gauge(&count)?;
    }
    let asked = tally.hits + tally.misses;
    let rows = [
        ("cache_requests", "Questions about names of others", asked),
        ("cache_hits", "Questions that were answered from memory", tally.hits),
        ("cache_misses", "Questions that were not", tally.misses),
        ("cache_prefetch", "Answers that were renewed before their time", tally.prefetches),
        ("cache_served_stale", "Answers that were given after their time", tally.stale),
        ("cache_evictions", "Answers that had to go for others", tally.evictions),
    ];
    for (name, help, count) in rows {
        put(&mut described(encoder, name, help, MetricType::Counter)?, [SERVER], count)?;
    }
    let name = "forward_max_concurrent_rejects";
    let help = "Questions for which there was no room";
    let mut metric = described(encoder, name, help, MetricType::Counter)?;
    metric.encode_counter::<NoLabelSet, _, u64>(&tally.rejects, None)?;
    let name = "proxy_healthcheck_failures";
    let help = "Health checks of other servers that failed";
    let mut metric = described(encoder, name, help, MetricType::Counter)?;
    put(&mut metric, [("proxy_name", "forward")], tally.failed_checks)
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

/// The plugin that such an answer is from in CoreDNS.
fn plugin(origin: Origin) -> &'static str {
    match origin {
        Origin::Refusal => "",
        Origin::Zones => "kubernetes",
        Origin::Settings => "hosts",
        Origin::Memory => "cache",
        Origin::Others => "forward",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns150_dns151_dns153_a_server_shows_under_the_names_of_coredns() {
        let resolver = Resolver::new();
        let mut before = String::new();
        resolver.encode(&mut before).unwrap();
        assert!(before.contains("coredns_build_info{version=\"seaway-"), "{before}");
        assert!(!before.contains("dns_requests"), "no server, no numbers: {before}");
        let tally = Tally {
            hits: 3,
            misses: 4,
            prefetches: 0,
            stale: 1,
            evictions: 0,
            rejects: 0,
            answers: 5,
            denials: 6,
            failed_checks: 2,
        };
        resolver.serves(&"cluster.local.", move || Some((Counts::default(), tally)));
        resolver.programmed(&[(Family::V4, Duration::from_millis(3))]);
        let mut text = String::new();
        resolver.encode(&mut text).unwrap();
        for line in [
            "# TYPE coredns_dns_requests counter",
            "# TYPE coredns_dns_responses counter",
            "coredns_dns_request_duration_seconds_bucket{le=\"+Inf\",server=\"dns://:53\",zone=\"cluster.local.\",view=\"\"} 0",
            "coredns_dns_request_size_bytes_count{server=\"dns://:53\",zone=\".\",view=\"\",proto=\"udp\"} 0",
            "coredns_panics_total 0",
            "coredns_autopath_success_total{server=\"dns://:53\"} 0",
            "coredns_cache_entries{server=\"dns://:53\",type=\"denial\"} 6",
            "coredns_cache_requests_total{server=\"dns://:53\"} 7",
            "coredns_proxy_healthcheck_failures_total{proxy_name=\"forward\"} 2",
            "coredns_kubernetes_dns_programming_duration_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
