//! What the server decides about an object before it is stored: its identity, which parts a write
//! may touch, and defaults.
mod defaults;
mod pod;
mod service;
mod workloads;

use serde_json::{Map, Value, json};

use crate::refusal::Refusal;
use crate::resource::{Resource, Rules, Subresource};
use crate::store::Object;
use crate::{schema, time};

/// Metadata that only the server writes.
const SERVERS: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
];

/// The longest name a generated one may grow from, so that the suffix still fits.
const LONGEST_BASE: usize = 58;

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status.
    Main,
    /// The status only.
    Status,
    /// A pod's node.
    Binding,
    /// A pod's ephemeral containers.
    EphemeralContainers,
    /// A namespace's `spec.finalizers`.
    Finalizers,
}

impl Part {
    pub(crate) fn of(subresource: Option<Subresource>) -> Self {
        match subresource {
            Some(Subresource::Status) => Self::Status,
            Some(Subresource::Binding) => Self::Binding,
            Some(Subresource::Finalize) => Self::Finalizers,
            Some(Subresource::EphemeralContainers) => Self::EphemeralContainers,
            Some(
                Subresource::Scale
                | Subresource::Eviction
                | Subresource::Token
                | Subresource::Log
                | Subresource::Exec
                | Subresource::Attach
                | Subresource::PortForward,
            )
            | None => Self::Main,
        }
    }
}

