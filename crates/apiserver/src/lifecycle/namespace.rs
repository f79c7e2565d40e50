//! Namespaces: furnished while they are there, emptied when they go; pods first, so that nothing
//! that runs loses its policies or its configuration before it ends.
//!
//! Source: pkg/controller/namespace/deletion (KEP-5080, ordered namespace deletion).
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Done, create};
use crate::condition;
use crate::http::Api;
use crate::refusal::Refusal;
use crate::resource::{Resource, Rules, Subresource};
use crate::store::Key;
use crate::strategy::Part;

/// The finalizer that namespaces have in their specification.
const FINALIZER: &str = "kubernetes";

/// Gives a namespace what it should have, or takes one that goes a step further.
pub(super) fn look(api: &Api, name: &str) -> Done {
    let namespaces = api.builtin("", "namespaces");
    let key = Key::new("", name);
    let Some(namespace) = api.store.get(&namespaces.shelf, &key) else { return Done::Yes };
    if namespace.metadata("deletionTimestamp").is_null() {
        furnish(api, name);
        return Done::Yes;
    }
    let holds = |value: &Value| {
        let finalizers = value["spec"]["finalizers"].as_array();
        finalizers.is_some_and(|list| list.iter().any(|one| one == FINALIZER))
    };
    if !holds(&namespace.value) {
        return Done::Yes;
    }
    let rest = empty(api, name);
    let noted = note(api, &namespaces, &key, &rest);
    if !rest.failures.is_empty() || noted == Done::Later {
        return Done::Later;
    }
    if rest.objects.is_empty() {
        let part = Part::of(Some(Subresource::Finalize));
        return Done::of(api.amend(&namespaces, &key, part, |old| {
            let mut new = old.clone();
            if let Some(finalizers) = new["spec"]["finalizers"].as_array_mut() {
                finalizers.retain(|one| one != FINALIZER);
            }
            new
        }));
    }
    // The end of each object that is left brings the next look.
    Done::Yes
}

/// Gives an active namespace its `default` service account and `kube-root-ca.crt`.
fn furnish(api: &Api, name: &str) {
    let (accounts, maps) = (api.builtin("", "serviceaccounts"), api.builtin("", "configmaps"));
    if api.store.get(&accounts.shelf, &Key::new(name, "default")).is_none() {
        create(api, &accounts, name, json!({"metadata": {"name": "default"}}));
    }
    if api.store.get(&maps.shelf, &Key::new(name, "kube-root-ca.crt")).is_none() {
        let map = json!({
            "metadata": {
                "name": "kube-root-ca.crt",
                "annotations": {"kubernetes.io/description":
                    "Contains a CA bundle that can be used to verify the kube-apiserver."},
            },
            "data": {"ca.crt": api.ca_pem},
        });
        create(api, &maps, name, map);
    }
}

/// What is left in a namespace.
#[derive(Debug, Default)]
struct Rest {
    /// How many objects, by kind.
    objects: BTreeMap<String, usize>,
    /// How many objects each finalizer holds.
    finalizers: BTreeMap<String, usize>,
    failures: Vec<String>,
}

/// Deletes what is in a namespace: the pods, and when they are gone everything else.
fn empty(api: &Api, name: &str) -> Rest {
    let mut rest = Rest::default();
    let registry = api.registry();
    let inside: Vec<_> = registry.stored().filter(|resource| resource.is_namespaced()).collect();
    let (pods, others): (Vec<_>, Vec<_>) =
        inside.into_iter().partition(|resource| resource.rules == Rules::Pod);
    for kinds in [pods, others] {
        kinds.into_iter().for_each(|resource| rest.delete(api, resource, name));
        if !rest.objects.is_empty() {
            break;
        }
    }
    rest
}

