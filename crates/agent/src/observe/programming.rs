//! What is counted of Services as a whole: how long changes take, and how many ports have no endpoint
//! to use.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use compile::ServiceTable;
use compile::services::{Action, Frontend, FrontendKind};
use imbl::ordmap::DiffItem;
use model::{EndpointSlice, Family, OrdMap, Rfc3339, SliceKey, World};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::family::Family as ByLabel;
use prometheus_client::metrics::gauge::Gauge;

use super::metrics::signed;
use super::proxy::family_name;
use crate::shown::Shown;

/// Which slices the kernel follows, to tell how long a change took to get there.
#[derive(Debug)]
pub(crate) struct Followed {
    slices: OrdMap<SliceKey, Arc<EndpointSlice>>,
    /// What was triggered before is no news: this agent was not there.
    started: Duration,
}

impl Followed {
    /// Nothing, since `now`, a time since 1970.
    pub(crate) fn since(now: Duration) -> Self {
        Followed { slices: OrdMap::new(), started: now }
    }

    /// The kernel follows `world` now, a time since 1970: how long each change of its slices took
    /// whose writer says when it began. A slice that is gone says nothing, and neither does one of a
    /// headless Service, which the kernel has nothing of.
    pub(crate) fn follow(&mut self, world: &World, now: Duration) -> Vec<(Family, Duration)> {
        let slices = &world.slices;
        let took = |change| {
            let (DiffItem::Add(key, new) | DiffItem::Update { new: (key, new), .. }) = change
            else {
                return None;
            };
            let (key, new): (&SliceKey, &Arc<EndpointSlice>) = (key, new);
            world.services.get(&key.service).filter(|service| !service.is_headless)?;
            let Rfc3339(triggered) = new.triggered.filter(|at| at.0 > self.started)?;
            Some((new.family, now.saturating_sub(triggered)))
        };
        let took = self.slices.diff(slices).filter_map(took).collect();
        self.slices = slices.clone();
        took
    }
}

/// How many ports of Services have endpoints, but none that this node may use under policy Local,
/// counted whenever somebody asks.
#[derive(Debug)]
pub(super) struct NoLocalEndpoints(pub(super) Arc<Shown>);

impl Collector for NoLocalEndpoints {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metric = ByLabel::<[(&str, &str); 2], Gauge>::default();
        for ((policy, family), count) in without_local(&self.0.view().compiled.services) {
            let labels = [("traffic_policy", policy), ("ip_family", family_name(family))];
            metric.get_or_create(&labels).set(count);
        }
        let name = "sync_proxy_rules_no_local_endpoints_total";
        let help =
            "Ports of Services under a Local traffic policy without an endpoint of this node";
        metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
    }
}

/// How many ports drop what comes to their cluster IPs (`internal`), and to their other frontends from
/// elsewhere (`external`), by family.
fn without_local(table: &ServiceTable) -> Vec<((&'static str, Family), i64)> {
    let is_internal = |frontend: &&Frontend| frontend.kind == FrontendKind::ClusterIp;
    let drops = |frontend: &Frontend| frontend.outside == Action::Drop;
    let ports = || table.services.values().flat_map(|resolved| &resolved.ports);
    let count = |family, internal: bool| {
        let of_family = ports().filter(|port| port.family == family);
        let dropping = of_family
            .filter(|port| port.frontends.iter().filter(|f| is_internal(f) == internal).any(drops));
        signed(dropping.count() as u64)
    };
    let both = Family::ALL.into_iter().flat_map(|family| {
        [(("internal", family), count(family, true)), (("external", family), count(family, false))]
    });
    both.collect()
}
