//! What the lifecycle task has to look at: named by the writes that may make it necessary.
//!
//! A chore says where to look and never what happened: whoever takes it looks at what is there, so
//! one too many costs a look.
use std::collections::BTreeSet;

use serde_json::Value;

use super::Place;
use super::kin::{self, Kin};

/// The shelf of namespaces.
const NAMESPACES: &str = "namespaces";
/// The shelf of definitions: with a new kind, unknown owners become known.
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chore {
    /// Does the object still have an owner, or wait for what it owns?
    Object(Place),
    /// Is the namespace furnished, or emptied?
    Namespace(String),
}

/// What is due, each once.
#[derive(Debug, Default)]
pub(super) struct Chores {
    pub(super) due: BTreeSet<Chore>,
}

impl Chores {
    /// Takes in that the object at `place` was `before` and is `after`; `kin` knows it already.
    pub(super) fn changed(
        &mut self,
        kin: &Kin,
        place: &Place,
        before: Option<&Value>,
        after: Option<&Value>,
    ) {
        let leaves = after.is_some_and(|value| value["metadata"]["deletionTimestamp"].is_string());
        let regrouped = owners(before) != owners(after);
        if leaves || (regrouped && after.is_some()) {
            self.due.insert(Chore::Object(place.clone()));
        }
        if regrouped {
            // An owner may have waited for this one.
            let owners = [before, after].into_iter().flatten().flat_map(kin::owners);
            self.due.extend(owners.filter_map(|uid| kin.place(uid)).cloned().map(Chore::Object));
        }
        if after.is_none()
            && let Some(uid) = before.and_then(kin::uid)
        {
            self.due.extend(kin.dependents(uid).cloned().map(Chore::Object));
        }
        if &*place.shelf == NAMESPACES {
            self.due.insert(Chore::Namespace(place.key.name.clone()));
        } else if (leaves || after.is_none()) && !place.key.namespace.is_empty() {
            self.due.insert(Chore::Namespace(place.key.namespace.clone()));
        }
        if &*place.shelf == DEFINITIONS {
            self.everything_owned(kin);
        }
    }

    /// All that names an owner is looked at again.
    pub(super) fn everything_owned(&mut self, kin: &Kin) {
        self.due.extend(kin.owned().cloned().map(Chore::Object));
    }
}

/// What an object says of its owners, if anything.
fn owners(value: Option<&Value>) -> Option<&Value> {
    value.map(|value| &value["metadata"]["ownerReferences"]).filter(|list| !list.is_null())
}
