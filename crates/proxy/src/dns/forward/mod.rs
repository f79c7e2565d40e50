//! Names that others know: asked of their servers, remembered, and given again.
//!
//! Static hosts and rewrites come before the cluster's zones ([`Others::prior`]). What is asked of servers
//! is remembered for as long as they say, within bounds; renewed before its time when it is popular; and
//! given beyond its time when nobody answers. Each question is on its way once, to the servers of the
//! longest zone its name is in, and there is an answer in 1.8 s, if only that nobody could say.
//!
//! Sources: RFC 1035, RFC 2308, RFC 5452, RFC 7766, RFC 7858, RFC 8767; DNS-80 to DNS-100.

mod cache;
mod datagram;
mod flights;
mod learn;
mod probe;
mod race;
mod routes;
mod rules;
mod stream;
mod tally;
mod tasks;
mod tls;
mod upstream;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::forwarding::Forwarding;
use model::{DomainName, chain};
use tokio::runtime::Handle;
use tokio::time::{interval, timeout};
use wire::dns::Rcode;

use self::cache::{Cache, Remembered};
use self::flights::{Boarded, Flight, Flights};
use self::learn::is_negative;
use self::probe::Probes;
use self::race::Timing;
use self::routes::Routes;
use self::rules::Rules;
use self::tasks::Tasks;
use self::upstream::Standing;
use super::{Found, Others, Prior, Sought};

pub use self::tally::{CacheTally, Connections, Tally, UpstreamTally};

/// How often files with nameservers are read.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How many of those looks pass between two searches for loops.
const LOOKS_PER_PROBE: u32 = 12;

/// Asks other servers what the cluster's zones do not know.
#[derive(Debug)]
pub struct Forwarder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Nothing under this name is ever asked of others.
    cluster: DomainName,
    active: ArcSwap<Active>,
    cache: Mutex<Cache>,
    flights: Arc<Flights>,
    probes: Probes,
    timing: Timing,
    counts: Counts,
    tasks: Arc<Tasks>,
    /// Held by whoever puts another `active` in place of one he has read.
    changing: Mutex<()>,
}

/// Settings, with what follows from them.
#[derive(Debug)]
struct Active {
    settings: Forwarding,
    rules: Rules,
    routes: Routes,
}

/// What happened so far.
#[derive(Debug, Default)]
struct Counts {
    /// Of answers, and of denials.
    hits: [AtomicU64; 2],
    misses: AtomicU64,
    prefetches: AtomicU64,
    stale: AtomicU64,
    rejects: AtomicU64,
    broken: AtomicU64,
}

impl Forwarder {
    /// A forwarder that asks by `settings`, on `runtime`, for anything but the names of `cluster`. It
    /// looks after files and servers as long as it is there.
    pub fn new(cluster: DomainName, settings: Forwarding, runtime: &Handle) -> Self {
        Forwarder::with_timing(cluster, settings, runtime, Timing::default())
    }

    fn with_timing(
        cluster: DomainName,
        settings: Forwarding,
        runtime: &Handle,
        timing: Timing,
    ) -> Self {
        let tasks = Arc::new(Tasks::new(runtime.clone()));
        let shared = Shared {
            cluster,
            cache: Mutex::new(Cache::new(settings.cache.clone())),
            active: ArcSwap::from_pointee(Active::new(settings, &Routes::default(), &tasks)),
            flights: Arc::default(),
            probes: Probes::default(),
            timing,
            counts: Counts::default(),
            tasks,
            changing: Mutex::default(),
        };
        let forwarder = Forwarder(Arc::new(shared));
        let weak = Arc::downgrade(&forwarder.0);
        forwarder.0.tasks.spawn(async move {
            let mut look = interval(LOOK_EVERY);
            let mut looks = 0;
            loop {
                look.tick().await;
                let Some(shared) = weak.upgrade() else { return };
                if shared.look() {
                    looks = 0;
                }
                // Who shows nothing, because nobody listens here yet, say, is probed by the next look again.
                if looks % LOOKS_PER_PROBE != 0 || shared.probe().await {
                    looks += 1;
                }
            }
        });
        forwarder
    }

    /// Goes on with other settings. What is remembered stays, unless the bounds for it are others.
    pub fn set(&self, settings: Forwarding) {
        let shared = &self.0;
        let _alone = shared.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let active = shared.active.load();
        if active.settings == settings {
            return;
        }
        if active.settings.cache != settings.cache {
            *shared.cache() = Cache::new(settings.cache.clone());
        }
        shared.active.store(Arc::new(Active::new(settings, &active.routes, &shared.tasks)));
    }

    /// What is remembered of names that are `meant`: addresses, each with the seconds for which it may be
    /// remembered.
    pub fn lately(
        &self,
        meant: &dyn Fn(&DomainName) -> bool,
    ) -> Vec<(DomainName, Vec<(IpAddr, u32)>)> {
        self.0.cache().lately(meant, Instant::now())
    }

