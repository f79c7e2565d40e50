//! Objects of manifests brought to the API server, and taken from it again, one by one: what is
//! wrong with one is told with its line and does not stop the others.

use std::collections::HashMap;
use std::time::Duration;

use kube_rs::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube_rs::core::GroupVersionKind;
use kube_rs::discovery::{Scope, pinned_kind};
use kube_rs::{Client, Error};
use serde_json::{Map, Value, json};

use super::{Object, Problem};

/// Where the manifest that was applied last is kept, so that a field that is gone from the next one
/// is removed. The same as kubectl's, so that the two can take turns.
const LAST: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Namespace of objects that name none.
const NAMESPACE: &str = "default";
/// How long a deleted object may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(120);
/// How often it is looked whether a deleted object is gone.
const GONE_YET: Duration = Duration::from_millis(100);

/// What became of one object.
#[derive(Debug)]
pub struct Outcome {
    /// Its name in messages: `Pod default/web`.
    pub object: String,
    /// What was done, or what is wrong.
    pub result: Result<Action, Vec<Problem>>,
}

/// What was done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was not there before.
    Created,
    /// It was there and has changed.
    Configured,
    /// It was there just like that.
    Unchanged,
    /// It was there and is no more.
    Deleted,
    /// It was not there.
    Absent,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
            Self::Absent => "not found",
        })
    }
}

/// Creates each object, or changes it to what its manifest says, in order.
pub async fn apply(client: &Client, objects: &[Object]) -> Vec<Outcome> {
    let mut kinds = Kinds::new(client);
    let mut outcomes = Vec::new();
    for object in objects {
        let result = match kinds.api(object).await {
            Ok(api) => put(&api, object).await,
            Err(error) => Err(error),
        };
        let result = result.map_err(|error| problems(object, &error));
        outcomes.push(Outcome { object: object.title(), result });
    }
    outcomes
}

/// Deletes each object, the last first, and waits until all are gone.
pub async fn delete(client: &Client, objects: &[Object]) -> Vec<Outcome> {
    let mut kinds = Kinds::new(client);
    let mut asked = Vec::new();
    for object in objects.iter().rev() {
        let result = match kinds.api(object).await {
            Ok(api) => remove(&api, object).await.map(|uid| (api, uid)),
            Err(error) => Err(error),
        };
        asked.push((object, result));
    }
    let until = tokio::time::Instant::now() + GONE_WITHIN;
    let mut outcomes = Vec::new();
    for (object, result) in asked {
        let result = match result {
            Ok((_, None)) => Ok(Action::Absent),
            Ok((api, Some(uid))) => gone(&api, object, &uid, until).await,
            Err(error) => Err(problems(object, &error)),
        };
        outcomes.push(Outcome { object: object.title(), result });
    }
    outcomes
}

/// The API server's kinds, asked for once each.
struct Kinds<'a> {
    client: &'a Client,
    known: HashMap<GroupVersionKind, (ApiResource, Scope)>,
}

impl<'a> Kinds<'a> {
    fn new(client: &'a Client) -> Self {
        Self { client, known: HashMap::new() }
    }

    async fn api(&mut self, object: &Object) -> Result<Api<DynamicObject>, Error> {
        let (group, version) =
            object.api_version.split_once('/').unwrap_or(("", &object.api_version));
        let kind = GroupVersionKind::gvk(group, version, &object.kind);
        if !self.known.contains_key(&kind) {
            let (resource, abilities) = pinned_kind(self.client, &kind).await?;
            self.known.insert(kind.clone(), (resource, abilities.scope));
        }
        let (resource, scope) = &self.known[&kind];
        let client = self.client.clone();
        Ok(match scope {
            Scope::Cluster => Api::all_with(client, resource),
            Scope::Namespaced => {
                let namespace = object.namespace.as_deref().unwrap_or(NAMESPACE);
                Api::namespaced_with(client, namespace, resource)
            }
        })
    }
}

async fn put(api: &Api<DynamicObject>, object: &Object) -> Result<Action, Error> {
    let wanted = with_last(&object.value);
    let there = match object.name.as_str() {
        "" => None,
        name => api.get_opt(name).await?,
    };
    let Some(there) = there else {
        let fresh: DynamicObject = serde_json::from_value(wanted).map_err(Error::SerdeError)?;
        api.create(&PostParams::default(), &fresh).await?;
        return Ok(Action::Created);
    };
    let last = there.metadata.annotations.as_ref().and_then(|all| all.get(LAST));
    let last = last.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let patch = Patch::Merge(change(&last, &wanted));
    let after = api.patch(&object.name, &PatchParams::default(), &patch).await?;
    let is_same = after.metadata.resource_version == there.metadata.resource_version;
    Ok(if is_same { Action::Unchanged } else { Action::Configured })
}

