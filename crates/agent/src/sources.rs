//! Where the World comes from, besides the journal: the API server, or the snapshot of what it said
//! once, and the machine. Each source is a level that the loop looks at; what woke it does not matter.

mod pods;
mod policies;
mod watched;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Listed;
use model::{DiffItem, EndpointSlice, Host, IfName, OrdMap, Rfc3339, SliceKey, World};
use tokio::sync::watch;

use crate::snapshot::{Recall, Recalled};

pub(crate) use watched::Watched;
#[cfg(test)]
pub(crate) use watched::Watching;

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

/// Takes a new level into `known`, and returns how many objects are other ones. An old level and one
/// that followed from it share what is the same, so they are compared without looking at it.
fn take<K: Ord + Clone, V: Eq>(seen: &Listed<K, V>, known: &mut OrdMap<K, Arc<V>>) -> usize {
    let Some(new) = seen.listed.clone() else { return 0 };
    let differ = if known.ptr_eq(&new) { 0 } else { known.diff(&new).count() };
    *known = new;
    differ
}

/// Whether an endpoint goes by what is new, so that somebody may wait for new flows to follow.
fn drains(old: &Slices, new: &Slices) -> bool {
    old.diff(new).any(|change| match change {
        DiffItem::Add(_, new) => has_terminating(new),
        DiffItem::Update { old: (_, old), new: (_, new) } => {
            has_terminating(new) || ready(old).any(|addr| !ready(new).any(|stays| stays == addr))
        }
        DiffItem::Remove(_, old) => ready(old).next().is_some(),
    })
}

fn has_terminating(slice: &EndpointSlice) -> bool {
    slice.endpoints.iter().any(|endpoint| endpoint.conditions.terminating)
}

fn ready(slice: &EndpointSlice) -> impl Iterator<Item = IpAddr> {
    slice
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.conditions.ready)
        .map(|endpoint| endpoint.addr)
}

/// What a World goes by.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Nothing yet: what there is not is not known.
    #[default]
    Nothing,
    /// A snapshot that was written at this time since 1970, and what has been listed since.
    Snapshot(Duration),
    /// Everything has been listed.
    Lists,
}

/// Everything the loop looks at.
pub(crate) struct Sources {
    watched: Watched,
    others: pods::Others,
    /// None once it is not needed any more.
    recall: Option<Recall>,
    /// When the snapshot was written that has been taken into the World, if one was.
    recalled: Option<Duration>,
    disturbed: Disturbed,
    read_host: ReadHost,
    /// Told when the machine's addresses have become others.
    moved: watch::Sender<()>,
    /// Why the machine's own network could not be read last time; set at the start.
    host_trouble: Option<String>,
    has_host: bool,
    basis: Basis,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("disturbed", &self.disturbed).finish_non_exhaustive()
    }
}

type Slices = OrdMap<SliceKey, Arc<EndpointSlice>>;

/// What a look found.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The World is another one now.
    pub(crate) is_world_new: bool,
    /// How many Services are other ones.
    pub(crate) services: usize,
    /// How many EndpointSlices are.
    pub(crate) slices: usize,
    /// The revision of the World's slices, when endpoints go by it.
    pub(crate) drain: Option<u64>,
    /// What somebody else wrote to.
    pub(crate) disturbed: Disturbance,
}

impl Sources {
    /// Sources that have not been looked at.
    pub(crate) fn new(
        watched: Watched,
        recall: Recall,
        disturbed: Disturbed,
        read_host: ReadHost,
        moved: watch::Sender<()>,
    ) -> Self {
        Sources {
            watched,
            others: pods::Others::default(),
            recall: Some(recall),
            recalled: None,
            disturbed,
            read_host,
            moved,
            host_trouble: None,
            has_host: false,
            basis: Basis::Nothing,
        }
    }

