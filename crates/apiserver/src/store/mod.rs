//! Objects in memory, ordered by one version counter.
//!
//! Every write takes the next version. A shelf keeps its newest events in a ring; a reader at an
//! older version sees the past by undoing them, so pages of one list agree with each other and a
//! watch can start at any version the ring still reaches.
mod ring;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use serde_json::Value;

use ring::Ring;
pub(crate) use ring::{Change, Event};
pub(crate) use watch::Cursor;

use crate::resource::Shelf;

/// One version of one object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) version: u64,
    pub(crate) value: Value,
    json: OnceLock<Bytes>,
}

impl Object {
    fn new(version: u64, mut value: Value) -> Arc<Self> {
        value["metadata"]["resourceVersion"] = Value::String(version.to_string());
        Arc::new(Self { version, value, json: OnceLock::new() })
    }

    /// An object to be shown and not stored, such as the outcome of a dry run.
    pub(crate) fn shown(value: Value) -> Self {
        Self { version: 0, value, json: OnceLock::new() }
    }

    /// The object as JSON, serialised once for all its readers.
    pub(crate) fn json(&self) -> &Bytes {
        self.json.get_or_init(|| Bytes::from(self.value.to_string()))
    }

    pub(crate) fn metadata(&self, field: &str) -> &Value {
        &self.value["metadata"][field]
    }
}

/// Where an object is on its shelf; the namespace is empty for cluster-scoped kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

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

/// All shelves.
#[derive(Debug)]
pub(crate) struct Store {
    inner: Mutex<Inner>,
    /// How many events each shelf remembers.
    remembered: usize,
    /// Raised by what the lifecycle task acts on: deletions, and objects that name an owner.
    chores: tokio::sync::watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    version: u64,
    shelves: HashMap<Shelf, ShelfState>,
}

#[derive(Debug)]
struct ShelfState {
    objects: BTreeMap<Key, Arc<Object>>,
    ring: Ring,
    /// The version of the newest event.
    newest: tokio::sync::watch::Sender<u64>,
}

impl Store {
    /// An empty store whose shelves remember `remembered` events each.
    pub(crate) fn new(remembered: usize) -> Self {
        let inner = Inner { version: 1, shelves: HashMap::new() };
        Self { inner: Mutex::new(inner), remembered, chores: tokio::sync::watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete before anything that could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of the newest write.
    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    pub(crate) fn get(&self, shelf: &Shelf, key: &Key) -> Option<Arc<Object>> {
        self.lock().shelves.get(shelf)?.objects.get(key).cloned()
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
        self.commit(shelf, key, None, Some(value))
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
        self.commit(shelf, key, Some(read), Some(value))
    }

    /// Removes the object that was read at version `read` and returns its last state.
    ///
    /// # Errors
    /// [`Stale`] if it has been written or removed since.
    pub(crate) fn remove(&self, shelf: &Shelf, key: Key, read: u64) -> Result<Arc<Object>, Stale> {
        self.commit(shelf, key, Some(read), None)
    }

    fn commit(
        &self,
        shelf: &Shelf,
        key: Key,
        read: Option<u64>,
        value: Option<Value>,
    ) -> Result<Arc<Object>, Stale> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let state = inner
            .shelves
            .entry(shelf.clone())
            .or_insert_with(|| ShelfState::new(self.remembered, inner.version));
        let before = state.objects.get(&key).cloned();
        if before.as_ref().map(|object| object.version) != read {
            return Err(Stale);
        }
        let version = inner.version + 1;
        let (change, object) = match (value, &before) {
            (Some(value), None) => (Change::Added, Object::new(version, value)),
            (Some(value), Some(_)) => (Change::Modified, Object::new(version, value)),
            (None, Some(before)) => (Change::Deleted, Object::new(version, before.value.clone())),
            (None, None) => return Err(Stale),
        };
        inner.version = version;
        match change {
            Change::Deleted => state.objects.remove(&key),
            Change::Added | Change::Modified => state.objects.insert(key.clone(), object.clone()),
        };
        state.ring.push(Event { version, change, key, object: object.clone(), before });
        state.newest.send_replace(version);
        drop(guard);
        if change == Change::Deleted || wants_attention(&object.value) {
            self.chores.send_replace(version);
        }
        Ok(object)
    }

    /// The objects of `shelf` in `namespace` (or in all) at version `at` (or now).
    ///
    /// # Errors
    /// [`Compacted`] if `at` is no longer remembered.
    pub(crate) fn snapshot(
        &self,
        shelf: &Shelf,
        namespace: Option<&str>,
        at: Option<u64>,
    ) -> Result<Snapshot, Compacted> {
        let inner = self.lock();
        let Some(state) = inner.shelves.get(shelf) else {
            return Ok(Snapshot { version: at.unwrap_or(inner.version), objects: Vec::new() });
        };
        let version = at.unwrap_or(inner.version);
        let inside = |key: &Key| namespace.is_none_or(|namespace| key.namespace == namespace);
        let start = Key::new(namespace.unwrap_or(""), "");
        let mut objects: BTreeMap<Key, Arc<Object>> = state
            .objects
            .range(start..)
            .take_while(|(key, _)| inside(key))
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        for event in state.ring.newer_than(version)?.rev().filter(|event| inside(&event.key)) {
            match &event.before {
                Some(before) => objects.insert(event.key.clone(), before.clone()),
                None => objects.remove(&event.key),
            };
        }
        Ok(Snapshot { version, objects: objects.into_iter().collect() })
    }

    /// A receiver that is told whenever there may be something for the lifecycle task to do.
    pub(crate) fn chores(&self) -> tokio::sync::watch::Receiver<u64> {
        self.chores.subscribe()
    }
}

/// Whether a written object may concern the lifecycle task: it is being deleted, or has an owner.
fn wants_attention(value: &Value) -> bool {
    let metadata = &value["metadata"];
    !metadata["deletionTimestamp"].is_null()
        || !metadata["ownerReferences"].is_null()
        || value["kind"] == "Namespace"
}

impl ShelfState {
    fn new(remembered: usize, version: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            ring: Ring::new(remembered),
            newest: tokio::sync::watch::Sender::new(version),
        }
    }
}

#[cfg(test)]
mod tests;
