//! What an agent in charge tells others: load balancers, the API server, and whoever leads or asks.

use std::sync::Arc;

use tokio::sync::watch;

use super::Tenure;
use crate::duties::{self, Duties};
use crate::observe::{Teller, tell_faults};
use crate::{answers, condition, drain, health, pressure, realised};

impl Tenure<'_> {
    /// Everything that load balancers and the API server are told. With what events are told by.
    pub(super) fn tell_others(&mut self) -> Teller {
        let (settings, desk, tasks) = (self.settings, &self.desk, &mut self.tasks);
        let (access, node) = (|| settings.access.clone(), || settings.config.node.clone());
        let (events, waiting) = kube::Events::new();
        let teller = Teller { events, metrics: Arc::clone(&desk.metrics) };
        tasks.spawn(kube::write_events(waiting, access(), node()));
        tasks.spawn(tell_faults(Arc::clone(&desk.shown), teller.clone()));
        tasks.spawn(health::keep_open(desk.clone(), teller.clone(), self.sockets.clone()));
        if settings.acknowledge_drains {
            tasks.spawn(drain::tell(access(), node(), desk.shown.drains()));
        }
        let moves = self.moved.subscribe();
        tasks.spawn(answers::answer(desk.clone(), access(), node(), moves));
        tasks.spawn(realised::tell(access(), node(), desk.shown.views()));
        let nodes = || self.watched.nodes.clone();
        let (status, network) = (desk.shown.status(), condition::network);
        tasks.spawn(condition::tell(access(), node(), nodes(), status, network));
        let (pressure, seen) = watch::channel(None);
        tasks.spawn(pressure::look(pressure, node(), teller.clone()));
        tasks.spawn(condition::tell(access(), node(), nodes(), seen, pressure::condition));
        teller
    }

    /// Has this agent be one of those of which one leads.
    pub(super) fn contend(&mut self, teller: Teller) {
        let Some(election) = self.election.take() else { return };
        let dns = &self.settings.config.dns;
        let context = duties::Context {
            access: self.settings.access.clone(),
            watched: self.watched.clone(),
            moves: self.moved.subscribe(),
            leadership: self.desk.leadership.clone(),
            metrics: Arc::clone(&self.desk.metrics),
            teller,
            dns: Some(dns.clone()).filter(|dns| dns.is_served),
            makes_dns_service: self.settings.makes_dns_service,
            pod_cidrs: self.settings.pod_cidrs.clone(),
        };
        self.duties = Some(Duties::start(election, context));
    }
}
