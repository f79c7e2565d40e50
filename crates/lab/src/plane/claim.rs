//! Which objects a controller may count as its own: those it controls and selects. It takes in what it
//! selects and nobody controls, and lets go what it controls and does not select.
//!
//! Source: Kubernetes, `PodControllerRefManager`.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use serde_json::json;

use super::pods::controlled_by;
use super::runtime::{Action, Cache, Kind, Write, controller_of};
use super::selector;

/// Objects of an owner.
pub(crate) struct Claim<K> {
    /// What it controls, by name.
    pub own: Vec<Arc<K>>,
    /// What has to be written before it controls what it selects, and nothing else.
    pub writes: Vec<Write>,
}

/// What `owner` can count on, of what is in `cache`; an orphan is taken in only if `accepts` it.
pub(crate) fn claim<K: Kind, O: Kind>(
    cache: &Cache<K>,
    owner: &O,
    select: &LabelSelector,
    accepts: impl Fn(&K) -> bool,
) -> Claim<K> {
    let meta = owner.meta();
    let uid = meta.uid.as_deref().unwrap_or_default();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let selects = |object: &K| selector::matches(select, object.meta().labels.as_ref());
    let mut claim = Claim { own: Vec::new(), writes: Vec::new() };
    for object in cache.owned_by(uid) {
        if selects(object) {
            claim.own.push(object.clone());
        } else if meta.deletion_timestamp.is_none() && object.meta().deletion_timestamp.is_none() {
            let others = other_owners(&**object, uid);
            claim.writes.push(owners_become(&**object, &others));
        }
    }
    if meta.deletion_timestamp.is_some() || selector::is_empty(select) {
        return claim;
    }
    for object in cache.orphans(namespace) {
        if selects(object) && object.meta().deletion_timestamp.is_none() && accepts(object) {
            let mut owners = other_owners(&**object, uid);
            owners.push(controlled_by(owner));
            claim.writes.push(owners_become(&**object, &owners));
        }
    }
    claim
}

/// The keys of owners in `cache` that would take `object` in, which nobody controls.
pub(crate) fn takers<K: Kind, O: Kind>(
    cache: &Cache<O>,
    object: &K,
    select: impl Fn(&O) -> Option<&LabelSelector>,
) -> Vec<String> {
    if controller_of(object).is_some() {
        return Vec::new();
    }
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let labels = object.meta().labels.as_ref();
    let takes = |owner: &&Arc<O>| {
        select(owner)
            .is_some_and(|select| !selector::is_empty(select) && selector::matches(select, labels))
    };
    let takers = cache.in_namespace(namespace).filter(takes);
    takers.map(|owner| super::runtime::key(&**owner)).collect()
}

fn other_owners<K: Kind>(object: &K, uid: &str) -> Vec<OwnerReference> {
    let owners = object.meta().owner_references.iter().flatten();
    owners.filter(|owner| owner.uid != uid).cloned().collect()
}

/// A merge patch replaces the list whole, so it holds for the version that was read only.
fn owners_become<K: Kind>(object: &K, owners: &[OwnerReference]) -> Write {
    let meta = object.meta();
    let patch = json!({ "metadata": {
        "uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": owners,
    } });
    Write::new(Action::Patch(patch), object.clone())
}
