//! What policies have dropped, as the kernel counts it, read whenever somebody asks for metrics.

use std::fmt;

use compile::policy::Ending;
use kernel::nft::{Nft, counted};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Shows no numbers where there is no policy, or the kernel does not say.
#[derive(Debug)]
pub(super) struct Drops;

impl Collector for Drops {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let kinds = [
            ("policy_drops", "Packets that policies dropped", false),
            ("policy_audits", "Packets that audited policies would have dropped", true),
        ];
        let mut nft = Nft::open().ok();
        for (name, help, is_audit) in kinds {
            let mut all = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for ending in Ending::all().filter(|ending| ending.is_audit == is_audit) {
                let rules = nft.as_mut().map(|nft| counted(nft, Some(&ending.chain())));
                let rules = rules.into_iter().flatten().flatten();
                let Some(packets) = rules.map(|rule| rule.packets).reduce(u64::saturating_add)
                else {
                    continue;
                };
                let direction = ending.direction.map(|direction| direction.to_string());
                let direction = direction.unwrap_or_else(|| "none".to_owned());
                let reason = ending.reason.name().to_owned();
                let labels = [("reason", reason), ("direction", direction)];
                ConstCounter::new(packets).encode(all.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
