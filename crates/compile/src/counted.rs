//! Things that are there as long as somebody counts them.

use std::fmt;

use imbl::OrdMap;

/// Things with the number of those who have each. A copy shares what neither changes.
#[derive(Clone, PartialEq, Eq)]
pub struct Counted<T: Ord + Clone> {
    counts: OrdMap<T, usize>,
}

impl<T: Ord + Clone> Counted<T> {
    /// Counts one more of `thing`; whether it is the first.
    pub(crate) fn add(&mut self, thing: T) -> bool {
        let count = self.counts.entry(thing).or_insert(0);
        *count += 1;
        *count == 1
    }

    /// Counts one less of `thing`; whether it was the last.
    pub(crate) fn take(&mut self, thing: &T) -> bool {
        match self.counts.get_mut(thing) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            Some(_) => {
                self.counts.remove(thing);
                true
            }
            None => false,
        }
    }

    /// Whether anybody has `thing`.
    pub fn contains(&self, thing: &T) -> bool {
        self.counts.contains_key(thing)
    }

    /// Each thing once, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.counts.keys()
    }

    /// What is in one of the two only: first what is in `self`, then what is in `new`. Looks only where
    /// they don't share what they have.
    pub(crate) fn differing<'a>(&'a self, new: &'a Self) -> [Vec<&'a T>; 2] {
        use imbl::ordmap::DiffItem;
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for item in self.counts.diff(&new.counts) {
            match item {
                DiffItem::Add(thing, _) => come.push(thing),
                DiffItem::Remove(thing, _) => gone.push(thing),
                DiffItem::Update { .. } => {}
            }
        }
        [gone, come]
    }
}

impl<T: Ord + Clone> Default for Counted<T> {
    fn default() -> Self {
        Counted { counts: OrdMap::new() }
    }
}

impl<T: Ord + Clone> FromIterator<T> for Counted<T> {
    fn from_iter<I: IntoIterator<Item = T>>(things: I) -> Self {
        let mut counted = Counted::default();
        for thing in things {
            counted.add(thing);
        }
        counted
    }
}

impl<T: Ord + Clone + fmt::Debug> fmt::Debug for Counted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_there_from_the_first_who_has_it_to_the_last() {
        let mut counted = Counted::default();
        assert!(counted.add(1));
        assert!(!counted.add(1));
        let before = counted.clone();
        assert!(!counted.take(&1));
        assert_eq!(before.differing(&counted), [Vec::<&i32>::new(), vec![]]);
        assert!(counted.contains(&1));
        assert!(counted.take(&1));
        assert_eq!(before.differing(&counted), [vec![&1], vec![]]);
        assert!(!counted.take(&1), "nobody has it");
        assert_eq!(counted, Counted::default());
    }
}
