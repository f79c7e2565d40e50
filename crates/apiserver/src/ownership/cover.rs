//! Which fields a configuration mentions.
//!
//! Source: sigs.k8s.io/structured-merge-diff `typed/tofieldset.go`, `fieldpath/set.go`.
use std::collections::BTreeMap;

use serde_json::Value;

use super::set::{self, FieldSet};
use super::typing::{Shape, Typing};
use super::walk::{self, Part};

/// Every leaf and item that `value`, of type `of`, mentions.
pub(super) fn fields(of: &dyn Typing, value: &Value) -> FieldSet {
    cover(of, value).0
}

/// What is below `value`, and whether it is a leaf itself.
fn cover(of: &dyn Typing, value: &Value) -> (FieldSet, bool) {
    match walk::part(of, Some(value), None) {
        Part::Leaf => (FieldSet::default(), true),
        Part::Members => (members(of, value), false),
        Part::Items => (items(of, value), false),
    }
}

fn members(of: &dyn Typing, value: &Value) -> FieldSet {
    let mut covered = FieldSet::default();
    for (name, value) in walk::fields(Some(value)) {
        let (below, leaf) = cover(walk::member(of, name), value);
        let hollow = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
        // The entry of a map is there because someone wants it; a field is there anyway.
        let entry = of.field(name).is_none();
        covered.add(set::field(name), leaf || hollow || entry, below);
    }
    covered
}

fn items(of: &dyn Typing, value: &Value) -> FieldSet {
    let mut named: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for item in walk::items(Some(value)) {
        if let Ok(element) = walk::element(of, item) {
            named.entry(element).or_default().push(item);
        }
    }
    let mut covered = FieldSet::default();
    for (element, items) in named {
        let below = match items.as_slice() {
            [item] => cover(walk::item(of), item).0,
            // Items of one name are one thing together.
            _ => FieldSet::default(),
        };
        covered.add(element, true, below);
    }
    covered
}

/// `set`, with every field of a struct that has something below it in the set.
pub(super) fn with_named_fields(of: &dyn Typing, set: &FieldSet) -> FieldSet {
    let mut out = FieldSet::default();
    for (element, owned, below) in set.nodes() {
        let name = set::name(element);
        let inner = name.map_or_else(|| walk::item(of), |name| walk::member(of, name));
        let is_struct = matches!(of.shape(), Shape::Struct | Shape::AtomicStruct);
        let is_field = is_struct && name.is_some_and(|name| of.field(name).is_some());
        let implied = is_field && !below.is_empty();
        let below = with_named_fields(inner, &below);
        out.add(element.to_owned(), owned || implied, below);
    }
    out
}