    /// When they should be looked at although nothing has come.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.recall.as_ref().map(|recall| recall.due).into_iter().chain(self.others.due()).min()
    }

    /// Takes the newest level of every source into `world`.
    pub(crate) fn look(&mut self, world: &mut World) -> News {
        let disturbed = self.disturbed.take();
        // Before anything is taken: what is listed meanwhile is for the next look.
        let is_listed = self.watched.missing().is_none();
        self.recall(world, is_listed);
        let mut is_new = false;
        if disturbed.places.contains(HOST) || !self.has_host || self.host_trouble.is_some() {
            is_new |= self.look_at_host(world);
        }
        let basis = self.basis_of(is_listed);
        let Watched { nodes, services, slices, service_cidrs, namespaces, .. } = &mut self.watched;
        is_new |= take(&nodes.borrow_and_update(), &mut world.nodes) > 0;
        is_new |= take(&service_cidrs.borrow_and_update(), &mut world.service_cidrs) > 0;
        is_new |= take(&namespaces.borrow_and_update(), &mut world.namespaces) > 0;
        let services = take(&services.borrow_and_update(), &mut world.services);
        let before = world.slices.clone();
        let seen = slices.borrow_and_update();
        let slices = take(&seen, &mut world.slices);
        let revision = seen.revision;
        drop(seen);
        is_new |= services + slices > 0;
        if is_listed {
            self.recall_policies(world);
        }
        is_new |= self.look_at_policies(world);
        let before_basis = std::mem::replace(&mut self.basis, basis);
        let is_world_new = basis != Basis::Nothing && (is_new || before_basis != basis);
        let drains = basis == Basis::Lists
            && (before_basis != Basis::Lists || drains(&before, &world.slices));
        News { is_world_new, services, slices, drain: drains.then_some(revision), disturbed }
    }

    /// What a World goes by that has everything that was listed.
    fn basis_of(&self, is_listed: bool) -> Basis {
        match self.recalled {
            _ if !self.has_host => Basis::Nothing,
            _ if is_listed => Basis::Lists,
            Some(written) => Basis::Snapshot(written),
            None => Basis::Nothing,
        }
    }

    /// Takes the snapshot into `world` when the API server has had its time. What has been listed so far
    /// is to be taken after it.
    fn recall(&mut self, world: &mut World, is_listed: bool) {
        if is_listed {
            if self.recalled.take().is_some() {
                tracing::info!("everything is listed: the snapshot is not needed any more");
            }
            return;
        }
        let is_due = |recall: &mut Recall| recall.due <= Instant::now();
        let Some(recall) = self.recall.take_if(is_due) else { return };
        if let Some(Recalled { written, objects }) = recall.read(&world.config.node) {
            let (since, why) = (Rfc3339(written), self.trouble());
            tracing::warn!("going by the snapshot of the cluster of {since}: {why}");
            objects.put_into(world);
            self.recalled = Some(written);
        }
    }

    /// Once everything is listed and some policies can't be read, or end with their namespaces, those before
    /// them count that the agent before this one knew.
    fn recall_policies(&mut self, world: &mut World) {
        if let Some(recall) = self.recall.take()
            && policies::are_in_doubt(&self.watched, world)
            && let Some(Recalled { objects, .. }) = recall.read(&world.config.node)
        {
            world.policies = objects.policies;
            world.cluster_policies = objects.cluster_policies;
        }
    }

    /// Takes policies and pods alone, which are those of the attachments that `world` has, too. Returns
    /// whether that is another world.
    pub(crate) fn look_at_policies(&mut self, world: &mut World) -> bool {
        let is_new = policies::take(&mut self.watched, world);
        let are_pods_new = pods::take(&self.watched.pods.borrow_and_update(), world);
        let are_others_new = self.others.look(world);
        // Nothing else follows from pods.
        is_new || are_others_new || are_pods_new && world.has_policies()
    }

    fn look_at_host(&mut self, world: &mut World) -> bool {
        match (self.read_host)() {
            Ok(host) => {
                self.host_trouble = None;
                if self.has_host && !host.addrs().eq(world.host.addrs()) {
                    self.moved.send_replace(());
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

    /// What the World went by when they were last looked at.
    pub(crate) fn basis(&self) -> Basis {
        self.basis
    }

    /// What keeps the World from being known.
    pub(crate) fn trouble(&self) -> String {
        let host = || self.host_trouble.clone();
        let missing = self.watched.missing().or_else(host);
        missing.unwrap_or_else(|| "the machine's own network has not been read yet".to_owned())
    }
}

#[cfg(test)]
mod tests;
