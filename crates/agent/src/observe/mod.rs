//! What the agent counts. docs/metrics.md lists every metric with its meaning.

/// Registers a metric and keeps it: `(registry, name, help)`.
macro_rules! registered {
    ($registry:ident, $name:literal, $help:literal) => {
        registered!($registry, $name, $help, Default::default())
    };
    ($registry:ident, $name:literal, $help:literal, $metric:expr) => {{
        let metric = $metric;
        $registry.register($name, $help, Clone::clone(&metric));
        metric
    }};
}

mod classic;
mod conntrack;
mod duties;
mod events;
mod metrics;
mod policy;
mod programming;
mod proxy;
mod reconciler;
mod resolver;

pub use metrics::Metrics;

pub(crate) use classic::classic;
pub(crate) use events::{Teller, tell_faults};
pub(crate) use programming::Followed;
pub(crate) use proxy::Probed;
