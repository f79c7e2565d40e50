//! The newest events of a shelf.
use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use super::{Compacted, Key, Object};

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One write.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) version: u64,
    pub(crate) change: Change,
    pub(crate) key: Key,
    /// The state after the write; of a deletion, the last state at the deletion's version.
    pub(crate) object: Arc<Object>,
    pub(crate) before: Option<Arc<Object>>,
}

impl Event {
    /// The write at `version` that makes an object that was `before` into `value`, or removes it;
    /// none if there is nothing before nor after.
    pub(super) fn new(
        version: u64,
        key: Key,
        before: Option<Arc<Object>>,
        value: Option<Value>,
    ) -> Option<Self> {
        let (change, object) = match (value, &before) {
            (Some(value), None) => (Change::Added, Object::new(version, value)),
            (Some(value), Some(_)) => (Change::Modified, Object::new(version, value)),
            (None, Some(before)) => (Change::Deleted, Object::new(version, before.value.clone())),
            (None, None) => return None,
        };
        Some(Self { version, change, key, object, before })
    }

    /// What is there after the write.
    pub(crate) fn after(&self) -> Option<&Arc<Object>> {
        match self.change {
            Change::Added | Change::Modified => Some(&self.object),
            Change::Deleted => None,
        }
    }
}

/// How much a shelf remembers, whichever is reached first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) events: usize,
    /// Of the objects in them, as JSON.
    pub(crate) bytes: usize,
    /// What all shelves remember together, as JSON.
    pub(crate) total: usize,
}

/// Events in order of version, the oldest forgotten first.
#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    memory: Memory,
    /// What the events weigh together.
    bytes: usize,
    /// Every event newer than this is still here.
    complete_after: u64,
}

impl Ring {
    /// The ring of a shelf to which nothing was written after `complete_after`.
    pub(super) fn new(memory: Memory, complete_after: u64) -> Self {
        Self { events: VecDeque::new(), memory, bytes: 0, complete_after }
    }

    /// Adds the newest event. Of those up to `settled`, which will not be taken back, the oldest
    /// are forgotten. `total` is what all rings remember.
    pub(super) fn push(&mut self, event: Arc<Event>, settled: u64, total: &mut usize) {
        self.bytes += event.object.weight;
        *total += event.object.weight;
        self.events.push_back(event);
        while (self.events.len() > self.memory.events
            || self.bytes > self.memory.bytes
            || *total > self.memory.total)
            && self.events.front().is_some_and(|oldest| oldest.version <= settled)
            && let Some(forgotten) = self.events.pop_front()
        {
            self.bytes -= forgotten.object.weight;
            *total -= forgotten.object.weight;
            self.complete_after = forgotten.version;
        }
    }

    /// Takes back the newest event if it is newer than `version`.
    pub(super) fn pop_newer_than(&mut self, version: u64, total: &mut usize) -> Option<Arc<Event>> {
        let event = self.events.pop_back_if(|event| event.version > version)?;
        self.bytes -= event.object.weight;
        *total -= event.object.weight;
        Some(event)
    }

    /// The events after `version`, oldest first.
    pub(super) fn newer_than(
        &self,
        version: u64,
    ) -> Result<impl DoubleEndedIterator<Item = &Arc<Event>>, Compacted> {
        if version < self.complete_after {
            return Err(Compacted { asked: version, oldest: self.complete_after });
        }
        let start = self.events.partition_point(|event| event.version <= version);
        Ok(self.events.range(start..))
    }
}
