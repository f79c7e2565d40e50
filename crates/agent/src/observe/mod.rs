//! What the agent counts. docs/metrics.md lists every metric with its meaning.

mod conntrack;
mod metrics;

pub use metrics::Metrics;
