//! What happens to objects without anyone asking: namespaces are furnished and emptied, and
//! objects whose owners are gone are removed.
//!
//! Level-triggered: each pass looks at what is there, so a lost wake-up costs a pass.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::access::{bootstrap, rbac};
use crate::http::Api;
use crate::http::admit::PRIORITIES;
use crate::refusal::Refusal;
use crate::resource::Resource;
use crate::server::signalled;
use crate::store::{Key, Object};

/// The least time between two passes: a burst of deletions costs few passes.
const PAUSE: Duration = Duration::from_millis(20);

/// The namespaces every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Makes the namespaces, priority classes and roles every cluster has.
pub(crate) fn populate(api: &Api) {
    let namespaces = api.builtin("", "namespaces");
    for name in NAMESPACES {
        create(api, &namespaces, "", json!({"metadata": {"name": name}}));
    }
    let classes = api.builtin("scheduling.k8s.io", "priorityclasses");
    for (name, value) in PRIORITIES {
        create(api, &classes, "", json!({"metadata": {"name": name}, "value": value}));
    }
    let (roles, bindings) = bootstrap::objects();
    for (plural, objects) in [("clusterroles", roles), ("clusterrolebindings", bindings)] {
        let resource = api.builtin(rbac::GROUP, plural);
        for object in objects {
            create(api, &resource, "", object);
        }
    }
    rbac::gather(api);
    furnish(api);
}

/// Makes a pass whenever there may be something to do, until `stopped`.
pub(crate) async fn run(api: Arc<Api>, mut stopped: tokio::sync::watch::Receiver<bool>) {
    let mut chores = api.store.chores();
    chores.mark_changed();
    loop {
        tokio::select! {
            () = signalled(&mut stopped) => return,
            changed = chores.changed() => if changed.is_err() { return },
        }
        furnish(&api);
        empty_namespaces(&api);
        collect(&api);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Gives each active namespace its `default` service account and `kube-root-ca.crt`.
fn furnish(api: &Api) {
    let (accounts, maps) = (api.builtin("", "serviceaccounts"), api.builtin("", "configmaps"));
    for (key, namespace) in objects(api, &api.builtin("", "namespaces"), None) {
        if !namespace.metadata("deletionTimestamp").is_null() {
            continue;
        }
        if api.store.get(&accounts.shelf, &Key::new(&key.name, "default")).is_none() {
            create(api, &accounts, &key.name, json!({"metadata": {"name": "default"}}));
        }
        if api.store.get(&maps.shelf, &Key::new(&key.name, "kube-root-ca.crt")).is_none() {
            let map = json!({
                "metadata": {
                    "name": "kube-root-ca.crt",
                    "annotations": {"kubernetes.io/description":
                        "Contains a CA bundle that can be used to verify the kube-apiserver."},
                },
                "data": {"ca.crt": api.ca_pem},
            });
            create(api, &maps, &key.name, map);
        }
    }
}

/// Creates an object that may have appeared in between, or whose namespace may just be going:
/// then the next pass sees what is so.
fn create(api: &Api, resource: &Resource, namespace: &str, value: Value) {
    if let Err(refusal) = api.create_object(resource, namespace, value) {
        tracing::debug!(?refusal, "furnish namespace");
    }
}

/// Deletes what is in terminating namespaces, and those that are empty.
fn empty_namespaces(api: &Api) {
    let namespaces = api.builtin("", "namespaces");
    for (key, namespace) in objects(api, &namespaces, None) {
        if namespace.metadata("deletionTimestamp").is_null() {
            continue;
        }
        let mut left = 0;
        for resource in api.registry().stored().filter(|resource| resource.is_namespaced()) {
            for (inner, object) in objects(api, resource, Some(&key.name)) {
                if object.metadata("deletionTimestamp").is_null() {
                    forget(api.delete_object(resource, &inner, &Value::Null));
                }
                left += usize::from(api.store.get(&resource.shelf, &inner).is_some());
            }
        }
        if left == 0 {
            forget(api.finalize_namespace(&namespaces, &key));
        }
    }
}

/// Deletes objects that name owners of which none exists.
fn collect(api: &Api) {
    // Owned first, owners after: an owner that appears in between is then seen.
    let mut owned: Vec<(Arc<Resource>, Key, Vec<String>)> = Vec::new();
    for resource in api.registry().stored() {
        for (key, object) in objects(api, resource, None) {
            let owners = owners(&object);
            if !owners.is_empty() && object.metadata("deletionTimestamp").is_null() {
                owned.push((resource.clone(), key, owners));
            }
        }
    }
    if owned.is_empty() {
        return;
    }
    let mut alive: HashSet<String> = HashSet::new();
    for resource in api.registry().stored() {
        for (_, object) in objects(api, resource, None) {
            alive.extend(object.metadata("uid").as_str().map(str::to_owned));
        }
    }
    for (resource, key, owners) in owned {
        if !owners.iter().any(|owner| alive.contains(owner)) {
            forget(api.delete_object(&resource, &key, &json!({"propagationPolicy": "Background"})));
        }
    }
}

/// Takes the owner with this `uid` from all objects that name it.
pub(crate) fn orphan(api: &Api, uid: &str) {
    for resource in api.registry().stored() {
        for (key, object) in objects(api, resource, None) {
            if owners(&object).iter().any(|owner| owner == uid) {
                forget(api.disown(resource, &key, uid));
            }
        }
    }
}

/// The identities of the owners an object names.
fn owners(object: &Object) -> Vec<String> {
    let owners = object.metadata("ownerReferences").as_array().map_or(&[][..], Vec::as_slice);
    owners.iter().filter_map(|owner| owner["uid"].as_str()).map(str::to_owned).collect()
}

fn objects(api: &Api, resource: &Resource, namespace: Option<&str>) -> Vec<(Key, Arc<Object>)> {
    // Only an old version can be forgotten; this asks for the current one.
    api.store.snapshot(&resource.shelf, namespace, None).map_or_else(|_| Vec::new(), |s| s.objects)
}

/// A deletion that someone else did first is done.
fn forget<T>(result: Result<T, Refusal>) {
    if let Err(refusal) = result
        && refusal.code != 404
        && refusal.code != 409
    {
        tracing::debug!(?refusal, "delete");
    }
}
