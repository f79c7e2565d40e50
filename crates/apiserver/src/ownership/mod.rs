//! Who owns which field of an object: `metadata.managedFields`, and server-side apply.
//!
//! Every write leaves its author as owner of what it changed. An applier says with each request
//! all it wants; what it wanted before and nobody wants any more is removed, and what others own
//! is a conflict unless it is forced.
//!
//! Source: Kubernetes "Server-Side Apply"; k8s.io/apimachinery `util/managedfields`;
//! sigs.k8s.io/structured-merge-diff `merge/update.go`.
mod apply;
mod compare;
mod conform;
mod cover;
mod entries;
mod merge;
mod remove;
mod scale;
mod set;
mod typing;
mod walk;

use std::sync::LazyLock;

use serde_json::{Value, json};

pub(crate) use apply::{Conflict, Refused, apply};
pub(crate) use scale::{show_owners, take_owners};
pub(crate) use set::FieldSet;
pub(crate) use typing::{Typing, typing};

use crate::resource::{Resource, Rules, Subresource};
use crate::strategy::Part;
use compare::{Comparison, compare};
use entries::{Entry, Managed, Operation};

/// Who writes.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    /// The name given with the request, or that of the client program.
    pub(crate) manager: String,
    /// The version of the kind that is written.
    pub(crate) api_version: String,
    /// The subresource that is written, or empty.
    pub(crate) subresource: &'static str,
    /// When, in seconds since the epoch.
    pub(crate) now: u64,
}

/// Fields that are nobody's: they name the object, or the server writes them.
static NOBODYS: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

impl Author {
    /// The entry of this author, with nothing in it.
    fn entry(&self, manager: &str, operation: Operation) -> Entry {
        let manager = if manager.is_empty() { "unknown" } else { manager };
        Entry {
            manager: manager.to_owned(),
            operation,
            api_version: self.api_version.clone(),
            subresource: self.subresource.to_owned(),
            time: None,
            fields: FieldSet::default(),
        }
    }
}

/// What a write to `part` of an object can't own: what it can't write, and what the server decides
/// where `asked` leaves it open.
pub(crate) fn out_of_reach(resource: &Resource, part: Part, asked: &Value) -> FieldSet {
    let mut ignored = unwritten(resource, part);
    let decided: &[&[&str]] = match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => &[
            &["spec", "serviceAccount"],
            &["spec", "serviceAccountName"],
            &["spec", "tolerations"],
            &["spec", "priority"],
            &["spec", "preemptionPolicy"],
        ],
        ("", "Service") => &[
            &["spec", "clusterIP"],
            &["spec", "clusterIPs"],
            &["spec", "ipFamilies"],
            &["spec", "ipFamilyPolicy"],
            &["spec", "healthCheckNodePort"],
        ],
        ("", "Namespace") => &[&["spec", "finalizers"]],
        _ => &[],
    };
    let is_open =
        |path: &&&[&str]| path.iter().try_fold(asked, |value, name| value.get(name)).is_none();
    for path in decided.iter().filter(is_open) {
        ignored.unite(&FieldSet::of_fields(&[path]));
    }
    ignored
}

/// What a write to `part` of an object leaves as it is.
///
/// Source: `GetResetFields` of the strategies in pkg/registry.
fn unwritten(resource: &Resource, part: Part) -> FieldSet {
    match part {
        Part::Main if resource.has(Subresource::Status) => FieldSet::of_fields(&[&["status"]]),
        Part::Main | Part::Binding | Part::EphemeralContainers => FieldSet::default(),
        Part::Finalizers => FieldSet::of_fields(&[&["status"]]),
        Part::Status => {
            let mut set = FieldSet::of_fields(&[&["spec"]]);
            if resource.rules == Rules::Pod {
                set.unite(&FieldSet::of_fields(&[
                    &["metadata", "deletionTimestamp"],
                    &["metadata", "ownerReferences"],
                ]));
            }
            set
        }
    }
}

/// Notes in `new` that `author` owns what is not as it was in `old` (nothing, if it is created).
/// Whoever owned that before does no more. `ignored` is out of the author's reach.
///
/// An object of which nobody owns anything stays so: its owners were dropped by writing an empty
/// list.
pub(crate) fn record(
    author: &Author,
    of: &dyn Typing,
    ignored: &FieldSet,
    old: Option<&Value>,
    new: &mut Value,
) {
    let given = take(new);
    let live = old.map_or(&Value::Null, |old| &old["metadata"]["managedFields"]);
    let mut managed = owners(author, given, live);
    if managed.is_empty() && old.is_some() {
        return;
    }
    // The server writes empty structs where nobody has written.
    let nothing = json!({});
    let difference = difference(of, ignored, old.unwrap_or(&nothing), new);
    update(&mut managed, author, &difference);
    put(new, managed);
}

/// Who owns what before a write: as the object says, unless the request says otherwise.
fn owners(author: &Author, given: Value, live: &Value) -> Managed {
    if given == *live {
        return Managed::stored(given);
    }
    let is_reset = match given.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    };
    if is_reset && author.subresource.is_empty() {
        return Managed::default();
    }
    // What can't be read is no reason to lose what is known.
    match Managed::read(&given) {
        Ok(managed) if !managed.is_empty() && author.subresource.is_empty() => managed,
        _ => Managed::stored(live.clone()),
    }
}

/// The fields an author can own in which two states of an object differ.
fn difference(of: &dyn Typing, ignored: &FieldSet, old: &Value, new: &Value) -> Comparison {
    let mut difference = compare(of, old, new);
    difference.ignore(ignored);
    difference
}

/// Gives `author` what has changed.
fn update(managed: &mut Managed, author: &Author, difference: &Comparison) {
    let changed = difference.changed();
    managed.disown(&changed);
    managed.disown(&difference.removed);
    let fields = changed.without(&NOBODYS);
    if !fields.is_empty() {
        let entry = author.entry(&author.manager, Operation::Update);
        let mut entry = managed.take(&entry).unwrap_or(entry);
        entry.api_version.clone_from(&author.api_version);
        entry.fields.unite(&fields);
        entry.time = Some(author.now);
        managed.entries.push(entry);
    }
    managed.cap();
}

/// Takes the owners out of an object.
fn take(value: &mut Value) -> Value {
    let metadata = value.get_mut("metadata").and_then(Value::as_object_mut);
    metadata.and_then(|metadata| metadata.remove("managedFields")).unwrap_or_default()
}

/// Writes the owners into an object.
fn put(value: &mut Value, managed: Managed) {
    if let (Some(managed), Some(metadata)) =
        (managed.into_value(), value.get_mut("metadata").and_then(Value::as_object_mut))
    {
        metadata.insert("managedFields".to_owned(), managed);
    }
}

/// Whether two states of an object differ in nothing but when its owners came by their fields.
///
/// Source: k8s.io/apiserver `fieldmanager/equality.go`.
pub(crate) fn differ_in_times_only(new: &Value, old: &Value) -> bool {
    let timeless = |value: &Value| {
        let mut managed = Managed::stored(value["metadata"]["managedFields"].clone());
        managed.entries.iter_mut().for_each(|entry| entry.time = None);
        managed.into_value()
    };
    let bare = |value: &Value| {
        let mut value = value.clone();
        take(&mut value);
        value
    };
    new["metadata"]["managedFields"] != old["metadata"]["managedFields"]
        && timeless(new) == timeless(old)
        && bare(new) == bare(old)
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