impl Rest {
    /// Deletes the objects of one kind and counts those that stay for now.
    fn delete(&mut self, api: &Api, resource: &Resource, namespace: &str) {
        let mut left = 0;
        for (key, object) in api.store.newest(&resource.shelf, Some(namespace)) {
            if object.metadata("deletionTimestamp").is_null() {
                let background = json!({"propagationPolicy": "Background"});
                match api.delete_object(resource, &key, &background) {
                    Err(refusal) if refusal.code != 404 => self.failed(&refusal),
                    Ok(_) | Err(_) => {}
                }
            }
            let Some(object) = api.store.get(&resource.shelf, &key) else { continue };
            left += 1;
            let finalizers = object.metadata("finalizers").as_array().into_iter().flatten();
            for finalizer in finalizers.filter_map(Value::as_str) {
                *self.finalizers.entry(finalizer.to_owned()).or_default() += 1;
            }
        }
        if left > 0 {
            self.objects.insert(format!("{}.{}", resource.plural, resource.group), left);
        }
    }

    fn failed(&mut self, refusal: &Refusal) {
        let message = refusal.status()["message"].as_str().unwrap_or("").to_owned();
        self.failures.push(message);
    }

    /// The conditions of the namespace.
    fn conditions(&self) -> [Condition; 5] {
        let list = |counts: &BTreeMap<String, usize>, say: &str| {
            let words = counts
                .iter()
                .map(|(what, count)| format!("{what} {say} {count} resource instances"));
            words.collect::<Vec<_>>().join(", ")
        };
        let mut failures = self.failures.clone();
        failures.sort();
        let failed = || {
            let (count, failures) = (failures.len(), failures.join(", "));
            format!("Failed to delete all resource types, {count} remaining: {failures}")
        };
        let remaining = || format!("Some resources are remaining: {}", list(&self.objects, "has"));
        let held = || {
            let held = list(&self.finalizers, "in");
            format!("Some content in the namespace has finalizers remaining: {held}")
        };
        // Kinds are known here without asking anybody, so looking for them can't fail.
        [
            (&DISCOVERY, None),
            (&PARSING, None),
            (&DELETION, (!failures.is_empty()).then(failed)),
            (&CONTENT, (!self.objects.is_empty()).then(remaining)),
            (&FINALIZERS, (!self.finalizers.is_empty()).then(held)),
        ]
    }
}

/// What a condition of a namespace says, and what is wrong, if something is.
type Condition = (&'static Words, Option<String>);

/// The words of a condition: its type, its reason and message while all is well, and its reason
/// when it is not.
struct Words {
    kind: &'static str,
    well: (&'static str, &'static str),
    wrong: &'static str,
}

const DISCOVERY: Words = Words {
    kind: "NamespaceDeletionDiscoveryFailure",
    well: ("ResourcesDiscovered", "All resources successfully discovered"),
    wrong: "DiscoveryFailed",
};
const PARSING: Words = Words {
    kind: "NamespaceDeletionGroupVersionParsingFailure",
    well: ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    wrong: "GroupVersionParsingFailed",
};
const DELETION: Words = Words {
    kind: "NamespaceDeletionContentFailure",
    well: ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
    wrong: "ContentDeletionFailed",
};
const CONTENT: Words = Words {
    kind: "NamespaceContentRemaining",
    well: ("ContentRemoved", "All content successfully removed"),
    wrong: "SomeResourcesRemain",
};
const FINALIZERS: Words = Words {
    kind: "NamespaceFinalizersRemaining",
    well: ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
    wrong: "SomeFinalizersRemain",
};

/// Tells in the namespace's status what is left in it.
fn note(api: &Api, namespaces: &Resource, key: &Key, rest: &Rest) -> Done {
    let conditions = rest.conditions();
    Done::of(api.amend(namespaces, key, Part::Status, |old| {
        let mut new = old.clone();
        for (Words { kind, well, wrong }, trouble) in &conditions {
            match trouble {
                Some(trouble) => condition::set(&mut new, kind, true, wrong, trouble),
                None => condition::set(&mut new, kind, false, well.0, well.1),
            }
        }
        new
    }))
}
