//! Owners and what they own: what loses its last owner goes, and an owner may wait for it.
//!
//! Source: pkg/controller/garbagecollector.
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Done, create, kind_on};
use crate::http::Api;
use crate::http::deletion::{FOREGROUND, ORPHAN};
use crate::resource::Resource;
use crate::store::{Object, Place};
use crate::strategy::Part;
use crate::time;

/// What has become of an owner that an object names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// It is there.
    Solid,
    /// It is not, or is another by now.
    Dangling,
    /// It is being deleted and waits for what it owns.
    Waiting,
    /// Nobody can say: its kind is unknown, or it is out of the object's reach.
    Unknown,
}

/// Looks at one object as somebody's property, and as an owner that is being deleted.
pub(super) fn look(api: &Api, place: &Place) -> Done {
    let Some(resource) = kind_on(api, &place.shelf) else { return Done::Yes };
    let Some(object) = api.store.get(&place.shelf, &place.key) else { return Done::Yes };
    let goes = object.metadata("deletionTimestamp").is_string();
    if goes && has_finalizer(&object.value, ORPHAN) {
        return let_dependents_be(api, &resource, place, &object);
    }
    if goes && has_finalizer(&object.value, FOREGROUND) {
        return wait_for_dependents(api, &resource, place, &object);
    }
    if goes { Done::Yes } else { look_at_owners(api, &resource, place, &object) }
}

/// Takes the owner from all it owns, and lets it go.
fn let_dependents_be(api: &Api, resource: &Resource, place: &Place, owner: &Object) -> Done {
    let uid = owner.metadata("uid").as_str().unwrap_or("");
    for dependent in api.store.dependents(uid) {
        if disown(api, &dependent, &[uid]) == Done::Later {
            return Done::Later;
        }
    }
    drop_finalizer(api, resource, place, ORPHAN)
}

/// Has all that an owner owns deleted, and lets the owner go when nothing is left that blocks it.
fn wait_for_dependents(api: &Api, resource: &Resource, place: &Place, owner: &Object) -> Done {
    let uid = owner.metadata("uid").as_str().unwrap_or("");
    let mut blocked = false;
    let mut done = Done::Yes;
    for dependent in api.store.dependents(uid) {
        let Some(kind) = kind_on(api, &dependent.shelf) else { continue };
        let Some(object) = api.store.get(&dependent.shelf, &dependent.key) else { continue };
        if object.metadata("deletionTimestamp").is_null() {
            done = done.and(look_at_owners(api, &kind, &dependent, &object));
        }
        let still = api.store.get(&dependent.shelf, &dependent.key);
        blocked |= still.is_some_and(|object| blocks(&object.value, uid));
    }
    if blocked || done == Done::Later {
        return done;
    }
    drop_finalizer(api, resource, place, FOREGROUND)
}

/// Whether an object keeps its owner from going before it.
fn blocks(object: &Value, owner: &str) -> bool {
    references(object).iter().any(|r| r["uid"] == owner && r["blockOwnerDeletion"] == true)
}

/// Deletes an object that has lost its last owner, and takes from others the owners that are gone.
fn look_at_owners(api: &Api, resource: &Resource, place: &Place, object: &Object) -> Done {
    let references = references(&object.value);
    if references.is_empty() {
        return Done::Yes;
    }
    let owners: Vec<(&Value, Owner)> =
        references.iter().map(|r| (r, classify(api, resource, place, object, r))).collect();
    let is = |wanted: Owner| owners.iter().any(|(_, owner)| *owner == wanted);
    if is(Owner::Unknown) {
        return Done::Yes;
    }
    if is(Owner::Solid) {
        let gone = owners.iter().filter(|(_, owner)| *owner != Owner::Solid);
        let gone: Vec<&str> = gone.filter_map(|(r, _)| r["uid"].as_str()).collect();
        return if gone.is_empty() { Done::Yes } else { disown(api, place, &gone) };
    }
    let uid = object.metadata("uid").as_str().unwrap_or("");
    let dependents = api.store.dependents(uid);
    let policy = if is(Owner::Waiting) && !dependents.is_empty() {
        if dependents.iter().any(|dependent| waits(api, dependent)) {
            // It may be a circle: someone has to be the first.
            let unblocked = unblock(api, resource, place);
            if unblocked == Done::Later {
                return unblocked;
            }
        }
        "Foreground"
    } else if has_finalizer(&object.value, ORPHAN) {
        "Orphan"
    } else if has_finalizer(&object.value, FOREGROUND) {
        "Foreground"
    } else {
        "Background"
    };
    let options = json!({"propagationPolicy": policy, "preconditions": {"uid": uid}});
    Done::of(api.delete_object(resource, &place.key, &options))
}

