//! Who owns whom: kept with every write, so that removing an owner costs what it owns and not
//! what there is.
use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::Place;

/// Owners and what names them, both by uid.
#[derive(Debug, Default)]
pub(super) struct Kin {
    places: HashMap<String, Place>,
    dependents: HashMap<String, BTreeSet<Place>>,
}

impl Kin {
    /// Takes in that the object at `place` was `before` and is `after`.
    pub(super) fn changed(&mut self, place: &Place, before: Option<&Value>, after: Option<&Value>) {
        let (was, is) = (before.map(owners), after.map(owners));
        if was.as_ref().unwrap_or(&Vec::new()) != is.as_ref().unwrap_or(&Vec::new()) {
            for owner in was.unwrap_or_default() {
                if let Some(dependents) = self.dependents.get_mut(owner) {
                    dependents.remove(place);
                    if dependents.is_empty() {
                        self.dependents.remove(owner);
                    }
                }
            }
            for owner in is.unwrap_or_default() {
                self.dependents.entry(owner.to_owned()).or_default().insert(place.clone());
            }
        }
        let (was, is) = (before.and_then(uid), after.and_then(uid));
        if was != is {
            if let Some(gone) = was {
                self.places.remove(gone);
            }
            if let Some(new) = is {
                self.places.insert(new.to_owned(), place.clone());
            }
        }
    }

    /// Where the object with this uid is.
    pub(super) fn place(&self, uid: &str) -> Option<&Place> {
        self.places.get(uid)
    }

    /// Everything that names this uid as an owner.
    pub(super) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Place> {
        self.dependents.get(uid).into_iter().flatten()
    }

    /// Everything that names any owner.
    pub(super) fn owned(&self) -> impl Iterator<Item = &Place> {
        self.dependents.values().flatten()
    }
}

/// The uids of the owners an object names.
pub(super) fn owners(value: &Value) -> Vec<&str> {
    let owners = value["metadata"]["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    owners.iter().filter_map(|owner| owner["uid"].as_str()).collect()
}

pub(super) fn uid(value: &Value) -> Option<&str> {
    value["metadata"]["uid"].as_str()
}
