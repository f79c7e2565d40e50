//! Where the World comes from, besides the journal: the API server and the machine. Each source is a
//! level that the loop looks at; what woke it does not matter.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use kube::Nodes;
use model::{Host, IfName, World};
use tokio::sync::{Notify, watch};

/// Name under which uplinks and their addresses are marked, beside the names of steps.
pub(crate) const HOST: &str = "host";

/// What somebody else wrote to.
#[derive(Debug, Default)]
pub(crate) struct Disturbance {
    /// Names of places.
    pub(crate) places: BTreeSet<&'static str>,
    /// Host ends of pods.
    pub(crate) pod_links: BTreeSet<IfName>,
}

/// What somebody else wrote to since the loop last looked.
#[derive(Debug, Default, Clone)]
pub(crate) struct Disturbed(Arc<Mutex<Disturbance>>);

impl Disturbed {
    /// Has the loop look at this, too.
    pub(crate) fn add(&self, disturbance: Disturbance) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.places.extend(disturbance.places);
        waiting.pod_links.extend(disturbance.pod_links);
    }

    fn take(&self) -> Disturbance {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads uplinks and their addresses, or says in one line why not.
pub(crate) type ReadHost = Box<dyn FnMut() -> Result<Host, String> + Send>;

/// Everything the loop looks at.
pub(crate) struct Sources {
    nodes: watch::Receiver<Nodes>,
    disturbed: Disturbed,
    read_host: ReadHost,
    /// Told when the machine's addresses have become others.
    moved: Arc<Notify>,
    /// Why the machine's own network could not be read last time; set at the start.
    host_trouble: Option<String>,
    has_host: bool,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("disturbed", &self.disturbed).finish_non_exhaustive()
    }
}

/// What a look found.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The World is another one now.
    pub(crate) is_world_new: bool,
    /// What somebody else wrote to.
    pub(crate) disturbed: Disturbance,
}

impl Sources {
    /// Sources that have not been looked at.
    pub(crate) fn new(
        nodes: watch::Receiver<Nodes>,
        disturbed: Disturbed,
        read_host: ReadHost,
        moved: Arc<Notify>,
    ) -> Self {
        Sources { nodes, disturbed, read_host, moved, host_trouble: None, has_host: false }
    }

    /// Takes the newest level of every source into `world`.
    pub(crate) fn look(&mut self, world: &mut World) -> News {
        let disturbed = self.disturbed.take();
        let was_synced = self.is_synced();
        let mut is_new = false;
        if disturbed.places.contains(HOST) || !self.has_host || self.host_trouble.is_some() {
            is_new |= self.look_at_host(world);
        }
        let nodes = self.nodes.borrow_and_update().listed.clone();
        if let Some(nodes) = nodes
            && world.nodes != nodes
        {
            world.nodes = nodes;
            is_new = true;
        }
        News { is_world_new: self.is_synced() && (is_new || !was_synced), disturbed }
    }

    fn look_at_host(&mut self, world: &mut World) -> bool {
        match (self.read_host)() {
            Ok(host) => {
                self.host_trouble = None;
                if self.has_host && !host.addrs().eq(world.host.addrs()) {
                    self.moved.notify_one();
                }
                self.has_host = true;
                let is_new = world.host != host;
                world.host = host;
                is_new
            }
            Err(trouble) => {
                tracing::warn!("{trouble}");
                self.host_trouble = Some(trouble);
                false
            }
        }
    }

    /// Whether every source has listed once.
    pub(crate) fn is_synced(&self) -> bool {
        self.has_host && self.nodes.borrow().listed.is_some()
    }

    /// What keeps the World from being known.
    pub(crate) fn trouble(&self) -> String {
        let nodes = self.nodes.borrow();
        match (&nodes.trouble, &self.host_trouble) {
            (Some(why), _) => format!("the nodes have not been listed yet: {why}"),
            (None, Some(why)) => why.clone(),
            (None, None) => "the nodes have not been listed yet".to_owned(),
        }
    }
}
