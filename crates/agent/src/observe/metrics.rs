//! Counters and gauges, and their text for Prometheus.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use compile::Pools;
use kube::Listed;
use model::{Family, NodeName};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as ByLabel;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use wire::cni::Code;

use super::duties::Duties;
use super::proxy::Proxy;
use super::resolver::Resolver;
use crate::journal::Leases;
use crate::reconcile::Report;
use crate::shown::Shown;

/// One label with a value from a closed set.
pub(super) type Label = [(&'static str, &'static str); 1];
type Seconds = Counter<f64, AtomicU64>;

/// Everything the agent counts. Every value is shared with the registry that prints it.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    ready: Gauge,
    generation: Gauge,
    pass_seconds: Histogram,
    step_seconds: ByLabel<Label, Seconds>,
    step_changes: ByLabel<Label, Counter>,
    step_drift: ByLabel<Label, Counter>,
    step_errors: ByLabel<Label, Counter>,
    step_failing: ByLabel<Label, Gauge>,
    leases: ByLabel<Label, Gauge>,
    capacity: ByLabel<Label, Gauge>,
    exhausted: Counter,
    cut_short: Counter,
    ledger_bytes: Gauge,
    ledger_errors: Counter,
    ledger_rebuilds: Counter,
    snapshot_bytes: Gauge,
    snapshot_written: Gauge,
    snapshot_errors: Counter,
    snapshot_recalled: Gauge,
    watch_up: ByLabel<Label, Gauge>,
    objects: ByLabel<Label, Gauge>,
    rejected: ByLabel<Label, Gauge>,
    foreign_drops: Gauge,
    events_lost: Counter,
    cni_seconds: ByLabel<Label, Histogram>,
    cni_errors: ByLabel<[(&'static str, u64); 1], Counter>,
    /// Those of what is done for the whole cluster.
    pub(crate) duties: Duties,
    /// Those that kube-proxy has, too.
    pub(crate) proxy: Proxy,
    /// Those that CoreDNS has, too.
    pub(crate) resolver: Resolver,
}

/// What the kernel counts.
fn register_collectors(r: &mut Registry) {
    r.register_collector(Box::new(super::conntrack::Conntrack));
    r.register_collector(Box::new(super::conntrack::FullestMap));
    r.register_collector(Box::new(super::policy::Drops));
}

/// A histogram of durations.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5])
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new(&Arc::default())
    }
}