/// The uid of the object that will be gone; `None` if there is none.
async fn remove(api: &Api<DynamicObject>, object: &Object) -> Result<Option<String>, Error> {
    let Some(there) = api.get_opt(&object.name).await? else { return Ok(None) };
    match api.delete(&object.name, &DeleteParams::background()).await {
        Err(Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
        Ok(_) => Ok(Some(there.metadata.uid.unwrap_or_default())),
    }
}

async fn gone(
    api: &Api<DynamicObject>,
    object: &Object,
    uid: &str,
    until: tokio::time::Instant,
) -> Result<Action, Vec<Problem>> {
    loop {
        match api.get_opt(&object.name).await {
            Ok(None) => return Ok(Action::Deleted),
            Ok(Some(there)) if there.metadata.uid.as_deref() != Some(uid) => {
                return Ok(Action::Deleted);
            }
            Err(error) => return Err(problems(object, &error)),
            Ok(Some(_)) if tokio::time::Instant::now() >= until => {
                let message = format!("still there after {} s", GONE_WITHIN.as_secs());
                return Err(vec![object.problem(None, &message)]);
            }
            Ok(Some(_)) => tokio::time::sleep(GONE_YET).await,
        }
    }
}

/// The object with itself noted in it.
fn with_last(object: &Value) -> Value {
    let mut bare = object.clone();
    if let Some(Value::Object(annotations)) = bare.pointer_mut("/metadata/annotations") {
        annotations.remove(LAST);
    }
    let text = bare.to_string();
    if let Some(Value::Object(metadata)) = bare.get_mut("metadata") {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if annotations.is_null() {
            *annotations = json!({});
        }
        if let Value::Object(annotations) = annotations {
            annotations.insert(LAST.to_owned(), Value::String(text));
        }
    }
    bare
}

/// The merge patch (RFC 7396) from a server that has applied `last` to `wanted`: all of `wanted`, and
/// the removal of what `last` had and `wanted` hasn't.
fn change(last: &Value, wanted: &Value) -> Value {
    let (Value::Object(last), Value::Object(wanted)) = (last, wanted) else {
        return wanted.clone();
    };
    let mut patch: Map<String, Value> = wanted
        .iter()
        .map(|(name, value)| (name.clone(), change(last.get(name).unwrap_or(&Value::Null), value)))
        .collect();
    for name in last.keys().filter(|name| !wanted.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// What the API server says is wrong, field by field, with the lines they were written on.
fn problems(object: &Object, error: &Error) -> Vec<Problem> {
    let Error::Api(status) = error else {
        return vec![object.problem(None, &chain(error))];
    };
    let causes = status.details.as_ref().map(|details| details.causes.as_slice());
    let causes = causes.unwrap_or_default();
    if causes.is_empty() {
        return vec![object.problem(None, &status.message)];
    }
    let problem = |cause: &kube_rs::core::response::StatusCause| {
        let field = Some(cause.field.as_str()).filter(|field| !field.is_empty());
        object.problem(field, &cause.message)
    };
    causes.iter().map(problem).collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::parse;
    use super::*;

    #[test]
    fn a_change_removes_what_only_the_last_manifest_had() {
        let cases = [
            (json!(null), json!({"a": 1}), json!({"a": 1})),
            (json!({"a": 1}), json!({"b": 2}), json!({"a": null, "b": 2})),
            (
                json!({"a": {"x": 1, "y": 2}}),
                json!({"a": {"x": 3}}),
                json!({"a": {"x": 3, "y": null}}),
            ),
            (json!({"a": [1, 2]}), json!({"a": [2]}), json!({"a": [2]})),
            (json!({"a": {"x": 1}}), json!({"a": 5}), json!({"a": 5})),
        ];
        for (last, wanted, expected) in cases {
            assert_eq!(change(&last, &wanted), expected, "{last} {wanted}");
        }
    }

    #[test]
    fn an_object_notes_itself_without_noting_the_note() {
        let object = json!({"kind": "Pod", "metadata": {"name": "a"}});
        let noted = with_last(&object);
        let note = noted.pointer("/metadata/annotations").unwrap()[LAST].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(note).unwrap(), object);
        let again = with_last(&noted);
        let note = again.pointer("/metadata/annotations").unwrap()[LAST].as_str().unwrap();
        assert!(!note.contains(LAST));
    }

    #[test]
    fn what_the_api_server_refuses_is_told_by_line() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - image: x\n";
        let (objects, _) = parse("web.yaml", text);
        let status = json!({"status": "Failure", "code": 422, "reason": "Invalid", "message": "all",
            "details": {"causes": [
                {"reason": "FieldValueRequired", "message": "Required value",
                 "field": "spec.containers[0].name"},
                {"reason": "FieldValueInvalid", "message": "Invalid value", "field": ""}]}});
        let error = Error::Api(serde_json::from_value(status).unwrap());
        let told: Vec<_> = problems(&objects[0], &error).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "web.yaml:7: document 1: Pod web: spec.containers[0].name: Required value",
                "web.yaml:1: document 1: Pod web: Invalid value",
            ]
        );
    }
}
