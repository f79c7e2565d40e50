//! Connection tracking, as the kernel counts it, read whenever somebody asks for metrics.

use std::fmt;

use kernel::conntrack;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Shows nothing where the kernel does not say.
#[derive(Debug)]
pub(super) struct Conntrack;

impl Collector for Conntrack {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(have) = conntrack::observe() else { return Ok(()) };
        let mut put = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        let counter = ConstCounter::new;
        let gauge = |number| ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
        put(
            "conntrack_insert_failed",
            "Packets lost because their connection found no free tuple or source port",
            &counter(have.insert_failed),
        )?;
        put(
            "conntrack_dropped",
            "Packets lost because there was no room for their connection",
            &counter(have.dropped),
        )?;
        put(
            "conntrack_evicted",
            "Connections forgotten to make room for others",
            &counter(have.evicted),
        )?;
        put("conntrack_entries", "Connections that are tracked", &gauge(have.entries))?;
        put("conntrack_limit", "Connections that can be tracked", &gauge(have.limit))
    }
}
