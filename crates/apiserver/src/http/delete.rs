//! Deleting: at once, or by marking an object until those who hold it let go.
use http::StatusCode;
use serde_json::{Value, json};

use super::request::Call;
use super::write::answer;
use super::{Answer, Api, respond};
use crate::crd;
use crate::lifecycle;
use crate::refusal::Refusal;
use crate::resource::{Resource, Rules};
use crate::store::{Key, Object};
use crate::time;

/// How often a deletion starts over because others wrote in between.
const ATTEMPTS: usize = 64;

/// How a deletion ended.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// The object is gone; its last state.
    Gone(Value),
    /// It is marked and waits for its grace period or finalizers.
    Marked(Value),
}

impl Api {
    /// `DELETE` of one object.
    pub(super) fn delete(&self, call: &Call, name: &str) -> Answer {
        let resource = &call.target.resource;
        let key = Key::new(&call.target.namespace, name);
        let deleted = if call.dry_run()? {
            plan(resource, self.existing(call, name)?.as_ref(), &options(call)?)?
        } else {
            self.delete_object(resource, &key, &options(call)?)?
        };
        match deleted {
            Deleted::Marked(value) => Ok(answer(call, StatusCode::OK, value)),
            // Pods and namespaces answer with themselves, as everywhere.
            Deleted::Gone(value) if resource.rules == Rules::Pod => {
                Ok(answer(call, StatusCode::OK, value))
            }
            Deleted::Gone(value) => Ok(respond::json(
                StatusCode::OK,
                &json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                    "details": {
                        "name": name, "group": resource.group, "kind": resource.plural,
                        "uid": value["metadata"]["uid"],
                    },
                }),
            )),
        }
    }

    /// `DELETE` of all objects of a collection that the selectors match.
    pub(super) fn delete_collection(&self, call: &Call) -> Answer {
        let resource = &call.target.resource;
        let (selector, options) = (call.selector()?, options(call)?);
        let namespace = Some(call.target.namespace.as_str()).filter(|name| !name.is_empty());
        let snapshot = self.store.snapshot(&resource.shelf, namespace, None);
        let snapshot = snapshot.map_err(super::read::expired)?;
        let mut deleted = Vec::new();
        for (key, object) in snapshot.objects {
            if !selector.matches(&object.value) {
                continue;
            }
            if !call.dry_run()? {
                let deleted = self.delete_object(resource, &key, &options);
                if let Err(refusal) = deleted.as_ref()
                    && refusal.code != 404
                {
                    return Err(refusal.clone());
                }
            }
            deleted.push(object);
        }
        let metadata = json!({"resourceVersion": self.store.version().to_string()});
        let body = call.form.list(resource, deleted.iter().map(AsRef::as_ref), &metadata);
        Ok(respond::bytes(StatusCode::OK, "application/json", body))
    }

    /// Deletes one object as `options` (`meta/v1 DeleteOptions`, or null) ask.
    ///
    /// # Errors
    /// The refusal if there is no such object or a precondition does not hold.
    pub(crate) fn delete_object(
        &self,
        resource: &Resource,
        key: &Key,
        options: &Value,
    ) -> Result<Deleted, Refusal> {
        for _ in 0..ATTEMPTS {
            let object = self.store.get(&resource.shelf, key);
            let object = object.ok_or_else(|| Refusal::not_found(resource, &key.name))?;
            let planned = plan(resource, &object, options)?;
            if options["propagationPolicy"] == "Orphan"
                && let Some(uid) = object.metadata("uid").as_str()
            {
                lifecycle::orphan(self, uid);
            }
            let mut round = self.admission.open(resource);
            let committed = match planned {
                Deleted::Gone(value) => {
                    round.admit_removal(&value)?;
                    self.store
                        .remove(&resource.shelf, key.clone(), object.version)
                        .map(|last| Deleted::Gone(last.value.clone()))
                }
                Deleted::Marked(value) if value == object.value => {
                    return Ok(Deleted::Marked(value));
                }
                Deleted::Marked(value) => self
                    .store
                    .replace(&resource.shelf, key.clone(), object.version, value)
                    .map(|marked| Deleted::Marked(marked.value.clone())),
            };
            if let Ok(deleted) = committed {
                round.commit();
                return Ok(deleted);
            }
        }
        Err(Refusal::modified(resource, &key.name))
    }
}

