//! A reader's place in the events of a shelf.
use std::sync::Arc;

use super::{Compacted, Event, Shelf, Store};

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
        let newest = self.shared.lock().shelves.shelf(shelf).newest.subscribe();
        Cursor { shelf: shelf.clone(), version, newest }
    }

    /// Up to `limit` settled events after the cursor, which moves past them; fewer, but at least one,
    /// where they take more than `bytes` as JSON.
    ///
    /// # Errors
    /// [`Compacted`] if some of them are forgotten.
    pub(crate) fn read(
        &self,
        cursor: &mut Cursor,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Arc<Event>>, Compacted> {
        let inner = self.shared.lock();
        let settled = inner.shelves.settled;
        let Some(state) = inner.shelves.get(&cursor.shelf) else { return Ok(Vec::new()) };
        let (mut events, mut taken) = (Vec::new(), 0);
        for event in state.ring.newer_than(cursor.version)? {
            if event.version > settled {
                break;
            }
            if events.len() == limit || taken >= bytes {
                cursor.version =
                    events.last().map_or(cursor.version, |last: &Arc<Event>| last.version);
                return Ok(events);
            }
            taken += event.object.weight;
            events.push(event.clone());
        }
        // All is read: nothing on this shelf happened up to the settled version.
        cursor.version = cursor.version.max(settled);
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
