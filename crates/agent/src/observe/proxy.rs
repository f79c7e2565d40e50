//! What kube-proxy counts, under its names and in its buckets, so that what people built on them
//! goes on. docs/metrics.md says what each means here.
//!
//! Source: kube-proxy's `pkg/proxy/metrics`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use model::Family;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as ByLabel;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::metrics::{Label, signed};
use super::programming::NoLocalEndpoints;
use super::reconciler::Reconciler;
use crate::reconcile::StepReport;
use crate::shown::Shown;

/// What is counted under kube-proxy's names.
#[derive(Debug)]
pub(crate) struct Proxy {
    registry: Registry,
    rounds: Rounds,
    reconciler: Reconciler,
    programming_seconds: ByLabel<Label, Histogram>,
    slices_pending: Gauge,
    slices_changed: Counter,
    services_pending: Gauge,
    services_changed: Counter,
    healthz: ByLabel<[(&'static str, u16); 1], Counter>,
    livez: ByLabel<[(&'static str, u16); 1], Counter>,
}

/// Rounds of programming Services.
#[derive(Debug)]
struct Rounds {
    seconds: Histogram,
    full_seconds: Histogram,
    partial_seconds: Histogram,
    done_at: Moment,
    queued_at: Moment,
    failures: Counter,
}

/// Seconds since 1970.
type Moment = Gauge<f64, AtomicU64>;

/// What the health address was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Probed {
    Healthz,
    Livez,
}

impl Rounds {
    fn new(r: &mut Registry) -> Self {
        Rounds {
            seconds: registered!(
                r,
                "sync_proxy_rules_duration_seconds",
                "Time of one round of programming Services",
                round()
            ),
            full_seconds: registered!(
                r,
                "sync_full_proxy_rules_duration_seconds",
                "Time of one round that read all rules back first",
                round()
            ),
            partial_seconds: registered!(
                r,
                "sync_partial_proxy_rules_duration_seconds",
                "Time of one round that wrote what changed",
                round()
            ),
            done_at: registered!(
                r,
                "sync_proxy_rules_last_timestamp_seconds",
                "When a round last succeeded"
            ),
            queued_at: registered!(
                r,
                "sync_proxy_rules_last_queued_timestamp_seconds",
                "When a round was last asked for"
            ),
            failures: registered!(
                r,
                "sync_proxy_rules_nftables_sync_failures",
                "Rounds in which the kernel refused something"
            ),
        }
    }
}

impl Proxy {
    /// Nothing is counted yet; some are read from `shown` whenever somebody asks.
    pub(super) fn new(shown: &Arc<Shown>) -> Self {
        let mut registry = Registry::with_prefix("kubeproxy");
        let r = &mut registry;
        r.register_collector(Box::new(NoLocalEndpoints(Arc::clone(shown))));
        Proxy {
            rounds: Rounds::new(r),
            reconciler: Reconciler::new(r),
            programming_seconds: registered!(
                r,
                "network_programming_duration_seconds",
                "Time from a change in the cluster to the rules that follow from it",
                ByLabel::new_with_constructor(programming as fn() -> Histogram)
            ),
            slices_pending: registered!(
                r,
                "sync_proxy_rules_endpoint_changes_pending",
                "EndpointSlices that changed and are not in the kernel"
            ),
            slices_changed: registered!(
                r,
                "sync_proxy_rules_endpoint_changes",
                "EndpointSlices that changed"
            ),
            services_pending: registered!(
                r,
                "sync_proxy_rules_service_changes_pending",
                "Services that changed and are not in the kernel"
            ),
            services_changed: registered!(
                r,
                "sync_proxy_rules_service_changes",
                "Services that changed"
            ),
            healthz: registered!(r, "proxy_healthz", "Answers of /healthz"),
            livez: registered!(r, "proxy_livez", "Answers of /livez"),
            registry,
        }
    }

    /// All of them, in the OpenMetrics text format, without its end.
    pub(super) fn encode(&self, text: &mut String) -> fmt::Result {
        encode_registry(text, &self.registry)
    }

    /// A round of programming Services was asked for at `now`, a time since 1970.
    pub(crate) fn queued(&self, now: Duration) {
        self.rounds.queued_at.set(now.as_secs_f64());
    }

    /// So many Services and EndpointSlices are other ones than the loop knew.
    pub(crate) fn changed(&self, services: usize, slices: usize) {
        self.services_changed.inc_by(services as u64);
        self.slices_changed.inc_by(slices as u64);
        self.services_pending.inc_by(signed(services as u64));
        self.slices_pending.inc_by(signed(slices as u64));
    }

    /// A pass ended whose `step` programs Services, after `compiling` for so long.
    pub(crate) fn round(&self, step: &StepReport, compiling: Duration) {
        if !step.failures.is_empty() {
            self.rounds.failures.inc();
        }
        if step.is_full || step.puts + step.deletes > 0 {
            let took = (compiling + step.took).as_secs_f64();
            self.rounds.seconds.observe(took);
            match step.is_full {
                true => self.rounds.full_seconds.observe(took),
                false => self.rounds.partial_seconds.observe(took),
            }
        }
    }

    /// Since `now`, a time since 1970, the kernel follows everything that was asked for; so long ago
    /// were the changes that it did not follow before.
    pub(crate) fn programmed(&self, now: Duration, took: Vec<(Family, Duration)>) {
        self.rounds.done_at.set(now.as_secs_f64());
        self.services_pending.set(0);
        self.slices_pending.set(0);
        for (family, took) in took {
            let label = [("ip_family", family_name(family))];
            self.programming_seconds.get_or_create(&label).observe(took.as_secs_f64());
        }
    }

    /// A walk through the entries of connection tracking took so long and removed so many.
    pub(crate) fn walked(&self, family: Family, took: Duration, removed: usize) {
        self.reconciler.walked(family, took, removed);
    }

    /// The health address answered with `code`.
    pub(crate) fn probed(&self, path: Probed, code: u16) {
        let counter = match path {
            Probed::Healthz => &self.healthz,
            Probed::Livez => &self.livez,
        };
        counter.get_or_create(&[("code", code)]).inc();
    }
}

/// Time of one round, in seconds: from a millisecond, doubling, to 16 s.
pub(super) fn round() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// Time from a change in the cluster to the rules, in seconds: up to five minutes, ever coarser.
fn programming() -> Histogram {
    let by =
        |from: u32, step: u32, count: u32| (0..count).map(move |at| f64::from(from + at * step));
    let fine = [0.25, 0.5].into_iter();
    Histogram::new(fine.chain(by(1, 1, 59)).chain(by(60, 5, 12)).chain(by(120, 30, 7)))
}

/// The value of label `ip_family`.
pub(super) fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}
