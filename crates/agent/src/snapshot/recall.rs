//! When a snapshot is read: once, and late.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use model::{NodeName, World, chain};

use super::Objects;
use super::read::{Recalled, read};

/// Where a snapshot is, and when it is needed.
#[derive(Debug)]
pub(crate) struct Recall {
    /// The state directory.
    pub(crate) state_dir: PathBuf,
    /// When everything should have been listed.
    pub(crate) due: Instant,
}

impl Recall {
    /// How long the API server has until a snapshot stands in for it: what it takes to list a large
    /// cluster, and less than a client of DNS waits.
    const AFTER: Duration = Duration::from_secs(4);

    /// The snapshot in `state_dir`, for an agent that begins now.
    pub(crate) fn new(state_dir: PathBuf) -> Self {
        Recall { state_dir, due: Instant::now() + Recall::AFTER }
    }

    /// What the snapshot holds that `node` has written; `None` when there is none of use.
    pub(crate) fn read(self, node: &NodeName) -> Option<Recalled> {
        match read(&self.state_dir, node) {
            Ok(Some(recalled)) => return Some(recalled),
            Ok(None) => tracing::warn!("no snapshot of the cluster is there to go by"),
            Err(error) => tracing::error!("{}", chain(&error)),
        }
        None
    }
}

impl Objects {
    /// Puts them in the place of those that `world` has.
    pub(crate) fn put_into(self, world: &mut World) {
        let Objects { nodes, services, slices, service_cidrs, namespaces, .. } = self;
        let Objects { pods, policies, cluster_policies, .. } = self;
        let before = std::mem::take(world);
        let cluster = World { nodes, services, slices, service_cidrs, namespaces, ..before };
        *world = World { pods, policies, cluster_policies, ..cluster };
    }
}