    /// What it did so far.
    pub fn tally(&self) -> Tally {
        let Counts { hits, misses, prefetches, stale, rejects, broken } = &self.0.counts;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [success, denial] = self.0.cache().tally();
        let active = self.0.active.load();
        let upstreams = active.routes.iter().flat_map(|route| route.upstreams());
        Tally {
            success: CacheTally { hits: count(&hits[0]), ..success },
            denial: CacheTally { hits: count(&hits[1]), ..denial },
            misses: count(misses),
            prefetches: count(prefetches),
            stale: count(stale),
            rejects: count(rejects),
            broken: count(broken),
            upstreams: tally::by_server(upstreams.map(|upstream| &**upstream)),
        }
    }
}

impl Active {
    fn new(settings: Forwarding, before: &Routes, tasks: &Arc<Tasks>) -> Self {
        let (routes, bad) = before.renewed(&settings.zones, tasks);
        for reason in bad {
            tracing::warn!("dns: {}", chain(&reason));
        }
        Active { rules: Rules::new(&settings), settings, routes }
    }
}

impl Others for Forwarder {
    fn prior(&self, sought: &Sought) -> Prior {
        self.0.active.load().rules.prior(sought)
    }

    fn remembered(&self, sought: &Sought) -> Option<Found> {
        let Remembered::Fresh { found, is_due } = self.0.cache().get(sought, Instant::now()) else {
            return None; // Whoever asks on is counted then.
        };
        self.0.count_hit(sought, &found);
        if is_due && self.0.fly(sought).is_some() {
            self.0.count(&self.0.counts.prefetches);
        }
        Some(found)
    }

    fn ask(&self, sought: Sought) -> BoxFuture<'static, Found> {
        let shared = Arc::clone(&self.0);
        async move { shared.ask(&sought).await }.boxed()
    }
}

impl Shared {
    async fn ask(self: &Arc<Self>, sought: &Sought) -> Found {
        if sought.name.is_under(&self.cluster) || self.probes.has_come_back(sought) {
            return failure();
        }
        let stale = match self.cache().get(sought, Instant::now()) {
            Remembered::Fresh { found, .. } => {
                self.count_hit(sought, &found);
                return found;
            }
            Remembered::Stale { found, is_tried: true } => {
                self.count(&self.counts.stale);
                return found;
            }
            Remembered::Stale { found, is_tried: false } => Some(found),
            Remembered::Nothing => None,
        };
        self.count(&self.counts.misses);
        let found = match (self.fly(sought), &stale) {
            (Some(flight), None) => flight.await.ok(),
            (Some(flight), Some(_)) => {
                let fresh = timeout(self.timing.verify, flight).await.ok().and_then(Result::ok);
                fresh.filter(|found| matches!(found.rcode, Rcode::NoError | Rcode::NxDomain))
            }
            (None, _) => None,
        };
        match (found, stale) {
            (Some(found), _) => found,
            (None, Some(stale)) => {
                self.count(&self.counts.stale);
                stale
            }
            (None, None) => failure(),
        }
    }

    /// Sees to it that the question is on its way, if there is room.
    fn fly(self: &Arc<Self>, sought: &Sought) -> Option<Flight> {
        let most = self.active.load().settings.max_concurrent;
        match self.flights.board(sought, most) {
            Boarded::There(flight) => Some(flight),
            Boarded::New(flight, landing) => {
                let (shared, sought) = (Arc::clone(self), *sought);
                self.tasks.spawn(async move { landing.land(shared.find(&sought).await) });
                Some(flight)
            }
            Boarded::Full => {
                self.count(&self.counts.rejects);
                None
            }
        }
    }

    /// Asks the servers whose the name is, and remembers what they say.
    async fn find(&self, sought: &Sought) -> Found {
        let upstreams = self.active.load().routes.find(&sought.name).map(routes::Route::order);
        let upstreams = upstreams.unwrap_or_default();
        if upstreams.first().is_some_and(|best| best.standing() == Standing::Down) {
            self.count(&self.counts.broken);
        }
        let found = race::ask(&upstreams, sought, self.timing).await;
        let mut cache = self.cache();
        let found = cache.clamp(sought, found.unwrap_or_else(failure));
        cache.put(sought, &found, Instant::now());
        found
    }

    /// Reads the files with nameservers; whether anything is new.
    fn look(&self) -> bool {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let active = self.active.load();
        let (routes, bad) = active.routes.renewed(&active.settings.zones, &self.tasks);
        let is_new = !routes.is_same(&active.routes);
        if is_new {
            for reason in bad {
                tracing::warn!("dns: {}", chain(&reason));
            }
            let (settings, rules) = (active.settings.clone(), Rules::new(&active.settings));
            self.active.store(Arc::new(Active { settings, rules, routes }));
        }
        is_new
    }

    /// Searches for loops; whether each server has shown what it does.
    async fn probe(&self) -> bool {
        let active = self.active.load_full();
        let mut have_shown = true;
        for route in active.routes.iter() {
            have_shown &= self.probes.send(route).await;
        }
        have_shown
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_hit(&self, sought: &Sought, found: &Found) {
        self.count(&self.counts.hits[usize::from(is_negative(found, sought))]);
    }

    fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Nobody could say.
fn failure() -> Found {
    Found { rcode: Rcode::ServFail, is_authentic: false, records: Vec::new() }
}
