//! Objects ordered by one version counter, in memory and, where a state directory is given, on
//! disk.
//!
//! Every write takes the next version. A shelf keeps its newest events in a ring; a reader at an
//! older version sees the past by undoing them, so pages of one list agree with each other and a
//! watch can start at any version the ring still reaches.
//!
//! With a state directory a write is made in memory first, where other writers find it at once, and
//! *settles* when it is on disk. Readers see what has settled and nothing else, and whoever wrote is
//! answered then; so what anyone has seen is there after a crash. A write that cannot be brought to
//! the disk is undone. See docs/decisions/0017.
mod chores;
mod kin;
mod log;
mod object;
mod ring;
mod shelves;
mod watch;
mod writer;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

pub(crate) use chores::Chore;
pub use log::StateError;
pub(crate) use object::{Key, Object, Place, json, weight};
pub(crate) use ring::{Change, Event, Memory};
pub(crate) use watch::Cursor;
pub(crate) use writer::{Mark, Unsettled};
use writer::{Shared, Writer};

use crate::resource::Shelf;
use shelves::Shelves;

/// A write did not happen because the store holds something else than the writer believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stale;

/// A version is older than what the ring reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) asked: u64,
    pub(crate) oldest: u64,
}

/// The objects of a shelf, or of one namespace of it, at one version.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    pub(crate) objects: Vec<(Key, Arc<Object>)>,
}

/// Which of the objects at a version.
#[derive(Default)]
pub(crate) struct Part<'a> {
    /// None before this key.
    pub(crate) from: Option<&'a Key>,
    /// Only these.
    pub(crate) only: Option<&'a dyn Fn(&Object) -> bool>,
    /// No more than so many.
    pub(crate) limit: Option<usize>,
}

/// All shelves.
#[derive(Debug)]
pub(crate) struct Store {
    shared: Arc<Shared>,
    /// Brings writes to the disk; a store in memory has none.
    writer: Option<Writer>,
}

impl Store {
    /// An empty store in memory, whose shelves remember as much as `memory` says.
    pub(crate) fn new(memory: Memory) -> Self {
        let shared = Shared::new(Shelves::new(memory, 1, 0), false);
        Self { shared: Arc::new(shared), writer: None }
    }

    /// The store that is kept in `directory`, which is made if need be.
    ///
    /// # Errors
    /// [`StateError`]: what is there is left as it is.
    pub(crate) fn open(directory: &Path, memory: Memory) -> Result<Self, StateError> {
        let (log, shelves) = log::Log::open(directory, memory)?;
        let shared = Arc::new(Shared::new(shelves, true));
        let writer = Writer::start(log, shared.clone())?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// The version of the newest write that has settled.
    #[expect(clippy::misnamed_getters, reason = "readers are told of nothing newer")]
    pub(crate) fn version(&self) -> u64 {
        self.shared.lock().shelves.settled
    }

    /// About how many bytes all objects take as JSON.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.lock().shelves.bytes
    }

    /// How many objects each shelf holds.
    pub(crate) fn counts(&self) -> Vec<(Shelf, usize)> {
        let inner = self.shared.lock();
        inner.shelves.iter().map(|(shelf, state)| (shelf.clone(), state.objects.len())).collect()
    }

    /// The newest state of an object, for whoever is about to write: it may not have settled.
    pub(crate) fn get(&self, shelf: &Shelf, key: &Key) -> Option<Arc<Object>> {
        self.shared.lock().shelves.get(shelf)?.objects.get(key).cloned()
    }

    /// The settled state of an object, for whoever shows it.
    pub(crate) fn settled(&self, shelf: &Shelf, key: &Key) -> Option<Arc<Object>> {
        let inner = self.shared.lock();
        let state = inner.shelves.get(shelf)?;
        // The ring forgets only what has settled.
        let mut since = state.ring.newer_than(inner.shelves.settled).ok()?;
        match since.find(|event| event.key == *key) {
            Some(event) => event.before.clone(),
            None => state.objects.get(key).cloned(),
        }
    }

    /// Adds an object.
    ///
    /// # Errors
    /// [`Stale`] if the name is taken.
    pub(crate) fn create(
        &self,
        shelf: &Shelf,
        key: Key,
        value: Value,
    ) -> Result<Arc<Object>, Stale> {
        self.commit(shelf, key, None, [Some(value)])
    }

    /// Replaces the object that was read at version `read`.
    ///
    /// # Errors
    /// [`Stale`] if it has been written or removed since.
    pub(crate) fn replace(
        &self,
        shelf: &Shelf,
        key: Key,
        read: u64,
        value: Value,
    ) -> Result<Arc<Object>, Stale> {
        self.commit(shelf, key, Some(read), [Some(value)])
    }

    /// Removes the object that was read at version `read` and returns its last state.
    ///
    /// # Errors
    /// [`Stale`] if it has been written or removed since.
    pub(crate) fn remove(&self, shelf: &Shelf, key: Key, read: u64) -> Result<Arc<Object>, Stale> {
        self.commit(shelf, key, Some(read), [None])
    }

