//! What becomes of definitions: names are accepted, kinds are served, and those that are being
//! deleted lose their objects and go.
//!
//! Level-triggered: each pass looks at all definitions as they are.
//! Source: apiextensions-apiserver `pkg/controller/{status,establish,finalizer,apiapproval}`.
use std::sync::Arc;

use serde_json::{Value, json};

use super::definition::{approval, names};
use super::{CLEANUP, resources};
use crate::condition;
use crate::http::Api;
use crate::refusal::Refusal;
use crate::resource::{Registry, Resource};
use crate::server::signalled;
use crate::store::{Key, Object};
use crate::strategy::Part;

/// Makes a pass whenever a definition, or an object of one that goes, may have changed.
pub(crate) async fn run(api: Arc<Api>, mut stopped: tokio::sync::watch::Receiver<bool>) {
    let shelf = definitions(&api).shelf.clone();
    let mut chores = api.store.chores();
    loop {
        let mut cursor = api.store.cursor(&shelf, api.store.version());
        chores.mark_unchanged();
        let emptying = settle(&api);
        tokio::select! {
            () = signalled(&mut stopped) => return,
            () = cursor.moved() => {}
            changed = chores.changed(), if emptying => if changed.is_err() { return },
        }
    }
}

/// One pass; whether a definition waits for its objects to go.
fn settle(api: &Api) -> bool {
    for (key, _) in all(api) {
        // Each sees what the ones before were given.
        let others = all(api);
        let Some(now) = others.iter().find(|(other, _)| *other == key) else { continue };
        // Definitions are large; most passes change nothing about most of them.
        let mut seen = essence(&now.1.value);
        accept(&mut seen, &others);
        if seen["status"] != now.1.value["status"] {
            note(api, &key, |definition| accept(definition, &others));
        }
    }
    publish(api);
    let mut emptying = false;
    for (key, definition) in all(api) {
        if definition.metadata("deletionTimestamp").is_string() {
            emptying = true;
            remove_objects(api, &key, &definition.value);
        }
    }
    emptying
}

/// The parts of a definition that decide what becomes of it.
fn essence(definition: &Value) -> Value {
    let spec = &definition["spec"];
    json!({
        "metadata": definition["metadata"],
        "spec": {"group": spec["group"], "names": spec["names"]},
        "status": definition["status"],
    })
}

type Definitions = Vec<(Key, Arc<Object>)>;

fn all(api: &Api) -> Definitions {
    // Only an old version can be forgotten; this asks for the current one.
    let snapshot = api.store.snapshot(&definitions(api).shelf, None, None);
    snapshot.map_or_else(|_| Vec::new(), |snapshot| snapshot.objects)
}

fn definitions(api: &Api) -> Arc<Resource> {
    api.builtin("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Writes a definition's status as `change` leaves it. A definition that has gone needs none.
fn note(api: &Api, key: &Key, change: impl Fn(&mut Value)) {
    let changed = api.amend(&definitions(api), key, Part::Status, |old| {
        let mut new = old.clone();
        change(&mut new);
        new
    });
    forget(changed);
}

fn forget(result: Result<(), Refusal>) {
    if let Err(refusal) = result
        && refusal.code != 404
    {
        tracing::debug!(?refusal, "settle a custom resource definition");
    }
}

/// Gives a definition the names that no other of its group has, and says what came of it.
fn accept(definition: &mut Value, others: &Definitions) {
    let name = definition["metadata"]["name"].clone();
    let group = &definition["spec"]["group"];
    let others = others.iter().map(|(_, other)| &other.value);
    let others = others.filter(|o| o["spec"]["group"] == *group && o["metadata"]["name"] != name);
    let (accepted, conflict) = names::accept(definition, others);
    definition["status"]["acceptedNames"] = accepted;
    let free = conflict.is_none();
    let (reason, message) =
        conflict.unwrap_or_else(|| ("NoConflicts", "no conflicts found".to_owned()));
    condition::set(definition, "NamesAccepted", free, reason, &message);
    let established = has_condition(definition, "Established");
    if free && !established {
        let message = "the initial names have been accepted";
        condition::set(definition, "Established", true, "InitialNamesAccepted", message);
    } else if !established {
        condition::set(
            definition,
            "Established",
            false,
            "NotAccepted",
            "not all names are accepted",
        );
    }
    if let Some(state) = approval::state(definition) {
        let kind = "KubernetesAPIApprovalPolicyConformant";
        condition::set(definition, kind, state.conforms, state.reason, &state.message);
    }
}

/// Whether a condition is there and true.
fn has_condition(definition: &Value, kind: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == kind && c["status"] == "True")
}

/// Serves the kinds of all established definitions, and no others.
pub(crate) fn publish(api: &Api) {
    let now = api.registry();
    let mut served = all(api);
    served.retain(|(_, definition)| has_condition(&definition.value, "Established"));
    let served: Vec<(Origin, Arc<Object>)> =
        served.into_iter().map(|(_, object)| (Origin::of(&object.value), object)).collect();
    if now.defines(served.iter().map(|(origin, _)| origin)) {
        return;
    }
    let mut next = Registry::builtin();
    for (origin, definition) in served {
        // What did not change stays the same kind, and its watches go on.
        let known = now.defined_by(&origin).cloned();
        let kinds = known
            .unwrap_or_else(|| resources(&definition.value).into_iter().map(Arc::new).collect());
        next.define(origin, kinds);
    }
    api.serve_kinds(next);
}

/// Which state of a definition kinds were made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    uid: String,
    generation: u64,
    names: String,
    terminating: bool,
}

impl Origin {
    fn of(definition: &Value) -> Self {
        let metadata = &definition["metadata"];
        Self {
            uid: metadata["uid"].as_str().unwrap_or("").to_owned(),
            generation: metadata["generation"].as_u64().unwrap_or(0),
            names: definition["status"]["acceptedNames"].to_string(),
            terminating: metadata["deletionTimestamp"].is_string(),
        }
    }
}

/// Deletes the objects of a definition that is being deleted, and then lets it go.
fn remove_objects(api: &Api, key: &Key, definition: &Value) {
    let held = &definition["metadata"]["finalizers"];
    if !held.as_array().into_iter().flatten().any(|one| one == CLEANUP) {
        return;
    }
    let mut left = 0;
    for resource in resources(definition).into_iter().take(1) {
        let snapshot = api.store.snapshot(&resource.shelf, None, None);
        for (inner, object) in snapshot.map_or_else(|_| Vec::new(), |s| s.objects) {
            if object.metadata("deletionTimestamp").is_null() {
                forget(api.delete_object(&resource, &inner, &Value::Null).map(|_| ()));
            }
            left += usize::from(api.store.get(&resource.shelf, &inner).is_some());
        }
    }
    if left > 0 {
        let message = "CustomResource deletion is in progress";
        return note(api, key, |definition| {
            condition::set(definition, "Terminating", true, "InstanceDeletionInProgress", message);
        });
    }
    note(api, key, |definition| {
        condition::set(
            definition,
            "Terminating",
            false,
            "InstanceDeletionCompleted",
            "removed all instances",
        );
    });
    forget(api.amend(&definitions(api), key, Part::Main, |old| {
        let mut new = old.clone();
        if let Some(finalizers) = new["metadata"]["finalizers"].as_array_mut() {
            finalizers.retain(|one| one != CLEANUP);
        }
        new
    }));
}
