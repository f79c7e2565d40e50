//! Maps and sets that take no more room than what is in them.
//!
//! A leaf of a tree that has no room for one more becomes two that are half full, so what is filled in
//! order takes twice the room it needs. Here every other entry comes first, which makes leaves half full
//! of them, and then those between them, for which there is exactly room.

use imbl::{OrdMap, OrdSet};

/// The map of `entries`, with its leaves full. Of a key that comes twice the last value counts.
pub fn packed<K: Ord + Clone, V: Clone>(entries: impl IntoIterator<Item = (K, V)>) -> OrdMap<K, V> {
    let mut all: Vec<(K, V)> = entries.into_iter().collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all.dedup_by(|later, kept| {
        let is_same = later.0 == kept.0;
        if is_same {
            std::mem::swap(later, kept);
        }
        is_same
    });
    by_turns(all).collect()
}

/// The set of `entries`, with its leaves full.
pub fn packed_set<T: Ord + Clone>(entries: impl IntoIterator<Item = T>) -> OrdSet<T> {
    let mut all: Vec<T> = entries.into_iter().collect();
    all.sort_unstable();
    all.dedup();
    by_turns(all).collect()
}

/// Puts `entries` into `map`; where there are more of them than it has, its leaves are full afterwards.
pub fn extend_packed<K: Ord + Clone, V: Clone>(map: &mut OrdMap<K, V>, entries: Vec<(K, V)>) {
    if entries.len() > map.len() {
        *map = packed(std::mem::take(map).into_iter().chain(entries));
    } else {
        map.extend(entries);
    }
}

/// Every other one, then those between them.
fn by_turns<T>(all: Vec<T>) -> impl Iterator<Item = T> {
    let mut later = Vec::with_capacity(all.len() / 2);
    let mut first = Vec::with_capacity(all.len().div_ceil(2));
    for (place, entry) in all.into_iter().enumerate() {
        let half = if place % 2 == 0 { &mut first } else { &mut later };
        half.push(entry);
    }
    first.into_iter().chain(later)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts how often it is copied.
    #[derive(Debug)]
    struct Copied(Arc<AtomicUsize>);

    impl Clone for Copied {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::Relaxed);
            Copied(Arc::clone(&self.0))
        }
    }

    /// How many entries leaves have on average: a change of one copies its leaf.
    fn filling(map: &OrdMap<u32, Copied>) -> f64 {
        let (_, Copied(count)) = map.get_min().expect("an entry");
        count.store(0, Ordering::Relaxed);
        for key in map.keys() {
            map.clone().insert(*key, Copied(Arc::default()));
        }
        count.load(Ordering::Relaxed) as f64 / map.len() as f64
    }

    #[test]
    fn leaves_are_full_that_would_be_half_full_in_order() {
        let count = Arc::default();
        let entries = || (0..5000).map(|key| (key, Copied(Arc::clone(&count))));
        assert!(filling(&entries().collect()) < 9.0);
        assert!(filling(&packed(entries())) > 15.0);
        assert!(filling(&packed(entries().rev())) > 15.0);
        let mut map: OrdMap<u32, Copied> = entries().take(2000).collect();
        extend_packed(&mut map, entries().skip(2000).collect());
        assert!(filling(&map) > 15.0);
    }

    #[test]
    fn what_is_packed_is_what_was_put_in_and_the_last_value_counts() {
        for length in (0..70).chain([1000]) {
            // Each key twice, in no order.
            let entries: Vec<(u32, u32)> =
                (0..2 * length).map(|n| (n * 7919 % length.max(1), n)).collect();
            let want: OrdMap<u32, u32> = entries.iter().copied().collect();
            assert_eq!(packed(entries.clone()), want, "{length}");
            let keys = entries.iter().map(|(key, _)| *key);
            assert!(packed_set(keys).iter().eq(want.keys()), "{length}");
            for known in [0, 1, length, 2 * length] {
                let (known, more) = entries.split_at(known.min(2 * length) as usize);
                let mut map: OrdMap<u32, u32> = known.iter().copied().collect();
                extend_packed(&mut map, more.to_vec());
                assert_eq!(map, want, "{length}");
            }
        }
    }
}