/// Whether the object is an owner that waits for what it owns.
fn waits(api: &Api, place: &Place) -> bool {
    let object = api.store.get(&place.shelf, &place.key);
    object.is_some_and(|object| is_waiting(&object))
}

fn is_waiting(object: &Object) -> bool {
    object.metadata("deletionTimestamp").is_string() && has_finalizer(&object.value, FOREGROUND)
}

/// What has become of the owner that `reference` names: it is looked for where the object is.
fn classify(
    api: &Api,
    resource: &Resource,
    place: &Place,
    object: &Object,
    reference: &Value,
) -> Owner {
    let text = |field: &str| reference[field].as_str().unwrap_or("");
    let (group, _) = text("apiVersion").rsplit_once('/').unwrap_or_default();
    let registry = api.registry();
    let kind = registry.iter().find(|r| r.group == group && r.kind == text("kind"));
    let Some(kind): Option<&Arc<Resource>> = kind else { return Owner::Unknown };
    if kind.is_namespaced() && !resource.is_namespaced() {
        tell(api, resource, object, reference);
        return Owner::Unknown;
    }
    let namespace = if kind.is_namespaced() { place.key.namespace.as_str() } else { "" };
    let key = crate::store::Key::new(namespace, text("name"));
    match api.store.get(&kind.shelf, &key) {
        Some(owner) if owner.metadata("uid") == text("uid") => {
            if is_waiting(&owner) {
                Owner::Waiting
            } else {
                Owner::Solid
            }
        }
        Some(_) | None => {
            let elsewhere = api.store.place(text("uid"));
            if elsewhere.is_some_and(|owner| owner.key.namespace != namespace) {
                tell(api, resource, object, reference);
            }
            Owner::Dangling
        }
    }
}

/// Tells in an event that an object names an owner out of its reach.
fn tell(api: &Api, resource: &Resource, object: &Object, reference: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let namespace = text(object.metadata("namespace"));
    let field = |field: &str| text(&reference[field]);
    let message = format!(
        "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace \
         \"{namespace}\"",
        field("apiVersion"),
        field("kind"),
        field("name"),
        field("uid"),
    );
    let of = if namespace.is_empty() { "default" } else { namespace.as_str() };
    let now = json!(time::rfc3339(time::now()));
    let event = json!({
        "metadata": {"generateName": format!("{}.", text(object.metadata("name"))), "namespace": of},
        "involvedObject": {
            "kind": resource.kind, "apiVersion": resource.api_version(), "namespace": namespace,
            "name": object.metadata("name"), "uid": object.metadata("uid"),
        },
        "type": "Warning", "reason": "OwnerRefInvalidNamespace", "message": message,
        "source": {"component": "garbage-collector-controller"},
        "reportingComponent": "garbage-collector-controller",
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    });
    create(api, &api.builtin("", "events"), of, event);
}

/// Takes owners, by uid, from an object.
fn disown(api: &Api, place: &Place, uids: &[&str]) -> Done {
    let Some(resource) = kind_on(api, &place.shelf) else { return Done::Yes };
    Done::of(api.amend(&resource, &place.key, Part::Main, |old| {
        let mut new = old.clone();
        if let Some(owners) = new["metadata"]["ownerReferences"].as_array_mut() {
            owners.retain(|owner| !uids.iter().any(|uid| owner["uid"] == *uid));
        }
        if references(&new).is_empty()
            && let Some(metadata) = new["metadata"].as_object_mut()
        {
            metadata.remove("ownerReferences");
        }
        new
    }))
}

/// Lets an object's owners go before it.
fn unblock(api: &Api, resource: &Resource, place: &Place) -> Done {
    Done::of(api.amend(resource, &place.key, Part::Main, |old| {
        let mut new = old.clone();
        let owners = new["metadata"]["ownerReferences"].as_array_mut();
        for owner in owners.into_iter().flatten() {
            if owner["blockOwnerDeletion"] == true {
                owner["blockOwnerDeletion"] = json!(false);
            }
        }
        new
    }))
}

fn drop_finalizer(api: &Api, resource: &Resource, place: &Place, finalizer: &str) -> Done {
    Done::of(api.amend(resource, &place.key, Part::Main, |old| {
        let mut new = old.clone();
        if let Some(finalizers) = new["metadata"]["finalizers"].as_array_mut() {
            finalizers.retain(|one| one != finalizer);
        }
        new
    }))
}

fn has_finalizer(value: &Value, finalizer: &str) -> bool {
    let finalizers = value["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|list| list.iter().any(|one| one == finalizer))
}

fn references(value: &Value) -> &[Value] {
    value["metadata"]["ownerReferences"].as_array().map_or(&[], Vec::as_slice)
}
