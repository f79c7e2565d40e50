//! The newest events of a shelf.
use std::collections::VecDeque;
use std::sync::Arc;

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

/// Events in order of version, the oldest forgotten first.
#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Event>,
    limit: usize,
    /// Every event newer than this is still here.
    complete_after: u64,
}

impl Ring {
    /// The ring of a shelf to which nothing was ever written, for `limit` events.
    pub(super) fn new(limit: usize) -> Self {
        Self { events: VecDeque::new(), limit, complete_after: 0 }
    }

    pub(super) fn push(&mut self, event: Event) {
        if self.events.len() == self.limit
            && let Some(forgotten) = self.events.pop_front()
        {
            self.complete_after = forgotten.version;
        }
        self.events.push_back(event);
    }

    /// The events after `version`, oldest first.
    pub(super) fn newer_than(
        &self,
        version: u64,
    ) -> Result<impl DoubleEndedIterator<Item = &Event>, Compacted> {
        if version < self.complete_after {
            return Err(Compacted { asked: version, oldest: self.complete_after });
        }
        let start = self.events.partition_point(|event| event.version <= version);
        Ok(self.events.range(start..))
    }
}
