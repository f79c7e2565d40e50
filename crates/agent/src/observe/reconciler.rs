//! Flows that were forgotten, as kube-proxy's reconciler of conntrack counts them.

use std::time::Duration;

use model::Family;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as ByLabel;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::metrics::Label;
use super::proxy::{family_name, round};

/// Walks through the entries of connection tracking.
#[derive(Debug)]
pub(super) struct Reconciler {
    seconds: ByLabel<Label, Histogram>,
    deleted: ByLabel<Label, Counter>,
}

impl Reconciler {
    /// Nothing is counted yet; `r` prints it.
    pub(super) fn new(r: &mut Registry) -> Self {
        Reconciler {
            seconds: registered!(
                r,
                "conntrack_reconciler_sync_duration_seconds",
                "Time of one walk through the entries of conntrack",
                ByLabel::new_with_constructor(round as fn() -> Histogram)
            ),
            deleted: registered!(
                r,
                "conntrack_reconciler_deleted_entries",
                "Entries of conntrack that were removed"
            ),
        }
    }

    /// A walk through entries of `family` took so long and removed so many.
    pub(super) fn walked(&self, family: Family, took: Duration, removed: usize) {
        let label = [("ip_family", family_name(family))];
        self.seconds.get_or_create(&label).observe(took.as_secs_f64());
        self.deleted.get_or_create(&label).inc_by(removed as u64);
    }
}
