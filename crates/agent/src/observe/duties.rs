//! What is done once for the whole cluster, by the agent that leads.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of duties.
#[derive(Debug)]
pub(crate) struct Duties {
    leading: Gauge,
    writes: Counter,
    errors: Counter,
}

impl Duties {
    /// Nothing is counted yet; `r` prints it.
    pub(super) fn new(r: &mut Registry) -> Self {
        Duties {
            leading: registered!(r, "duties_leading", "1 while this agent leads"),
            writes: registered!(r, "duties_writes", "Objects that this agent wrote as the leader"),
            errors: registered!(r, "duties_errors", "Writes as the leader that failed"),
        }
    }

    /// This agent leads from now on, or does no more.
    pub(crate) fn leads(&self, leads: bool) {
        self.leading.set(leads.into());
    }

    /// A write was answered, or not.
    pub(crate) fn wrote(&self, is_ok: bool) {
        if is_ok { &self.writes } else { &self.errors }.inc();
    }
}
