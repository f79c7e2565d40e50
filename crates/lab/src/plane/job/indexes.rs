//! Indexes of an Indexed Job, as its status writes them: `1,3-5,7`.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

/// A set of indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indexes(pub BTreeSet<i32>);

impl Indexes {
    /// Reads what [`Display`] writes; what is not a number below `end` is left out.
    pub(super) fn parse(text: &str, end: i32) -> Self {
        let mut all = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
                all.extend(first.max(0)..=last.min(end - 1));
            }
        }
        Self(all)
    }
}

impl Display for Indexes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(i32, i32)> = Vec::new();
        for index in &self.0 {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == *index => *last = *index,
                Some(_) | None => runs.push((*index, *index)),
            }
        }
        for (place, (first, last)) in runs.into_iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(out, "{comma}{first}")?;
            if last > first {
                write!(out, "{}{last}", if last == first + 1 { "," } else { "-" })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_are_written_short() {
        let cases = [
            ("1,3-5,7", "1,3-5,7"),
            ("1,2", "1,2"),
            ("0-2", "0-2"),
            ("", ""),
            ("x,3,99,8-200", "3,8,9"),
        ];
        for (text, expect) in cases {
            assert_eq!(Indexes::parse(text, 10).to_string(), expect);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(set in prop::collection::btree_set(0i32..50, 0..50)) {
            let indexes = Indexes(set);
            prop_assert_eq!(Indexes::parse(&indexes.to_string(), 50), indexes);
        }
    }
}