impl Metrics {
    /// Nothing is counted yet; some are read from `shown` whenever somebody asks.
    pub(crate) fn new(shown: &Arc<Shown>) -> Self {
        let mut registry = Registry::with_prefix("seaway");
        let r = &mut registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "Version of this agent", version);
        register_collectors(r);
        Metrics {
            ready: registered!(r, "agent_ready", "1 when ADD can be served"),
            generation: registered!(r, "agent_generation", "Generation of the World"),
            pass_seconds: registered!(
                r,
                "agent_pass_seconds",
                "Time of one pass over all steps",
                seconds()
            ),
            step_seconds: registered!(r, "step_seconds", "Time spent in the step"),
            step_changes: registered!(r, "step_changes", "Rows written or removed"),
            step_drift: registered!(r, "step_drift_rows", "Rows that somebody else had changed"),
            step_errors: registered!(r, "step_errors", "Failures to read the place or write a row"),
            step_failing: registered!(r, "step_failing_rows", "Failures of the last pass"),
            leases: registered!(r, "ipam_leases", "Addresses that are leased"),
            capacity: registered!(r, "ipam_addresses", "Addresses of the pool"),
            exhausted: registered!(r, "ipam_exhausted", "ADDs that found no free address"),
            cut_short: registered!(r, "ipam_rest_cut_short", "Addresses leased before they rested"),
            ledger_bytes: registered!(r, "ledger_bytes", "Length of the ledger"),
            ledger_errors: registered!(r, "ledger_errors", "Commits that failed"),
            ledger_rebuilds: registered!(r, "ledger_rebuilds", "Ledgers rebuilt from the kernel"),
            snapshot_bytes: registered!(r, "snapshot_bytes", "Length of the last snapshot"),
            snapshot_written: registered!(
                r,
                "snapshot_written_timestamp_seconds",
                "When the last snapshot was written"
            ),
            snapshot_errors: registered!(r, "snapshot_errors", "Snapshots that were not written"),
            snapshot_recalled: registered!(
                r,
                "snapshot_recalled_timestamp_seconds",
                "When the snapshot was written that the World goes by; 0 when everything is listed"
            ),
            watch_up: registered!(r, "kube_watch_up", "1 while the watch of the kind works"),
            objects: registered!(r, "kube_objects", "Objects known"),
            rejected: registered!(r, "kube_objects_rejected", "Objects left out as unreadable"),
            foreign_drops: registered!(
                r,
                "nft_foreign_drop_chains",
                "Base chains of others on the forward path that may drop packets of pods"
            ),
            events_lost: registered!(r, "events_lost", "Events that were never written"),
            cni_seconds: registered!(
                r,
                "cni_seconds",
                "Time from a request on the CNI socket to its answer",
                ByLabel::new_with_constructor(seconds as fn() -> Histogram)
            ),
            cni_errors: registered!(r, "cni_errors", "Requests answered with an error"),
            duties: Duties::new(r),
            registry,
            proxy: Proxy::new(shown),
            resolver: Resolver::new(),
        }
    }

    /// All metrics, in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let encoded = encode_registry(&mut text, &self.registry)
            .and_then(|()| self.proxy.encode(&mut text))
            .and_then(|()| self.resolver.encode(&mut text))
            .and_then(|()| encode_eof(&mut text));
        encoded.expect("writing to a String does not fail");
        text
    }

    /// A pass ended.
    pub(crate) fn pass(&self, report: &Report) {
        self.generation.set(signed(report.generation.0));
        self.pass_seconds.observe(report.took.as_secs_f64());
        for step in &report.steps {
            let label = [("step", step.step)];
            self.step_seconds.get_or_create(&label).inc_by(step.took.as_secs_f64());
            self.step_changes.get_or_create(&label).inc_by((step.puts + step.deletes) as u64);
            self.step_drift.get_or_create(&label).inc_by(step.drift as u64);
            self.step_errors.get_or_create(&label).inc_by(step.failures.len() as u64);
            self.step_failing.get_or_create(&label).set(signed(step.failures.len() as u64));
        }
    }

    /// Who has how many addresses of how many.
    pub(crate) fn leases(&self, leases: &Leases, pools: &Pools, node: &NodeName) {
        for (family, name) in [(Family::V4, "ipv4"), (Family::V6, "ipv6")] {
            let addrs = leases.attachments.values().flat_map(|attachment| &attachment.addrs);
            let leased = addrs.filter(|addr| Family::of(**addr) == family).count();
            let capacity = pools.pool(node, family).map_or(0, compile::ipam::Pool::capacity);
            let label = [("family", name)];
            self.leases.get_or_create(&label).set(signed(leased as u64));
            let capacity = i64::try_from(capacity).unwrap_or(i64::MAX);
            self.capacity.get_or_create(&label).set(capacity);
        }
    }

    /// A batch of ADDs was given addresses.
    pub(crate) fn allocations(&self, cut_short: usize, exhausted: usize) {
        self.cut_short.inc_by(cut_short as u64);
        self.exhausted.inc_by(exhausted as u64);
    }

    /// The ledger is so long.
    pub(crate) fn ledger_bytes(&self, bytes: u64) {
        self.ledger_bytes.set(signed(bytes));
    }

    /// A commit failed.
    pub(crate) fn ledger_failed(&self) {
        self.ledger_errors.inc();
    }

    /// The ledger was rebuilt from what the kernel shows.
    pub(crate) fn ledger_rebuilt(&self) {
        self.ledger_rebuilds.inc();
    }

    /// A snapshot of so many bytes was written.
    pub(crate) fn snapshot_written(&self, bytes: u64, now: Duration) {
        self.snapshot_bytes.set(signed(bytes));
        self.snapshot_written.set(signed(now.as_secs()));
    }

    /// A snapshot was not written.
    pub(crate) fn snapshot_failed(&self) {
        self.snapshot_errors.inc();
    }

    /// The World goes by a snapshot that was written then, or by none.
    pub(crate) fn recalled(&self, written: Option<Duration>) {
        self.snapshot_recalled.set(written.map_or(0, |written| signed(written.as_secs())));
    }

    /// The newest level of the watch of a kind, by its plural.
    pub(crate) fn watched<K: Ord, V>(&self, plural: &'static str, level: &Listed<K, V>) {
        let label = [("kind", plural)];
        let is_up = level.listed.is_some() && level.trouble.is_none();
        self.watch_up.get_or_create(&label).set(i64::from(is_up));
        let objects = level.listed.as_ref().map_or(0, model::OrdMap::len);
        self.objects.get_or_create(&label).set(signed(objects as u64));
        self.rejected.get_or_create(&label).set(signed(level.rejected.len() as u64));
    }

    /// A request on the CNI socket was answered, with `error` unless it succeeded.
    pub(crate) fn cni(&self, operation: &'static str, error: Option<Code>, took: Duration) {
        let label = [("operation", operation)];
        self.cni_seconds.get_or_create(&label).observe(took.as_secs_f64());
        if let Some(code) = error {
            self.cni_errors.get_or_create(&[("code", u64::from(code.number()))]).inc();
        }
    }

    /// Whether ADD can be served.
    pub(crate) fn ready(&self, is_ready: bool) {
        self.ready.set(i64::from(is_ready));
    }

    /// An event was not told, because too many waited.
    pub(crate) fn event_lost(&self) {
        self.events_lost.inc();
    }

    /// Base chains of others that may drop packets of pods.
    pub(crate) fn foreign_drops(&self, chains: usize) {
        self.foreign_drops.set(signed(chains as u64));
    }
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_in_the_documentation() {
        let page = include_str!("../../../../docs/metrics.md");
        let metrics = Metrics::default();
        let text = metrics.text();
        let names = text
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP "))
            .map(|line| line.split_whitespace().next().unwrap().to_owned());
        let missing: Vec<String> = names.filter(|name| !page.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert!(text.ends_with("# EOF\n"));
    }
}
