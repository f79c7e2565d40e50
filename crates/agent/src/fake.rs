//! A place in memory, for tests of what stands above the kernel.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use model::{AttachmentKey, IfName};
use plan::{Changes, Failure, Mechanism, ObserveError, Table};

/// What a place holds, and how it misbehaves.
#[derive(Debug)]
pub(crate) struct Inside<K: Ord, R> {
    rows: Table<K, R>,
    refused: Option<K>,
    is_blind: bool,
    reads: usize,
}

/// Rows that a test can look at and disturb behind the back of the step that owns them.
#[derive(Debug, Clone)]
pub(crate) struct Place<K: Ord, R>(Arc<Mutex<Inside<K, R>>>);

impl<K: Ord, R> Default for Place<K, R> {
    fn default() -> Self {
        let inside = Inside { rows: Table::default(), refused: None, is_blind: false, reads: 0 };
        Place(Arc::new(Mutex::new(inside)))
    }
}

impl<K: Ord + Clone, R: Clone> Place<K, R> {
    pub(crate) fn rows(&self) -> Table<K, R> {
        self.0.lock().unwrap().rows.clone()
    }

    pub(crate) fn reads(&self) -> usize {
        self.0.lock().unwrap().reads
    }

    /// Holds up whoever reads or writes the place while the value lives.
    pub(crate) fn pause(&self) -> MutexGuard<'_, Inside<K, R>> {
        self.0.lock().unwrap()
    }

    /// Changes rows as somebody else would.
    pub(crate) fn disturb(&self, change: impl FnOnce(&mut Table<K, R>)) {
        change(&mut self.0.lock().unwrap().rows);
    }

    /// Fails every write of this row from now on.
    pub(crate) fn refuse(&self, key: Option<K>) {
        self.0.lock().unwrap().refused = key;
    }

    /// Fails every reading from now on.
    pub(crate) fn go_blind(&self, is_blind: bool) {
        self.0.lock().unwrap().is_blind = is_blind;
    }
}

impl<R: Eq + Clone> Place<AttachmentKey, R> {
    /// The rows of these links alone.
    pub(crate) fn observe_only(
        &mut self,
        links: &BTreeSet<IfName>,
    ) -> Result<Table<AttachmentKey, R>, ObserveError> {
        let rows = self.rows();
        let only = rows.iter().filter(|(key, _)| links.contains(&key.host_link()));
        Ok(only.map(|(key, row)| (key.clone(), row.clone())).collect())
    }
}

impl<K: Ord + Clone, R: Eq + Clone> Mechanism for Place<K, R> {
    type Key = K;
    type Row = R;

    fn observe(&mut self) -> Result<Table<K, R>, ObserveError> {
        let mut inside = self.0.lock().unwrap();
        inside.reads += 1;
        if inside.is_blind {
            return Err(ObserveError { attempt: "list rows".into(), cause: "blind".into() });
        }
        Ok(inside.rows.clone())
    }

    fn apply(&mut self, changes: &Changes<K, R>) -> Vec<Failure<K>> {
        let mut inside = self.0.lock().unwrap();
        let keys = changes.puts.keys().chain(&changes.deletes);
        let refused = keys.filter(|key| inside.refused.as_ref() == Some(key)).cloned();
        let refused: Vec<K> = refused.collect();
        for (key, put) in changes.puts.iter().filter(|(key, _)| !refused.contains(key)) {
            inside.rows.insert(key.clone(), put.row.clone());
        }
        for key in changes.deletes.iter().filter(|key| !refused.contains(key)) {
            inside.rows.remove(key);
        }
        let fail = |key| Failure { key, attempt: "write row".into(), cause: "refused".into() };
        refused.into_iter().map(fail).collect()
    }
}
