//! DNS of the node: a server, what it answers by, and where it is reached.
//!
//! What is answered follows the kernel: the zones of a World are given to the server when a pass has
//! brought that World's rules in place, and not before, so nobody learns of a Service that packets can't
//! get to yet. An ADD is answered after that pass, so a pod starts with names that know it. Nothing is
//! listened at before there are zones: until then other nodes answer.

mod document;
mod listeners;
mod log;
mod named;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kernel::nft::{Owned, OwnedError};
use model::{Dns, DomainName};
use plan::zone::Zones;
use plan::{LocalPods, NamedSets};
use proxy::dns::{
    Counts, Forwarder, Known, Limits, NamedTally, Server, Sources, StartError, Tally,
};
use tokio::runtime::{Builder, Runtime};

use document::Document;
use document::DocumentError;
pub(crate) use listeners::Listeners;
use log::Logging;

use crate::sockets::{Open, Sockets};

/// DNS did not start.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The rules that keep its packets untracked can't be had.
    #[error(transparent)]
    Owned(#[from] OwnedError),
    /// No threads for it.
    #[error("start the runtime of DNS")]
    Runtime(#[source] std::io::Error),
    /// The settings of what is asked of others.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// No server.
    #[error(transparent)]
    Server(#[from] StartError),
    /// What policies allow by name can't be written.
    #[error("start to allow what names stand for")]
    Named(#[source] std::io::Error),
}

/// What the server answers by.
#[derive(Debug, Clone)]
pub(crate) struct Names(Arc<Known>);

impl Names {
    /// Nothing yet, under the zone of `dns`: what is asked for may exist.
    pub(crate) fn new(dns: &Dns) -> Self {
        let zones = Zones::new(dns.clone());
        let (cluster, pods) = (Arc::<Sources>::default(), Arc::<LocalPods>::default());
        let (cluster, pods) = (cluster.into(), pods.into());
        let (zones, log, named) = (Arc::new(zones).into(), Default::default(), Default::default());
        Names(Arc::new(Known { zones, cluster, pods, log, named }))
    }

    /// Has `zones` answered from now on, under the serial `now` if they are others, to `pods` among others.
    pub(crate) fn publish(&self, zones: &Zones, pods: &LocalPods, now: u32) {
        if **self.0.pods.load() != *pods {
            self.0.pods.store(Arc::new(pods.clone()));
        }
        if !self.zones().is_same(zones) {
            let mut zones = zones.clone();
            zones.serial = now;
            self.0.zones.store(Arc::new(zones));
        }
    }

    /// Rules are about to look into `sets`, too: what is answered from now on belongs there.
    pub(crate) fn expect(&self, sets: &NamedSets) {
        if let Some(named) = &*self.0.named.load() {
            named.expect(sets);
        }
    }

    /// Rules look into `sets` and no others, which may have been `touched`.
    pub(crate) fn settle(&self, sets: &NamedSets, touched: bool) {
        if let Some(named) = &*self.0.named.load() {
            named.settle(sets, touched);
        }
    }

    /// What names stand for now, as far as rules ask for them.
    pub(crate) fn stand_for(&self) -> BTreeMap<DomainName, BTreeSet<IpAddr>> {
        self.0.named.load().as_ref().map(|named| named.stand_for()).unwrap_or_default()
    }

    /// What is answered.
    pub(crate) fn zones(&self) -> Arc<Zones> {
        self.0.zones.load_full()
    }

    /// Whether names that are asked for and not there don't exist.
    pub(crate) fn are_complete(&self) -> bool {
        self.0.zones.load().is_complete
    }
}

/// What DNS of the node has done so far.
#[derive(Debug)]
pub(crate) struct Done {
    /// By its server.
    pub(crate) counts: Counts,
    /// Of what others were asked.
    pub(crate) tally: Tally,
    /// Of what policies allow by name.
    pub(crate) named: NamedTally,
    /// Packets that the rules dropped because their clients sent too many; `None` when the kernel does not
    /// say.
    pub(crate) excess: Option<u64>,
}

/// A server that runs, and the rules by which packets get to it.
///
/// The rules go first, whatever ends the agent: they are the field that is dropped first, and [`Owned`]
/// closes before other descriptors do.
pub(crate) struct Answering {
    untracked: Mutex<Owned>,
    client_rate: Option<NonZero<u32>>,
    server: Server,
    others: Arc<Forwarder>,
    names: Names,
    sockets: Sockets,
    runtime: Background,
}

/// A runtime that ends without waiting for what it does.
struct Background(Option<Runtime>);

/// How long questions that others are asked for may keep the end of a server waiting. They are given up
/// by then in any case.
const PATIENCE: Duration = Duration::from_secs(3);

/// Under which name the rules are given to the next agent.
const RULES: &str = "dns rules";

impl Answering {
    /// Starts a server that listens nowhere yet, with the rules that were inherited. What it asks of
    /// others is said in `document`, if there is one.
    ///
    /// # Errors
    /// [`DnsError`].
    pub(crate) fn start(
        dns: &Dns,
        document: Option<&Path>,
        sockets: &Sockets,
    ) -> Result<Self, DnsError> {
        let document = document.map(Document::read).transpose()?;
        let (document, settings) = document.unzip();
        let untracked = match sockets.take(RULES) {
            Some(fd) => Owned::from_fd(fd)?,
            None => Owned::open()?,
        };
        // What is read of the API server must not keep questions waiting.
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("dns-others").enable_all();
        let runtime = runtime.build().map_err(DnsError::Runtime)?;
        let names = Names::new(dns);
        let handle = runtime.handle().clone();
        let settings = settings.unwrap_or_default();
        let mut log = Logging::new(names.clone(), dns.log);
        log.set(settings.log);
        let least_allowed = settings.least_allowed;
        let others = Arc::new(Forwarder::new(dns.domain, settings, &handle));
        let named = named::start(&names.0, &others)?;
        named.allow_for(least_allowed);
        names.0.named.store(Some(Arc::new(named)));
        if let Some(document) = document {
            runtime.spawn(document.follow(Arc::downgrade(&others), Arc::downgrade(&names.0), log));
        }
        let asked = Arc::clone(&others);
        let server = Server::start(Arc::clone(&names.0), asked, Limits::default(), handle)?;
        Ok(Answering {
            untracked: Mutex::new(untracked),
            client_rate: dns.client_rate,
            server,
            others,
            names,
            sockets: sockets.clone(),
            runtime: Background(Some(runtime)),
        })
    }

    /// What it has done so far.
    pub(crate) fn done(&self) -> Done {
        let excess = self.untracked.lock().unwrap_or_else(PoisonError::into_inner).counted();
        let named = self.names.0.named.load().as_ref().map(|named| named.tally());
        let (counts, tally) = (self.server.counts(), self.others.tally());
        Done { counts, tally, named: named.unwrap_or_default(), excess: excess.ok() }
    }

    /// What it answers by.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// How often each of its threads has looked for work.
    pub(crate) fn beats(&self) -> Vec<u64> {
        self.server.beats()
    }

    /// Copies of what is open, for the agent after this one.
    pub(crate) fn open(&self) -> Vec<(String, Arc<dyn Open>)> {
        let rules = self.untracked.lock().unwrap_or_else(PoisonError::into_inner).to_fd();
        let rules = rules.map_err(|error| tracing::warn!("{}", model::chain(&error)));
        let sockets = self.server.sockets();
        let sockets = sockets.map_err(|error| tracing::warn!("copy the sockets of DNS: {error}"));
        let named = sockets.into_iter().flatten().enumerate().map(|(i, fd)| (name(i), fd));
        let all = rules.into_iter().map(|fd| (RULES.to_owned(), fd)).chain(named);
        all.map(|(name, fd)| (name, Arc::new(fd) as Arc<dyn Open>)).collect()
    }

    /// Goes on with connections that the agent before this one has answered so far.
    pub(crate) fn adopt(&self, connections: Vec<OwnedFd>) {
        self.server.adopt(connections);
    }

    /// Takes the rules away, so that other nodes are asked from now on, answers every question that came
    /// before, and ends.
    pub(crate) async fn end(self) {
        let Answering { untracked, server, runtime, .. } = self;
        drop(untracked);
        drop(server.stop(PATIENCE).await);
        drop(runtime);
    }

    /// Stops reading, since another agent does, and answers what was read. Gives back what is open still,
    /// connections as well.
    pub(crate) async fn retire(self) -> Vec<OwnedFd> {
        let Answering { untracked, server, runtime, .. } = self;
        let open = server.stop(PATIENCE).await;
        drop((untracked, runtime));
        open
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").field("addrs", &self.server.addrs()).finish_non_exhaustive()
    }
}

/// Under which name a socket is given to the next agent.
fn name(number: usize) -> String {
    format!("dns {number}")
}