/// The options in the body, completed from the query.
fn options(call: &Call) -> Result<Value, Refusal> {
    let given = call.options()?;
    let mut options = if given.is_null() { json!({}) } else { given };
    if let Some(seconds) = call.number::<i64>("gracePeriodSeconds")? {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    if let Some(policy) = call.query("propagationPolicy") {
        options["propagationPolicy"] = json!(policy);
    }
    let policy = &options["propagationPolicy"];
    if !policy.is_null() && !["Background", "Foreground", "Orphan"].iter().any(|p| policy == p) {
        return Err(Refusal::bad_request(format!(
            "propagationPolicy: Unsupported value: {policy}: supported values: \"Foreground\", \
             \"Background\", \"Orphan\""
        )));
    }
    let grace = &options["gracePeriodSeconds"];
    if !grace.is_null() && grace.as_i64().is_none_or(|seconds| seconds < 0) {
        return Err(Refusal::bad_request("gracePeriodSeconds: must be a number, 0 or more"));
    }
    Ok(options)
}

/// What deleting `object` now comes to.
fn plan(resource: &Resource, object: &Object, options: &Value) -> Result<Deleted, Refusal> {
    preconditions(resource, object, options)?;
    let mut value = object.value.clone();
    if resource.rules == Rules::Definition {
        crd::definition::mark(&mut value);
    }
    let grace = grace(resource, &value, options);
    let held = value["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
        || value["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    if grace == 0 && !held {
        return Ok(Deleted::Gone(value));
    }
    let metadata = &mut value["metadata"];
    let marked = metadata["deletionTimestamp"].as_str().is_some();
    let before = metadata["deletionGracePeriodSeconds"].as_u64();
    // A second deletion can only make the wait shorter.
    if !marked || before.is_some_and(|before| grace < before) {
        let asked = match (marked, before) {
            (true, Some(before)) => {
                let due = metadata["deletionTimestamp"].as_str().and_then(time::parse_rfc3339);
                due.map_or_else(time::now, |due| due.saturating_sub(before))
            }
            _ => time::now(),
        };
        metadata["deletionTimestamp"] = json!(time::rfc3339(asked + grace));
        metadata["deletionGracePeriodSeconds"] = json!(grace);
        if let Some(generation) = metadata["generation"].as_u64().filter(|_| !marked) {
            metadata["generation"] = json!(generation + 1);
        }
    }
    if resource.rules == Rules::Namespace {
        value["status"]["phase"] = json!("Terminating");
    }
    Ok(Deleted::Marked(value))
}

fn preconditions(resource: &Resource, object: &Object, options: &Value) -> Result<(), Refusal> {
    for (option, field) in [("uid", "uid"), ("resourceVersion", "resourceVersion")] {
        let wanted = &options["preconditions"][option];
        let actual = object.metadata(field);
        if !wanted.is_null() && wanted != actual {
            let name = object.metadata("name").as_str().unwrap_or("");
            let what = if option == "uid" { "UID" } else { "ResourceVersion" };
            let why = format!(
                "Precondition failed: {what} in precondition: {}, {what} in object meta: {}",
                wanted.as_str().unwrap_or(""),
                actual.as_str().unwrap_or("")
            );
            return Err(Refusal::conflict(resource, name, &why));
        }
    }
    Ok(())
}

/// How many seconds the object's node has to let it go; 0 for all that no node runs.
///
/// Source: pkg/registry/core/pod `podStrategy.CheckGracefulDelete`.
fn grace(resource: &Resource, value: &Value, options: &Value) -> u64 {
    let runs = !value["spec"]["nodeName"].as_str().unwrap_or("").is_empty()
        && !matches!(value["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
    if resource.rules != Rules::Pod || !runs {
        return 0;
    }
    let asked = options["gracePeriodSeconds"].as_u64();
    asked.or(value["spec"]["terminationGracePeriodSeconds"].as_u64()).unwrap_or(30)
}
