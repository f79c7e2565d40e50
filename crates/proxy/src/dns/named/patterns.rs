//! Which sets a name belongs into.

use std::collections::HashMap;

use model::{DomainName, Family};
use plan::NamedSets;
use plan::nft::SetName;

/// Sets, each with the family of its addresses.
type Sets = Vec<(Family, SetName)>;

/// Patterns of names, ready to be looked into for every answer: the time does not grow with their number.
#[derive(Debug)]
pub(super) struct Patterns {
    sets: NamedSets,
    /// By the name that is meant, in wire form.
    exact: HashMap<Box<[u8]>, Sets>,
    /// By the name below which all are meant.
    below: HashMap<Box<[u8]>, Sets>,
}

impl Patterns {
    pub(super) fn new(sets: &NamedSets) -> Self {
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        for (pattern, of) in sets.iter() {
            let map = if pattern.is_below() { &mut below } else { &mut exact };
            let of: Sets = of.iter().map(|(family, set)| (*family, set.clone())).collect();
            map.insert(pattern.name().as_wire().into(), of);
        }
        Patterns { sets: sets.clone(), exact, below }
    }

    /// What they were made of.
    pub(super) fn sets(&self) -> &NamedSets {
        &self.sets
    }

    /// The sets for `name`, in lower case.
    pub(super) fn of<'p>(
        &'p self,
        name: &DomainName,
    ) -> impl Iterator<Item = &'p (Family, SetName)> + use<'p> {
        let wire = name.as_wire();
        let mut found = [const { None }; MOST_LABELS];
        let (mut at, mut count) = (0, 0);
        while let Some(label) = wire.get(at).copied().filter(|label| *label > 0) {
            at += usize::from(label) + 1;
            if let Some(sets) = wire.get(at..).and_then(|rest| self.below.get(rest)) {
                found[count] = Some(sets);
                count += 1;
            }
        }
        self.exact.get(wire).into_iter().chain(found.into_iter().flatten()).flatten()
    }
}

/// Labels that a name has at most.
const MOST_LABELS: usize = 127;
