//! Hears from the kernel that somebody else wrote, and has the loop look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kernel::monitor::{Changed, Monitor};
use kernel::nft::{Nft, Passing, foreign};
use model::chain;

use crate::handle::Handle;
use crate::observe::Metrics;
use crate::places::{PLACES, PlaceError, opened};
use crate::sources::{Disturbance, Disturbed, HOST};

/// Changes come in bursts: the loop looks when it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(100);

/// The loop looks at the latest this long after a change, however lively it is.
const LATEST: Duration = Duration::from_millis(500);

/// How often chains of others are looked at, and the end of the agent is noticed.
const ROUND: Duration = Duration::from_secs(1);

/// Rounds between two looks at chains of others.
const FOREIGN_ROUNDS: u32 = 10;

/// The thread that listens; it ends with this value.
#[derive(Debug)]
pub(crate) struct Monitoring {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Monitoring {
    /// Starts to listen in the network namespace of this thread.
    ///
    /// # Errors
    /// [`PlaceError`] when the kernel's groups cannot be joined.
    pub(crate) fn start(
        disturbed: Disturbed,
        handle: Handle,
        metrics: Arc<Metrics>,
    ) -> Result<Self, PlaceError> {
        let ends = Arc::new(AtomicBool::new(false));
        let ear = Ear {
            monitor: opened("monitor", Monitor::open())?,
            nft: opened("nft", Nft::open())?,
            disturbed,
            handle,
            metrics,
            dropping: Vec::new(),
        };
        let until = Arc::clone(&ends);
        let thread = std::thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(move || ear.listen(&until));
        Ok(Monitoring { ends, thread: Some(opened("monitor", thread)?) })
    }
}

impl Drop for Monitoring {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

struct Ear {
    monitor: Monitor,
    nft: Nft,
    disturbed: Disturbed,
    handle: Handle,
    metrics: Arc<Metrics>,
    /// Chains of others that drop, as last said in the log.
    dropping: Vec<String>,
}

impl Ear {
    fn listen(mut self, ends: &AtomicBool) {
        let mut round = 0;
        while !ends.load(Ordering::Relaxed) {
            if round % FOREIGN_ROUNDS == 0 {
                self.look_at_others();
            }
            match self.monitor.next(Some(ROUND)) {
                Ok(None) => round += 1,
                Ok(Some(changed)) => self.gather(changed),
                Err(error) => {
                    tracing::warn!("listen to the kernel: {error}");
                    // Whatever was missed is found by reading everything.
                    self.tell([Changed::Anything]);
                    std::thread::sleep(ROUND);
                }
            }
        }
    }

    /// Waits for the end of the burst that `first` begins. Until then the loop hears nothing of it:
    /// a row of ADDs would have it look after each.
    fn gather(&mut self, first: Changed) {
        let start = Instant::now();
        let mut burst = vec![first];
        while start.elapsed() < LATEST {
            match self.monitor.next(Some(QUIET)) {
                Ok(Some(changed)) => burst.push(changed),
                Ok(None) | Err(_) => break,
            }
        }
        self.tell(burst);
    }

    /// Has the loop look at what changed.
    fn tell(&self, burst: impl IntoIterator<Item = Changed>) {
        let mut disturbance = Disturbance::default();
        for changed in burst {
            if let Changed::Nftables { pid, process } = &changed {
                tracing::warn!("process {process:?} ({pid}) changed Seaway's nftables");
            }
            disturbance.places.extend(places(&changed));
            if let Changed::PodLink(name) = changed {
                disturbance.pod_links.insert(name);
            }
        }
        self.disturbed.add(disturbance);
        self.handle.wake();
    }

    fn look_at_others(&mut self) {
        let mut chains = match foreign(&mut self.nft) {
            Ok(chains) => chains,
            Err(error) => {
                tracing::warn!("list nftables chains: {}", chain(&error));
                return;
            }
        };
        chains.retain(|chain| chain.hook == Passing::Forwarded);
        self.metrics.foreign_drops(chains.len());
        let chains: Vec<String> = chains.iter().map(ToString::to_string).collect();
        for chain in chains.iter().filter(|chain| !self.dropping.contains(chain)) {
            tracing::warn!("another program may drop packets of pods: {chain}");
        }
        self.dropping = chains;
    }
}

/// The steps whose places may have changed. What the kernel takes along is included: routes and
/// neighbors go with their link, routes with the address they name as source.
fn places(changed: &Changed) -> Vec<&'static str> {
    match changed {
        Changed::Links => {
            ["links", "addrs", "pods", "sysctls", "neighbors", "proxies", "fdb", "routes"]
                .into_iter()
                .chain([HOST])
                .collect()
        }
        // Only the link itself: what the kernel took along is looked at if the link is not as it was.
        Changed::PodLink(_) => Vec::new(),
        Changed::Addrs => vec![HOST, "addrs", "routes"],
        Changed::Routes => vec![HOST, "routes"],
        Changed::Rules => vec!["rules"],
        Changed::Neighbors => vec!["neighbors", "fdb"],
        Changed::Nftables { .. } => vec!["nft"],
        Changed::Anything => [HOST].into_iter().chain(PLACES).collect(),
    }
}
