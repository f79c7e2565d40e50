//! What a deletion comes to: the options it is asked with, and the object it leaves, if any.
//!
//! Source: k8s.io/apiserver `registry/rest.BeforeDelete`, `registry/generic/registry.Store.Delete`.
use serde_json::{Value, json};

use super::request::Call;
use crate::crd;
use crate::refusal::{Cause, Refusal};
use crate::resource::{Resource, Rules};
use crate::store::Object;
use crate::time;

/// The finalizer of an object that waits for what it owns to be gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object that waits for what it owns to be disowned.
pub(crate) const ORPHAN: &str = "orphan";

/// How a deletion ends.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// The object is gone; its last state.
    Gone(Value),
    /// It is marked and waits for its grace period or finalizers.
    Marked(Value),
}

/// The options of a request: those in its body, or in its query if it has none.
///
/// # Errors
/// The refusal of what `meta/v1 DeleteOptions` may not say.
pub(super) fn options(call: &Call) -> Result<Value, Refusal> {
    let mut options = call.options()?;
    if options.is_null() {
        options = json!({});
        if let Some(seconds) = call.number::<i64>("gracePeriodSeconds")? {
            options["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(policy) = call.query("propagationPolicy").filter(|policy| !policy.is_empty()) {
            options["propagationPolicy"] = json!(policy);
        }
        if let Some(orphan) = call.query("orphanDependents").filter(|orphan| !orphan.is_empty()) {
            options["orphanDependents"] = json!(matches!(orphan, "true" | "1"));
        }
    }
    let grace = &options["gracePeriodSeconds"];
    if !grace.is_null() && !grace.is_i64() {
        return Err(Refusal::bad_request(format!(
            "gracePeriodSeconds: Invalid value: {grace}: must be a number of seconds"
        )));
    }
    check(&options)?;
    Ok(options)
}

/// Source: k8s.io/apimachinery `meta/v1/validation.ValidateDeleteOptions`.
fn check(options: &Value) -> Result<(), Refusal> {
    let policy = &options["propagationPolicy"];
    let mut causes = Vec::new();
    if !policy.is_null() && !options["orphanDependents"].is_null() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        causes.push(Cause::invalid("propagationPolicy", policy, why));
    }
    let known = ["Foreground", "Background", "Orphan", "nil"];
    if !policy.is_null() && !known[..3].iter().any(|known| policy == known) {
        causes.push(Cause::not_supported("propagationPolicy", policy, &known));
    }
    let all = |dry: &Value| dry == "All";
    if options["dryRun"].as_array().is_some_and(|list| !list.iter().all(all)) {
        causes.push(Cause::not_supported("dryRun", &options["dryRun"], &["All"]));
    }
    Refusal::unless_empty("DeleteOptions", &causes)
}

/// Whether the deletion is only to be shown.
///
/// # Errors
/// The refusal of a query that says neither.
pub(super) fn is_dry(call: &Call, options: &Value) -> Result<bool, Refusal> {
    Ok(call.dry_run()? || options["dryRun"].as_array().is_some_and(|list| !list.is_empty()))
}

/// What deleting `object` now comes to, as `options` (or null) ask.
///
/// # Errors
/// The refusal if a precondition does not hold.
pub(super) fn plan(
    resource: &Resource,
    object: &Object,
    options: &Value,
) -> Result<Deleted, Refusal> {
    preconditions(resource, object, options)?;
    let mut value = object.value.clone();
    if resource.rules == Rules::Definition {
        crd::definition::mark(&mut value);
    }
    let marked = value["metadata"]["deletionTimestamp"].is_string();
    if resource.rules == Rules::Namespace {
        let finished = value["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if !marked {
            hold_for_dependents(resource, &mut value, options);
            mark(&mut value, 0);
            value["status"]["phase"] = json!("Terminating");
        }
        if !marked || !finished {
            return Ok(Deleted::Marked(value));
        }
    }
    if resource.rules == Rules::Pod {
        match grace(&value, options) {
            Grace::Pending => return Ok(Deleted::Marked(value)),
            Grace::Over => {}
            Grace::Lasts { due, seconds } => {
                set_deletion(&mut value, due, seconds);
                hold_for_dependents(resource, &mut value, options);
                let held = is_held(&value);
                let over = seconds == 0 && !held;
                return Ok(if over { Deleted::Gone(value) } else { Deleted::Marked(value) });
            }
        }
    }
    hold_for_dependents(resource, &mut value, options);
    if !is_held(&value) {
        return Ok(Deleted::Gone(value));
    }
    mark(&mut value, 0);
    Ok(Deleted::Marked(value))
}

fn preconditions(resource: &Resource, object: &Object, options: &Value) -> Result<(), Refusal> {
    let tests = [
        ("UID", "uid", "The object might have been deleted and then recreated"),
        ("ResourceVersion", "resourceVersion", "The object might have been modified"),
    ];
    for (what, field, perhaps) in tests {
        let wanted = &options["preconditions"][field];
        let actual = object.metadata(field);
        if !wanted.is_null() && wanted != actual {
            let name = object.metadata("name").as_str().unwrap_or("");
            let why = format!(
                "the {what} in the precondition ({}) does not match the {what} in record ({}). \
                 {perhaps}",
                wanted.as_str().unwrap_or(""),
                actual.as_str().unwrap_or("")
            );
            return Err(Refusal::conflict(resource, name, &why));
        }
    }
    Ok(())
}

