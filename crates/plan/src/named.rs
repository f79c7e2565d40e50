//! What names of the DNS stand for, as rules ask for it: sets of addresses that are no rows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{DomainPattern, Family};

use crate::nft::SetName;

/// The sets that rules look into for what names stand for, by the patterns of those names. Cheap to clone.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct NamedSets(Arc<BTreeMap<DomainPattern, BTreeMap<Family, SetName>>>);

impl NamedSets {
    /// Whether no rule asks for a name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns with their sets, one for each family that rules ask for.
    pub fn iter(&self) -> impl Iterator<Item = (&DomainPattern, &BTreeMap<Family, SetName>)> {
        self.0.iter()
    }

    /// These and `others`.
    #[must_use]
    pub fn with(&self, others: &NamedSets) -> Self {
        let mut all = BTreeMap::clone(&self.0);
        for (pattern, sets) in others.iter() {
            let of_pattern = all.entry(pattern.clone()).or_default();
            of_pattern.extend(sets.iter().map(|(family, set)| (*family, set.clone())));
        }
        NamedSets(Arc::new(all))
    }
}

impl FromIterator<(DomainPattern, BTreeMap<Family, SetName>)> for NamedSets {
    fn from_iter<I: IntoIterator<Item = (DomainPattern, BTreeMap<Family, SetName>)>>(
        all: I,
    ) -> Self {
        NamedSets(Arc::new(all.into_iter().collect()))
    }
}

/// An address in one of those sets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stay {
    /// The set, in the table `inet seaway`.
    pub set: SetName,
    /// The address, of the set's family.
    pub addr: IpAddr,
    /// How long it is there from now on; `None` for one that is not.
    pub left: Option<Duration>,
}

/// The sets that a write did not change as it was to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// These are not there.
    pub missing: BTreeSet<SetName>,
    /// These have no room for all that was to be in them.
    pub full: BTreeSet<SetName>,
}
