//! Some numbers of a row, and rows of numbers that nothing tells apart.

use std::collections::BTreeMap;
use std::ops::Range;

/// Some numbers, as ranges: in order, and none touches another.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Runs(Vec<(usize, usize)>);

impl Runs {
    /// All numbers below `count`.
    pub(super) fn all(count: usize) -> Self {
        let mut all = Runs::default();
        all.push(0..count);
        all
    }

    /// Adds what comes after all that are there.
    pub(super) fn push(&mut self, more: Range<usize>) {
        match self.0.last_mut() {
            _ if more.is_empty() => {}
            Some((_, end)) if *end == more.start => *end = more.end,
            Some(_) | None => self.0.push((more.start, more.end)),
        }
    }

    pub(super) fn has(&self, number: usize) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).is_some_and(|i| number < self.0[i].1)
    }

    /// What is in both.
    pub(super) fn and(&self, other: &Runs) -> Runs {
        let (mut both, mut i, mut j) = (Runs::default(), 0, 0);
        while let (Some(one), Some(two)) = (self.0.get(i), other.0.get(j)) {
            both.push(one.0.max(two.0)..one.1.min(two.1));
            if one.1 <= two.1 {
                i += 1;
            } else {
                j += 1;
            }
        }
        both
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().flat_map(|(first, end)| *first..*end)
    }
}

/// The numbers below some count, in classes of those that nothing has told apart so far.
#[derive(Debug)]
pub(super) struct Classes {
    of: Vec<usize>,
    next: usize,
}

impl Classes {
    /// All numbers below `count` in one class.
    pub(super) fn one(count: usize) -> Self {
        Classes { of: vec![0; count], next: 1 }
    }

    /// Tells these numbers, each of which comes once, from all others.
    pub(super) fn split(&mut self, numbers: impl IntoIterator<Item = usize>) {
        let mut moved: BTreeMap<usize, usize> = BTreeMap::new();
        for number in numbers {
            let class = &mut self.of[number];
            *class = *moved.entry(*class).or_insert_with(|| {
                self.next += 1;
                self.next - 1
            });
        }
    }

    /// The numbers of each class, in order.
    pub(super) fn all(&self) -> Vec<Vec<usize>> {
        let mut all: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, class) in self.of.iter().enumerate() {
            all.entry(*class).or_default().push(number);
        }
        all.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn runs(numbers: &[bool]) -> Runs {
        let mut runs = Runs::default();
        let meant = numbers.iter().enumerate().filter(|(_, is_meant)| **is_meant);
        meant.for_each(|(i, _)| runs.push(i..i + 1));
        runs
    }

    proptest! {
        #[test]
        fn ranges_are_the_numbers_that_were_put_there(
            one in prop::collection::vec(any::<bool>(), 12),
            two in prop::collection::vec(any::<bool>(), 12),
        ) {
            let (left, right) = (runs(&one), runs(&two));
            let both: Vec<bool> = one.iter().zip(&two).map(|(a, b)| *a && *b).collect();
            prop_assert_eq!(left.and(&right), runs(&both));
            for (i, is_meant) in one.iter().enumerate() {
                prop_assert_eq!(left.has(i), *is_meant);
            }
            let meant: Vec<usize> = (0..12).filter(|i| one[*i]).collect();
            prop_assert_eq!(left.iter().collect::<Vec<_>>(), meant);
        }

        /// Two numbers are in one class when all lists have both or neither.
        #[test]
        fn classes_are_what_no_list_tells_apart(
            lists in prop::collection::vec(prop::collection::vec(any::<bool>(), 8), 0..4),
        ) {
            let mut classes = Classes::one(8);
            lists.iter().for_each(|list| classes.split(runs(list).iter()));
            let mut want: BTreeMap<Vec<bool>, Vec<usize>> = BTreeMap::new();
            for i in 0..8 {
                want.entry(lists.iter().map(|list| list[i]).collect()).or_default().push(i);
            }
            let mut all = classes.all();
            all.sort();
            let mut want: Vec<_> = want.into_values().collect();
            want.sort();
            prop_assert_eq!(all, want);
        }
    }

    #[test]
    fn all_is_one_range() {
        assert_eq!(Runs::all(3).iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(Runs::all(0), Runs::default());
    }
}