/// How long a pod's node has to let it go.
enum Grace {
    /// The node is at it, and what is asked does not make it any faster.
    Pending,
    /// Nobody is waited for any more.
    Over,
    /// Until `due`, seconds since 1970, which is `seconds` after the deletion.
    Lasts { due: u64, seconds: u64 },
}

/// Source: as this module; pkg/registry/core/pod `podStrategy.CheckGracefulDelete`.
fn grace(pod: &Value, options: &Value) -> Grace {
    // Less than nothing counts as a second.
    let seconds = |value: &Value| value.as_i64().map(|s| u64::try_from(s).unwrap_or(1));
    let asked = seconds(&options["gracePeriodSeconds"]);
    let metadata = &pod["metadata"];
    let now = time::now();
    if let Some(due) = metadata["deletionTimestamp"].as_str() {
        let before = match seconds(&metadata["deletionGracePeriodSeconds"]) {
            None | Some(0) => return Grace::Over,
            Some(before) => before,
        };
        let Some(asked) = asked.filter(|asked| *asked < before) else { return Grace::Pending };
        let due = time::parse_rfc3339(due).unwrap_or(now).saturating_sub(before) + asked;
        if due >= now {
            return Grace::Lasts { due, seconds: asked };
        }
        // Late, but the node still has the last word unless it is not to be asked.
        return Grace::Lasts { due: now, seconds: asked.min(1) };
    }
    let runs = !pod["spec"]["nodeName"].as_str().unwrap_or("").is_empty()
        && !matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
    let own = || seconds(&pod["spec"]["terminationGracePeriodSeconds"]).unwrap_or(0);
    let seconds = if runs { asked.unwrap_or_else(own) } else { 0 };
    Grace::Lasts { due: now.saturating_add(seconds).min(time::LAST), seconds }
}

/// Notes that an object is being deleted, and has `grace` seconds for it.
fn mark(value: &mut Value, grace: u64) {
    let now = time::now();
    let before = value["metadata"]["deletionTimestamp"].as_str().and_then(time::parse_rfc3339);
    set_deletion(value, before.map_or(now, |before| before.min(now)), grace);
}

fn set_deletion(value: &mut Value, due: u64, grace: u64) {
    let metadata = &mut value["metadata"];
    let first = metadata["deletionTimestamp"].is_null();
    if let Some(generation) = metadata["generation"].as_u64().filter(|_| first) {
        metadata["generation"] = json!(generation + 1);
    }
    metadata["deletionTimestamp"] = json!(time::rfc3339(due));
    metadata["deletionGracePeriodSeconds"] = json!(grace);
}

/// Whether finalizers hold an object back.
fn is_held(value: &Value) -> bool {
    value["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

/// Gives an object the finalizer of what becomes of those it owns, and takes the other from it.
///
/// Source: `deletionFinalizersForGarbageCollection`.
fn hold_for_dependents(resource: &Resource, value: &mut Value, options: &Value) {
    let finalizers = value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let has = |finalizer: &str| finalizers.iter().any(|one| one == finalizer);
    let wanted = match options["propagationPolicy"].as_str() {
        Some("Orphan") => Some(ORPHAN),
        Some("Foreground") => Some(FOREGROUND),
        Some(_) => None,
        None => match options["orphanDependents"].as_bool() {
            Some(orphan) => orphan.then_some(ORPHAN),
            None if has(ORPHAN) => Some(ORPHAN),
            None if has(FOREGROUND) => Some(FOREGROUND),
            None => orphans_by_default(resource).then_some(ORPHAN),
        },
    };
    // Events own nothing that would be cared for.
    let wanted = wanted.filter(|_| resource.rules != Rules::Event);
    let kept = finalizers.iter().filter(|one| *one != ORPHAN && *one != FOREGROUND).cloned();
    let finalizers: Vec<Value> = kept.chain(wanted.map(|finalizer| json!(finalizer))).collect();
    match value["metadata"].as_object_mut() {
        Some(metadata) if finalizers.is_empty() => drop(metadata.remove("finalizers")),
        Some(metadata) => drop(metadata.insert("finalizers".to_owned(), json!(finalizers))),
        None => {}
    }
}

/// Source: pkg/registry, the strategies' `DefaultGarbageCollectionPolicy`.
fn orphans_by_default(resource: &Resource) -> bool {
    matches!(
        (resource.group.as_str(), resource.version.as_str(), resource.plural.as_str()),
        ("batch", "v1", "jobs") | ("", "v1", "replicationcontrollers")
    )
}

/// Whether what is gone is answered with itself; others with a `Status`.
///
/// Source: pkg/registry, the stores' `ReturnDeletedObject`.
pub(super) fn is_shown(resource: &Resource) -> bool {
    match resource.group.as_str() {
        "" => matches!(
            resource.plural.as_str(),
            "namespaces"
                | "persistentvolumeclaims"
                | "persistentvolumes"
                | "pods"
                | "podtemplates"
                | "resourcequotas"
                | "serviceaccounts"
                | "services"
        ),
        "storage.k8s.io" => matches!(
            resource.plural.as_str(),
            "csidrivers" | "csinodes" | "storageclasses" | "volumeattachments"
        ),
        _ => false,
    }
}
