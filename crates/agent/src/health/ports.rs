//! The listeners at `spec.healthCheckNodePort` of Services: as many as the newest table asks for, at
//! the addresses where node ports are open.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use compile::ServiceTable;
use compile::services::{HealthCheck, Resolved};
use imbl::ordmap::DiffItem;
use kube::{Event, Regarding};
use model::{Family, OrdMap, ServiceName, chain};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::admin::{Desk, Seats, Server, Visitor};
use crate::observe::Teller;
use crate::sockets::Sockets;

/// First pause after a port could not be listened on; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(500);

/// Longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Where a Service is asked after.
type Place = (ServiceName, SocketAddr);

/// Keeps the listeners what the newest view asks for, until the future is dropped. They go with it.
pub(crate) async fn keep_open(desk: Desk, teller: Teller, sockets: Sockets) {
    let mut views = desk.shown.views();
    let mut checks = Checks::default();
    let (listeners, seats) = (BTreeMap::new(), Seats::default());
    let mut open = Open { listeners, seats, desk, teller, sockets };
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        checks.follow(&view.compiled.services);
        let wanted = checks.places(&view.compiled.services.node_port_addrs);
        open.follow(wanted).await;
        if !view.report.steps.is_empty() {
            // Every listener of the agent before that is wanted has been taken by now.
            open.sockets.close_inherited("tcp ");
        }
        let again = open.next_try();
        let wait = async {
            match again {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return },
            () = wait => {}
        }
    }
}

/// The health checks of every Service that has any, kept in the time of what changes in the table.
#[derive(Debug, Default)]
struct Checks {
    seen: OrdMap<ServiceName, Arc<Resolved>>,
    each: BTreeMap<ServiceName, Vec<HealthCheck>>,
}

impl Checks {
    fn follow(&mut self, table: &ServiceTable) {
        for change in self.seen.diff(&table.services) {
            match change {
                DiffItem::Remove(name, _) => {
                    self.each.remove(name);
                }
                DiffItem::Add(name, new) | DiffItem::Update { new: (name, new), .. } => {
                    match new.health_checks.is_empty() {
                        true => self.each.remove(name),
                        false => self.each.insert(name.clone(), new.health_checks.clone()),
                    };
                }
            }
        }
        self.seen = table.services.clone();
    }

    fn places(&self, addrs: &BTreeSet<IpAddr>) -> BTreeSet<Place> {
        let all = self.each.iter().flat_map(|(name, checks)| checks.iter().map(move |c| (name, c)));
        let at = |(name, check): (&ServiceName, &HealthCheck)| {
            let (name, check) = (name.clone(), *check);
            let own = addrs.iter().filter(move |addr| Family::of(**addr) == check.family);
            own.map(move |addr| (name.clone(), SocketAddr::new(*addr, check.port)))
        };
        all.flat_map(at).collect()
    }
}

/// What became of one place.
#[derive(Debug)]
enum Listener {
    Listens(JoinHandle<()>),
    Failed { why: String, pause: Duration, again: Instant },
}

/// Every place that is wanted.
struct Open {
    listeners: BTreeMap<Place, Listener>,
    seats: Seats,
    desk: Desk,
    teller: Teller,
    sockets: Sockets,
}

impl Open {
    /// Closes what is not wanted any more, then opens what is, and what failed when its time has come.
    async fn follow(&mut self, wanted: BTreeSet<Place>) {
        let gone: Vec<Place> =
            self.listeners.keys().filter(|place| !wanted.contains(place)).cloned().collect();
        for place in gone {
            if let Some(Listener::Listens(task)) = self.listeners.remove(&place) {
                task.abort();
                // Its port may be another Service's by now.
                drop(task.await);
            }
        }
        for place in wanted {
            let failed = match self.listeners.get(&place) {
                Some(Listener::Listens(_)) => continue,
                Some(Listener::Failed { again, .. }) if *again > Instant::now() => continue,
                Some(Listener::Failed { why, pause, .. }) => Some((why.clone(), *pause)),
                None => None,
            };
            let listener = self.listen(&place, failed).await;
            self.listeners.insert(place, listener);
        }
    }

    /// `failed` is what came of the last try.
    async fn listen(&self, place: &Place, failed: Option<(String, Duration)>) -> Listener {
        let (service, addr) = place;
        let error = match Server::address(*addr, &self.sockets).await {
            Ok(server) => {
                let visitor = Visitor::Balancer(service.clone(), Family::of(addr.ip()));
                let serve = server.serve(self.desk.clone(), visitor, self.seats.clone());
                return Listener::Listens(tokio::spawn(serve));
            }
            Err(error) => error,
        };
        let why = chain(&error);
        let (last, pause) =
            failed.map_or((None, SHORTEST), |(last, pause)| (Some(last), (pause * 2).min(LONGEST)));
        if last.as_ref() != Some(&why) {
            tracing::warn!("health check of Service {service}: {why}; trying again");
            self.teller.tell(self.failed(place, &why));
        }
        Listener::Failed { why, pause, again: Instant::now() + pause }
    }

    /// Source: kube-proxy.
    fn failed(&self, (service, addr): &Place, why: &str) -> Event {
        let node = &self.desk.shown.view().world.config.node;
        let port = addr.port();
        Event {
            regarding: Regarding::Service(service.clone()),
            is_warning: true,
            reason: "FailedToStartServiceHealthcheck",
            action: "Listen",
            note: format!(
                "node {node} failed to start healthcheck \"{service}\" on port {port}: {why}"
            ),
        }
    }

    /// When a place that failed is to be tried again.
    fn next_try(&self) -> Option<Instant> {
        let failed = self.listeners.values().filter_map(|listener| match listener {
            Listener::Failed { again, .. } => Some(*again),
            Listener::Listens(_) => None,
        });
        failed.min()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        for listener in self.listeners.values() {
            if let Listener::Listens(task) = listener {
                task.abort();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::handle::Handle;

    fn open() -> Open {
        let desk = Desk {
            handle: Handle::new(sync_channel(1).0),
            shown: Arc::default(),
            metrics: Arc::default(),
            due: super::super::Due::default(),
            watched: crate::sources::Watched::new().1,
            drops: crate::drops::Drops::default(),
            leadership: tokio::sync::watch::channel(kube::Leadership::default()).1,
            started: std::time::Instant::now(),
            settings: Arc::new(crate::run::Settings::of_nobody()),
        };
        let (events, _) = kube::Events::new();
        let teller = Teller { events, metrics: Arc::default() };
        let (listeners, seats) = (BTreeMap::new(), Seats::default());
        Open { listeners, seats, desk, teller, sockets: Sockets::default() }
    }

    #[tokio::test]
    async fn a_port_goes_from_one_service_to_another_and_is_tried_again_while_it_is_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let place = |name: &str| BTreeSet::from([(ServiceName::new("shop", name), addr)]);
        let mut open = open();
        open.follow(place("web")).await;
        let again = open.next_try().expect("it failed");
        drop(taken);
        tokio::time::sleep_until(again).await;
        open.follow(place("web")).await;
        assert_eq!(open.next_try(), None, "it listens");
        open.follow(place("other")).await;
        assert_eq!(open.next_try(), None, "and at once for another");
        assert!(open.listeners.keys().all(|(service, _)| &*service.name == "other"));
        assert!(TcpStream::connect(addr).is_ok());
        open.follow(BTreeSet::new()).await;
        assert!(TcpStream::connect(addr).is_err(), "nobody listens");
    }
}
