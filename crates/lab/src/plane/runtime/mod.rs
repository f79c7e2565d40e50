//! What every controller of the control plane is made of: one cache of the cluster, a queue of object
//! names for each controller, and one loop that asks controllers what to write and writes it.
//!
//! ```text
//! API ──watch──► feed ──► Cluster (cache, indexed) ──Change──► Controller::concerns ──► Queue
//!  ▲                         ▲                                                            │
//!  └──── write ◄── Plan ◄────┼───────────────── Controller::decide(cluster, key) ◄────────┘
//!           └── answer ──────┘
//! ```
//!
//! # How to write a controller
//!
//! 1. The kinds it reads stand in the list of [`cluster`]; each gets a [`Cache`] with indexes by name,
//!    namespace, controlling owner, label, and for pods by node.
//! 2. Implement [`Controller`] in a file of its own, and add it to the list in `plane::run`:
//!    - [`Controller::concerns`] maps a [`Change`] to the keys (`namespace/name`) that have to be
//!      looked at again. A pod's change concerns its owner: [`owner_key`].
//!    - [`Controller::decide`] looks at the cluster as it is now and says in a [`Plan`] what to write,
//!      and when to look again if only time will change the decision. It is pure, so that its tests
//!      are tables of objects in and writes out (`testing::World`).
//! 3. The loop does the rest: a key is decided by one turn at a time; writes of a plan are sent in
//!    batches of 1, 2, 4, … and stop at the first failure; a key that failed is looked at again after
//!    10 ms, doubling up to 30 s, and no other key waits for it; what failed is in [`Turn::failure`].
//!
//! A controller keeps no state that matters: after a restart every key is looked at once, when the
//! caches are complete. Nothing needs "expectations": an answer of the API server goes into the cache
//! before the key is looked at again, so a controller sees what it wrote however slow the watch is.
//!
//! Source: client-go, informers and work queues; kube-controller-manager, `slowStartBatch`.

mod cache;
pub(crate) mod cluster;
mod feed;
mod queue;
mod run;
#[cfg(test)]
pub(crate) mod testing;
mod write;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube_rs::{Resource, ResourceExt};

pub(crate) use cache::{Cache, Changed};
pub(crate) use cluster::{Change, Cluster, Kind};
pub(crate) use run::run;
pub(crate) use write::{Action, Note, Write};

/// A part of the control plane that makes one kind of object true.
pub(crate) trait Controller: Send {
    /// Who it is in events and logs, as Kubernetes names it: `replicaset-controller`.
    fn name(&self) -> &'static str;

    /// Puts every key that `change` may matter to into `keys`. The cluster is as after the change.
    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys);

    /// What to write for `key` now; an object that is gone is usually nothing to do.
    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan;
}

/// Keys that a change concerns.
pub(crate) struct Keys {
    /// The time it is.
    pub now: Timestamp,
    all: Vec<(Arc<str>, i64, SignedDuration)>,
}

impl Keys {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { now, all: Vec::new() }
    }

    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<String> {
        self.all.iter().map(|(key, ..)| key.to_string()).collect()
    }

    /// `key` is to be looked at.
    pub(crate) fn add(&mut self, key: impl Into<Arc<str>>) {
        self.all.push((key.into(), 0, SignedDuration::ZERO));
    }

    /// Each of `keys` is to be looked at.
    pub(crate) fn extend(&mut self, keys: impl IntoIterator<Item = String>) {
        for key in keys {
            self.add(key);
        }
    }

    /// `key` is to be looked at before those of lower rank.
    pub(crate) fn add_ranked(&mut self, key: impl Into<Arc<str>>, rank: i64) {
        self.all.push((key.into(), rank, SignedDuration::ZERO));
    }

    /// `key` is to be looked at, but not before `pause` is over.
    pub(crate) fn add_after(&mut self, key: impl Into<Arc<str>>, rank: i64, pause: SignedDuration) {
        self.all.push((key.into(), rank, pause));
    }

    /// What is controlled by an owner of `kind` changed: the owner is to be looked at. If it went away,
    /// after a moment only: perhaps the owner has gone too and the watch of its kind tells later.
    pub(crate) fn add_owner<K: Resource>(&mut self, changed: &Changed<K>, kind: &str) {
        const MOMENT: SignedDuration = SignedDuration::from_millis(25);
        let leaves = |object: &Arc<K>| object.meta().deletion_timestamp.is_some();
        let stays = changed.new.as_ref().is_some_and(|new| !leaves(new));
        let left = changed.old.as_ref().is_some_and(leaves);
        let pause = if stays || left { SignedDuration::ZERO } else { MOMENT };
        for key in changed.states().filter_map(|state| owner_key(&**state, kind)) {
            self.add_after(key, 0, pause);
        }
    }
}

/// The circumstances of a decision.
pub(crate) struct Turn<'a> {
    /// The time it is.
    pub now: Timestamp,
    /// What became of this key's last plan, if it failed.
    pub failure: Option<&'a Failure>,
}

/// Why a plan was not carried out to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What was tried.
    pub tried: Tried,
    /// What the API server said.
    pub message: String,
}

/// The kind of write that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    /// An object was to be made.
    Create,
    /// An object was to be removed.
    Delete,
    /// An object was to be changed.
    Change,
}

/// What a controller wants done for one key.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Writes, in this order.
    pub writes: Vec<Write>,
    /// Events to tell at once, whatever becomes of the writes.
    pub events: Vec<Note>,
    /// When to look again although nothing has changed.
    pub again: Option<Timestamp>,
}

impl Plan {
    /// Nothing to do.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// Looks again at `time` at the latest.
    pub(crate) fn again_at(&mut self, time: Timestamp) {
        self.again = Some(self.again.map_or(time, |other| other.min(time)));
    }
}

/// `namespace/name`, or the name alone of what has no namespace. Of what has no name yet, what its name will
/// begin with.
pub(crate) fn key<K: Resource>(object: &K) -> String {
    match &object.meta().namespace {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

/// The reference to the owner that controls `object`.
pub(crate) fn controller_of<K: Resource>(object: &K) -> Option<&OwnerReference> {
    let owners = object.meta().owner_references.as_ref();
    owners.into_iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The key of `object`'s controlling owner if that is of `kind`.
pub(crate) fn owner_key<K: Resource>(object: &K, kind: &str) -> Option<String> {
    let owner = controller_of(object).filter(|owner| owner.kind == kind)?;
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    Some(format!("{namespace}/{}", owner.name))
}
