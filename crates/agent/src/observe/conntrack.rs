//! Connection tracking and the maps that packets write, as the kernel counts them, read whenever somebody
//! asks for metrics.

use std::fmt;

use kernel::conntrack;
use kernel::nft::{Nft, learned};
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

/// The fullest map that packets write. Shows nothing where there is none, or the kernel does not say.
#[derive(Debug)]
pub(super) struct FullestMap;

impl Collector for FullestMap {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(map) = Nft::open().ok().and_then(|mut nft| learned(&mut nft).ok()?) else {
            return Ok(());
        };
        let rows = [
            ("nft_learned_elements", "Elements of the fullest map that packets write", map.used),
            ("nft_learned_limit", "Elements it has room for", map.size),
        ];
        for (name, help, number) in rows {
            let gauge = ConstGauge::new(i64::from(number));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