    /// Replaces the object that was read at version `read` by what it became in the end, and removes
    /// it: two writes, of which there is never just one.
    ///
    /// # Errors
    /// As [`Store::remove`].
    pub(crate) fn conclude(
        &self,
        shelf: &Shelf,
        key: Key,
        read: u64,
        last: Value,
    ) -> Result<Arc<Object>, Stale> {
        self.commit(shelf, key, Some(read), [Some(last), None])
    }

    /// Makes `values` of an object one after the other, all or none, and returns its last state.
    fn commit<const N: usize>(
        &self,
        shelf: &Shelf,
        key: Key,
        read: Option<u64>,
        values: [Option<Value>; N],
    ) -> Result<Arc<Object>, Stale> {
        let mut guard = self.shared.lock();
        let shelves = &mut guard.shelves;
        let before = shelves.get(shelf).and_then(|state| state.objects.get(&key)).cloned();
        if before.as_ref().map(|object| object.version) != read {
            return Err(Stale);
        }
        let mut last = before;
        let mut events = Vec::with_capacity(N);
        for value in values {
            let version = shelves.version + 1;
            let event = Event::new(version, key.clone(), last, value).ok_or(Stale)?;
            last = Some(event.object.clone());
            let event = Arc::new(event);
            shelves.put(shelf, event.clone());
            events.push(event);
        }
        self.shared.written(guard, shelf, events);
        last.ok_or(Stale)
    }

    /// The settled objects of `shelf` in `namespace` (or in all) at version `at` (or now).
    ///
    /// # Errors
    /// [`Compacted`] if `at` is no longer remembered.
    pub(crate) fn snapshot(
        &self,
        shelf: &Shelf,
        namespace: Option<&str>,
        at: Option<u64>,
    ) -> Result<Snapshot, Compacted> {
        self.part(shelf, namespace, at, &Part::default()).map(|(snapshot, _)| snapshot)
    }

    /// A part of them, and how many more there are. It costs what is in it where nothing has to be skipped.
    ///
    /// # Errors
    /// [`Compacted`] if `at` is no longer remembered.
    pub(crate) fn part(
        &self,
        shelf: &Shelf,
        namespace: Option<&str>,
        at: Option<u64>,
        part: &Part<'_>,
    ) -> Result<(Snapshot, usize), Compacted> {
        let inner = self.shared.lock();
        let version = at.unwrap_or(inner.shelves.settled);
        let Some(state) = inner.shelves.get(shelf) else {
            return Ok((Snapshot { version, objects: Vec::new() }, 0));
        };
        let rows = state.objects_at(namespace, version, part.from)?;
        let is_wanted =
            |(_, object): &(&Key, &Arc<Object>)| part.only.is_none_or(|only| only(object));
        let mut rows = rows.filter(is_wanted);
        let taken = rows.by_ref().take(part.limit.unwrap_or(usize::MAX));
        let objects = taken.map(|(key, object)| (key.clone(), object.clone())).collect();
        Ok((Snapshot { version, objects }, rows.count()))
    }

    /// The newest objects of `shelf` in `namespace`, settled or not.
    pub(crate) fn newest(&self, shelf: &Shelf, namespace: Option<&str>) -> Vec<(Key, Arc<Object>)> {
        let inner = self.shared.lock();
        let state = inner.shelves.get(shelf);
        state.map_or_else(Vec::new, |state| state.objects_in(namespace).collect())
    }

    /// Where the object with this uid is.
    pub(crate) fn place(&self, uid: &str) -> Option<Place> {
        self.shared.lock().shelves.kin.place(uid).cloned()
    }

    /// Everything that names this uid as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<Place> {
        self.shared.lock().shelves.kin.dependents(uid).cloned().collect()
    }

    /// A receiver that is told whenever there may be something for the lifecycle task to do.
    pub(crate) fn chores(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.chores.subscribe()
    }

    /// What there is to look at. It is not told again.
    pub(crate) fn take_chores(&self) -> BTreeSet<Chore> {
        std::mem::take(&mut self.shared.lock().shelves.chores.due)
    }

    /// Puts back what could not be done.
    pub(crate) fn put_back(&self, chore: Chore) {
        self.shared.lock().shelves.chores.due.insert(chore);
    }

    /// A point in time before a write, for [`Store::settle`].
    pub(crate) fn mark(&self) -> Mark {
        self.shared.mark()
    }

    /// Returns once every write until now has settled.
    ///
    /// # Errors
    /// [`Unsettled`] if writes were undone since `mark`: those made since then may be among them.
    pub(crate) async fn settle(&self, mark: Mark) -> Result<(), Unsettled> {
        self.shared.settle(mark).await
    }

    /// Writes that were undone and have not been asked for yet; of each object the newest first.
    pub(crate) fn take_undone(&self) -> Vec<(Shelf, Arc<Event>)> {
        std::mem::take(&mut self.shared.lock().undone)
    }

    /// Writes the last writes out and lets go of the state directory.
    pub(crate) fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close();
        }
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
