//! Sorted, keyed tables, and the difference between two of them.

use std::collections::BTreeMap;
use std::fmt;

use imbl::OrdMap;
use imbl::ordmap::{self, DiffItem};
use imbl::shared_ptr::DefaultSharedPtr;
use model::{extend_packed, packed};

/// A sorted map from key to row: the unit of diff.
///
/// A copy shares its rows with the table it was made from, and goes on sharing those that neither
/// changes: [`diff`] between the two costs what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table<K: Ord, R> {
    rows: OrdMap<K, R>,
}

impl<K: Ord, R> Default for Table<K, R> {
    fn default() -> Self {
        Table { rows: OrdMap::new() }
    }
}

impl<K: Ord + Clone, R: Clone> Table<K, R> {
    /// Puts `row` under `key`; returns the row that was there.
    pub fn insert(&mut self, key: K, row: R) -> Option<R> {
        self.rows.insert(key, row)
    }

    /// Takes the row of `key` out.
    pub fn remove(&mut self, key: &K) -> Option<R> {
        self.rows.remove(key)
    }
}

impl<K: Ord, R> Table<K, R> {
    /// The row of `key`.
    pub fn get(&self, key: &K) -> Option<&R> {
        self.rows.get(key)
    }

    /// Rows in the order of their keys.
    pub fn iter(&self) -> ordmap::Iter<'_, K, R, DefaultSharedPtr> {
        self.rows.iter()
    }

    /// Keys in order.
    pub fn keys(&self) -> ordmap::Keys<'_, K, R, DefaultSharedPtr> {
        self.rows.keys()
    }

    /// The keys from `first` on, in order.
    pub fn keys_from<'a>(&'a self, first: &K) -> impl Iterator<Item = &'a K> + use<'a, K, R> {
        self.rows.range::<_, K>(first..).map(|(key, _)| key)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl<K: Ord + Clone, R: Clone> FromIterator<(K, R)> for Table<K, R> {
    fn from_iter<I: IntoIterator<Item = (K, R)>>(rows: I) -> Self {
        Table { rows: packed(rows) }
    }
}

impl<K: Ord + Clone, R: Clone> Extend<(K, R)> for Table<K, R> {
    fn extend<I: IntoIterator<Item = (K, R)>>(&mut self, rows: I) {
        extend_packed(&mut self.rows, rows.into_iter().collect());
    }
}

impl<'a, K: Ord, R> IntoIterator for &'a Table<K, R> {
    type Item = (&'a K, &'a R);
    type IntoIter = ordmap::Iter<'a, K, R, DefaultSharedPtr>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}

impl<K: Ord + Clone, R: Clone> Table<K, R> {
    /// Brings this table to where `changes` lead.
    pub fn patch(&mut self, changes: &Changes<K, R>) {
        for key in &changes.deletes {
            self.rows.remove(key);
        }
        for (key, put) in &changes.puts {
            self.rows.insert(key.clone(), put.row.clone());
        }
    }
}

/// A row to write, and what it replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put<R> {
    /// The row wanted.
    pub row: R,
    /// The row that is there now; `None` when the key is new.
    pub old: Option<R>,
}

/// What it takes to bring one table to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes<K: Ord, R> {
    /// Rows to write, in the order of their keys.
    pub puts: BTreeMap<K, Put<R>>,
    /// Keys to remove, in order.
    pub deletes: Vec<K>,
}

impl<K: Ord, R> Default for Changes<K, R> {
    fn default() -> Self {
        Changes { puts: BTreeMap::new(), deletes: Vec::new() }
    }
}

impl<K: Ord, R> Changes<K, R> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    /// Keys of the rows to write, then of those to remove.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.puts.keys().chain(&self.deletes)
    }

    /// Number of rows to write or remove.
    pub fn len(&self) -> usize {
        self.puts.len() + self.deletes.len()
    }
}

/// `+ key row` for new rows, `~ key row` for changed ones, `- key` for removed ones.
impl<K: Ord + fmt::Display, R: fmt::Display> fmt::Display for Changes<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, put) in &self.puts {
            let sign = if put.old.is_some() { '~' } else { '+' };
            writeln!(f, "{sign} {key} {}", put.row)?;
        }
        self.deletes.iter().try_for_each(|key| writeln!(f, "- {key}"))
    }
}

/// What brings `have` to `want`: touches only the keys that differ, and looks only where the two
/// don't share their rows.
pub fn diff<K: Ord + Clone, R: Eq + Clone>(
    have: &Table<K, R>,
    want: &Table<K, R>,
) -> Changes<K, R> {
    let mut changes = Changes::default();
    let mut put = |key: &K, row: &R, old: Option<&R>| {
        changes.puts.insert(key.clone(), Put { row: row.clone(), old: old.cloned() });
    };
    for item in have.rows.diff(&want.rows) {
        match item {
            DiffItem::Add(key, row) => put(key, row, None),
            DiffItem::Update { old: (_, old), new: (key, row) } => put(key, row, Some(old)),
            DiffItem::Remove(key, _) => changes.deletes.push(key.clone()),
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&'static str, u32)]) -> Table<&'static str, u32> {
        rows.iter().copied().collect()
    }

    #[test]
    fn a_diff_leads_from_one_table_to_the_other_and_touches_nothing_else() {
        let have = table(&[("a", 1), ("b", 2), ("c", 3)]);
        let want = table(&[("a", 1), ("b", 9), ("d", 4)]);
        let changes = diff(&have, &want);
        assert_eq!(changes.to_string(), "~ b 9\n+ d 4\n- c\n");
        let mut patched = have.clone();
        patched.patch(&changes);
        assert_eq!(patched, want);
        assert!(diff(&want, &want).is_empty());
    }
}
