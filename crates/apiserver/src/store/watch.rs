//! A reader's place in the events of a shelf.
use super::{Compacted, Event, Shelf, ShelfState, Store};

/// Follows one shelf. It holds no events: a reader that is slow finds them in the ring when it
/// comes back, or learns that they are gone.
#[derive(Debug)]
pub(crate) struct Cursor {
    shelf: Shelf,
    /// The newest version seen.
    version: u64,
    newest: tokio::sync::watch::Receiver<u64>,
}

impl Store {
    /// A cursor after `version` on `shelf`.
    pub(crate) fn cursor(&self, shelf: &Shelf, version: u64) -> Cursor {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let state = inner
            .shelves
            .entry(shelf.clone())
            .or_insert_with(|| ShelfState::new(self.remembered, inner.version));
        Cursor { shelf: shelf.clone(), version, newest: state.newest.subscribe() }
    }

    /// Up to `limit` events after the cursor, which moves past them.
    ///
    /// # Errors
    /// [`Compacted`] if some of them are forgotten.
    pub(crate) fn read(&self, cursor: &mut Cursor, limit: usize) -> Result<Vec<Event>, Compacted> {
        let inner = self.lock();
        let Some(state) = inner.shelves.get(&cursor.shelf) else { return Ok(Vec::new()) };
        let events: Vec<_> = state.ring.newer_than(cursor.version)?.take(limit).cloned().collect();
        match events.last() {
            Some(last) if events.len() == limit => cursor.version = last.version,
            // All is read: nothing on this shelf happened up to the store's version.
            _ => cursor.version = cursor.version.max(inner.version),
        }
        Ok(events)
    }
}

impl Cursor {
    /// Everything up to this version has been read.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Returns once the shelf may hold events after the cursor.
    pub(crate) async fn moved(&mut self) {
        let version = self.version;
        if self.newest.wait_for(|newest| *newest > version).await.is_err() {
            // The store is gone; so will be whoever waits.
            std::future::pending::<()>().await;
        }
    }
}
