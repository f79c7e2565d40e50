//! What changed between two states of an object.
//!
//! Source: sigs.k8s.io/structured-merge-diff `typed/compare.go`.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::set::{self, FieldSet};
use super::typing::Typing;
use super::walk::{self, Part};

/// The fields in which two states of an object differ.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Comparison {
    pub(super) removed: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) added: FieldSet,
}

/// What became of one value, besides what became of things in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Same,
    Removed,
    Modified,
    Added,
}

impl Comparison {
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// What has a value it did not have before.
    pub(super) fn changed(&self) -> FieldSet {
        let mut changed = self.modified.clone();
        changed.unite(&self.added);
        changed
    }

    /// Forgets about `fields` and all below them.
    pub(super) fn ignore(&mut self, fields: &FieldSet) {
        for set in [&mut self.removed, &mut self.modified, &mut self.added] {
            set.cut(fields);
        }
    }

    fn join(&mut self, element: impl FnOnce() -> String, (below, fate): (Self, Fate)) {
        if fate == Fate::Same && below.is_empty() {
            return;
        }
        let element = element();
        self.removed.add(element.clone(), fate == Fate::Removed, below.removed);
        self.modified.add(element.clone(), fate == Fate::Modified, below.modified);
        self.added.add(element, fate == Fate::Added, below.added);
    }
}

/// Compares two states of an object of type `of`.
pub(super) fn compare(of: &dyn Typing, old: &Value, new: &Value) -> Comparison {
    differences(of, Some(old), Some(new)).0
}

fn differences(of: &dyn Typing, old: Option<&Value>, new: Option<&Value>) -> (Comparison, Fate) {
    let part = walk::part(of, old, new);
    // Nothing in either is a leaf, so that an empty list and none are told apart.
    if part == Part::Leaf || (walk::is_hollow(old) && walk::is_hollow(new)) {
        return (Comparison::default(), fate(old, new));
    }
    let comparison = match part {
        Part::Items if old == new => Comparison::default(),
        Part::Items => items(of, old, new),
        Part::Members | Part::Leaf => members(of, old, new),
    };
    // That there is a value at all is a fact of its own.
    let fate = match (old, new) {
        (None, Some(_)) => Fate::Added,
        (Some(_), None) => Fate::Removed,
        _ => Fate::Same,
    };
    (comparison, fate)
}

fn fate(old: Option<&Value>, new: Option<&Value>) -> Fate {
    match (old, new) {
        (None, None) => Fate::Same,
        (None, Some(_)) => Fate::Added,
        (Some(_), None) => Fate::Removed,
        (Some(old), Some(new)) if old == new => Fate::Same,
        (Some(_), Some(_)) => Fate::Modified,
    }
}

fn members(of: &dyn Typing, old: Option<&Value>, new: Option<&Value>) -> Comparison {
    let mut found = Comparison::default();
    let have =
        |value: Option<&Value>, name: &str| value.and_then(|value| value.get(name)).is_some();
    let names = walk::fields(new)
        .chain(walk::fields(old).filter(|(name, _)| !have(new, name)))
        .map(|(name, _)| name);
    for name in names {
        let inner = walk::member(of, name);
        let difference = differences(inner, at(of, old, name), at(of, new, name));
        found.join(|| set::field(name), difference);
    }
    found
}

/// A field as it is compared.
fn at<'v>(of: &dyn Typing, value: Option<&'v Value>, name: &str) -> Option<&'v Value> {
    value?.get(name).or_else(|| of.absent(name))
}

fn items(of: &dyn Typing, old: Option<&Value>, new: Option<&Value>) -> Comparison {
    let mut found = Comparison::default();
    let (old, new) = (by_element(of, old), by_element(of, new));
    let elements: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let inner = walk::item(of);
    for element in elements {
        let name = || element.clone();
        let old = old.get(element).map_or(&[][..], Vec::as_slice);
        let new = new.get(element).map_or(&[][..], Vec::as_slice);
        match (old, new) {
            ([] | [_], [] | [_]) => {
                let change = differences(inner, old.first().copied(), new.first().copied());
                found.join(name, change);
            }
            // Items of one name are one thing together.
            ([_, _, ..], [_, _, ..]) => {
                let fate = if old == new { Fate::Same } else { Fate::Modified };
                found.join(name, (Comparison::default(), fate));
            }
            ([_, _, ..], rest) => {
                let below = rest.first().map(|item| differences(inner, None, Some(item)).0);
                found.join(name, (below.unwrap_or_default(), Fate::Removed));
                if !rest.is_empty() {
                    found.added.unite(&just(element));
                }
            }
            (rest, [_, _, ..]) => {
                let below = rest.first().map(|item| differences(inner, Some(item), None).0);
                found.join(name, (below.unwrap_or_default(), Fate::Added));
                if !rest.is_empty() {
                    found.removed.unite(&just(element));
                }
            }
        }
    }
    found
}

fn just(element: &str) -> FieldSet {
    let mut set = FieldSet::default();
    set.add(element.to_owned(), true, FieldSet::default());
    set
}

/// A list's items by their names; those without one belong to nobody.
fn by_element<'v>(of: &dyn Typing, list: Option<&'v Value>) -> BTreeMap<String, Vec<&'v Value>> {
    let mut found: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for item in walk::items(list) {
        if let Ok(element) = walk::element(of, item) {
            found.entry(element).or_default().push(item);
        }
    }
    found
}