/// Gives a new object its name, namespace, uid and time of creation.
///
/// # Errors
/// The refusal of metadata that contradicts the path.
pub(crate) fn identify(
    resource: &Resource,
    namespace: &str,
    value: &mut Value,
) -> Result<(), Refusal> {
    let Some(metadata) = metadata(value) else {
        return Err(Refusal::bad_request("metadata: Required value: must be an object"));
    };
    if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|v| !v.is_empty()) {
        return Err(Refusal::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    metadata.retain(|field, _| field == "generateName" || !SERVERS.contains(&field.as_str()));
    let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or("");
    if !given.is_empty() && given != namespace && resource.is_namespaced() {
        return Err(Refusal::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if resource.is_namespaced() {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    metadata.insert("uid".to_owned(), json!(time::uid()));
    metadata.insert("creationTimestamp".to_owned(), json!(time::rfc3339(time::now())));
    if COUNTED.contains(&resource.rules) {
        metadata.insert("generation".to_owned(), json!(1));
    }
    if metadata.get("name").and_then(Value::as_str).unwrap_or("").is_empty() {
        rename(value);
    }
    Ok(())
}

/// Gives an object a new name from its `generateName`; tells whether it has one.
pub(crate) fn rename(value: &mut Value) -> bool {
    let Some(base) = value["metadata"]["generateName"].as_str().filter(|base| !base.is_empty())
    else {
        return false;
    };
    let base: String = base.chars().take(LONGEST_BASE).collect();
    value["metadata"]["name"] = json!(format!("{base}{}", time::suffix()));
    true
}

/// Completes a new object.
pub(crate) fn prepare_create(resource: &Resource, value: &mut Value) {
    if resource.has(Subresource::Status)
        && resource.rules != Rules::Node
        && let Some(fields) = value.as_object_mut()
    {
        fields.remove("status");
        fields.extend(blank_status(resource).map(|status| ("status".to_owned(), status)));
    }
    schema::fill(resource, value);
    defaults::complete(resource, value);
}

/// The status of a built-in kind's object that nobody has looked at yet. Go writes it, and in it the
/// zeros of the numbers that clients rely on; that of a definition has a life of its own.
fn blank_status(resource: &Resource) -> Option<Value> {
    if resource.custom.is_some() || resource.rules == Rules::Definition {
        return None;
    }
    let status = schema::stored(resource)?.fields.get("status")?.of.named()?;
    let zeros = status.fields.iter().filter(|(_, field)| {
        field.listed && matches!(field.of, schema::Type::Integer | schema::Type::Long)
    });
    Some(zeros.map(|(name, _)| (name.clone(), json!(0))).collect::<Map<_, _>>().into())
}

/// Checks that an update is about the object it is addressed to, and based on what is stored.
///
/// # Errors
/// The refusal of another name, uid or version.
pub(crate) fn same_object(resource: &Resource, old: &Object, new: &Value) -> Result<(), Refusal> {
    let name = old.metadata("name").as_str().unwrap_or("");
    for field in ["name", "namespace"] {
        let given = new["metadata"][field].as_str().unwrap_or("");
        let actual = old.metadata(field).as_str().unwrap_or("");
        if given != actual && !given.is_empty() {
            return Err(Refusal::bad_request(format!(
                "the {field} of the object ({given}) does not match the {field} on the URL \
                 ({actual})"
            )));
        }
    }
    let text = |field: &str| new["metadata"][field].as_str().filter(|text| !text.is_empty());
    if let Some(uid) = text("uid").filter(|uid| old.metadata("uid") != *uid) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old.metadata("uid").as_str().unwrap_or("")
        );
        return Err(Refusal::conflict(resource, name, &why));
    }
    match text("resourceVersion") {
        Some(version) if version != old.version.to_string() && version != "0" => {
            Err(Refusal::modified(resource, name))
        }
        _ => Ok(()),
    }
}

/// Completes an update: what the client may not write comes from the stored object.
pub(crate) fn prepare_update(resource: &Resource, part: Part, new: &mut Value, old: &Value) {
    let kept = &old["metadata"];
    if let Some(metadata) = metadata(new) {
        for field in SERVERS.iter().chain(&["resourceVersion", "name", "namespace"]) {
            match kept.get(*field) {
                Some(value) => metadata.insert((*field).to_owned(), value.clone()),
                None => metadata.remove(*field),
            };
        }
        if part == Part::Status {
            keep(metadata, kept, &["ownerReferences", "finalizers"]);
        }
    }
    schema::fill(resource, new);
    restrict(resource, part, new, old);
    defaults::complete_update(resource, new, old);
    if COUNTED.contains(&resource.rules) && wanted(resource, new) != wanted(resource, old) {
        let generation = old["metadata"]["generation"].as_u64().unwrap_or(1);
        new["metadata"]["generation"] = json!(generation + 1);
    }
}

/// Takes from the stored object what a write to `part` may not touch.
fn restrict(resource: &Resource, part: Part, new: &mut Value, old: &Value) {
    let Some(fields) = new.as_object_mut() else { return };
    match part {
        Part::Main if resource.has(Subresource::Status) => keep(fields, old, &["status"]),
        Part::Main | Part::Binding => {}
        Part::Status => {
            let others: Vec<String> = fields
                .keys()
                .chain(old.as_object().into_iter().flat_map(Map::keys))
                .filter(|name| *name != "metadata" && *name != "status")
                .cloned()
                .collect();
            keep(fields, old, &others.iter().map(String::as_str).collect::<Vec<_>>());
        }
        Part::Finalizers => keep(fields, old, &["status"]),
        Part::EphemeralContainers => {
            let added = fields.get("spec").map(|spec| spec["ephemeralContainers"].clone());
            keep(fields, old, &["spec", "status"]);
            if let (Some(spec), Some(added)) = (fields.get_mut("spec"), added) {
                spec["ephemeralContainers"] = added;
            }
        }
    }
    // `spec.finalizers` of a namespace has a way of its own.
    if resource.rules == Rules::Namespace && part == Part::Main {
        new["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
    }
}

fn keep(fields: &mut Map<String, Value>, old: &Value, names: &[&str]) {
    for name in names {
        match old.get(*name) {
            Some(value) => fields.insert((*name).to_owned(), value.clone()),
            None => fields.remove(*name),
        };
    }
}

/// Whether nothing holds an object back that is being deleted.
pub(crate) fn is_finished(value: &Value) -> bool {
    let metadata = &value["metadata"];
    let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    metadata["deletionTimestamp"].is_string()
        && metadata["deletionGracePeriodSeconds"].as_u64().unwrap_or(0) == 0
        && none(&metadata["finalizers"])
        && none(&value["spec"]["finalizers"])
}

/// The kinds that count how often what is wanted of an object changed.
const COUNTED: &[Rules] = &[
    Rules::AdmissionPolicy,
    Rules::AdmissionPolicyBinding,
    Rules::CronJob,
    Rules::Custom,
    Rules::DaemonSet,
    Rules::Definition,
    Rules::Deployment,
    Rules::EndpointSlice,
    Rules::Ingress,
    Rules::IngressClass,
    Rules::Job,
    Rules::NetworkPolicy,
    Rules::Plain,
    Rules::Pod,
    Rules::PodDisruptionBudget,
    Rules::PodTemplate,
    Rules::PriorityClass,
    Rules::ReplicaSet,
    Rules::ReplicationController,
    Rules::StatefulSet,
    Rules::WebhookConfiguration,
];

/// What is wanted of an object: all but its metadata and status. A deployment's annotations and an
/// endpoint slice's labels count too.
fn wanted(resource: &Resource, value: &Value) -> Value {
    let mut wanted = value.clone();
    if let Some(fields) = wanted.as_object_mut() {
        fields.remove("metadata");
        // Without the subresource, the status of a custom kind is as wanted as the rest.
        if resource.rules != Rules::Custom || resource.has(Subresource::Status) {
            fields.remove("status");
        }
    }
    if resource.rules == Rules::Deployment {
        wanted["annotations"] = value["metadata"]["annotations"].clone();
    } else if resource.rules == Rules::EndpointSlice {
        wanted["labels"] = value["metadata"]["labels"].clone();
    }
    wanted
}

/// The metadata of an object, made if it is missing.
fn metadata(value: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = value.as_object_mut()?.entry("metadata").or_insert_with(|| json!({}));
    metadata.as_object_mut()
}

#[cfg(test)]
mod tests;
