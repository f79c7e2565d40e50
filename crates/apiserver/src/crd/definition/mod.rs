//! Whether a CustomResourceDefinition may be stored, and what the server adds to it.
//!
//! Source: apiextensions-apiserver `pkg/apis/apiextensions/{v1/defaults.go,validation}`.
pub(super) mod approval;
pub(super) mod names;
mod nodes;
mod rules;
mod structure;
mod version;

use serde_json::{Value, json};

use super::CLEANUP;
use crate::condition;
use crate::refusal::Cause;
use crate::validate::name;

/// The versions of a definition.
fn versions(definition: &Value) -> &[Value] {
    definition["spec"]["versions"].as_array().map_or(&[], Vec::as_slice)
}

/// The version in which objects are stored.
pub(crate) fn storage_version(definition: &Value) -> Option<&str> {
    versions(definition).iter().find(|version| version["storage"] == true)?["name"].as_str()
}

/// Adds what a client may leave out, and notes in which versions objects may be stored.
pub(crate) fn complete(definition: &mut Value) {
    let spec = &mut definition["spec"];
    if let Some(kind) = spec["names"]["kind"].as_str().map(str::to_owned) {
        let names = &mut spec["names"];
        for (field, name) in
            [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))]
        {
            if names[field].as_str().unwrap_or("").is_empty() {
                names[field] = json!(name);
            }
        }
    }
    if spec["conversion"].is_null() && spec.is_object() {
        spec["conversion"] = json!({"strategy": "None"});
    }
    let Some(stored) = storage_version(definition).map(str::to_owned) else { return };
    let mut versions = super::words(&definition["status"]["storedVersions"]);
    if !versions.contains(&stored) {
        versions.push(stored);
        definition["status"]["storedVersions"] = json!(versions);
    }
}

/// Notes on a definition that is being deleted that its objects go first.
pub(crate) fn mark(definition: &mut Value) {
    if definition["metadata"]["deletionTimestamp"].is_string() {
        return;
    }
    let mut finalizers = super::words(&definition["metadata"]["finalizers"]);
    if !finalizers.iter().any(|one| one == CLEANUP) {
        finalizers.push(CLEANUP.to_owned());
        definition["metadata"]["finalizers"] = json!(finalizers);
    }
    let message =
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    condition::set(definition, "Terminating", true, "InstanceDeletionPending", message);
}

/// What is wrong with a definition.
pub(crate) fn causes(definition: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &definition["spec"];
    let expected = format!(
        "{}.{}",
        spec["names"]["plural"].as_str().unwrap_or(""),
        spec["group"].as_str().unwrap_or("")
    );
    let given = &definition["metadata"]["name"];
    if *given != expected {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", given, detail));
    }
    causes.extend(group(&spec["group"]));
    if !matches!(spec["scope"].as_str(), None | Some("" | "Cluster" | "Namespaced")) {
        let known = ["Cluster", "Namespaced"];
        causes.push(Cause::not_supported("spec.scope", &spec["scope"], &known));
    }
    causes.extend(version::causes(definition));
    causes.extend(names::causes(&spec["names"], "spec.names"));
    causes.extend(conversion(&spec["conversion"]));
    causes.extend(stored_versions(definition));
    causes.extend(approval::causes(definition));
    if spec["preserveUnknownFields"] == true {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
                      spec.versions[*].schema instead";
        causes.push(Cause::invalid("spec.preserveUnknownFields", &json!(true), detail));
    }
    causes
}

fn group(group: &Value) -> Option<Cause> {
    let text = group.as_str().filter(|text| !text.is_empty())?;
    let problem = name::subdomain(text).or_else(|| {
        (!text.contains('.')).then(|| "should be a domain with at least one dot".to_owned())
    })?;
    Some(Cause::invalid("spec.group", group, &problem))
}

/// Objects are converted by their `apiVersion` alone; a webhook is never called.
fn conversion(conversion: &Value) -> Option<Cause> {
    let strategy = &conversion["strategy"];
    if *strategy != "None" {
        return Some(Cause::not_supported("spec.conversion.strategy", strategy, &["None"]));
    }
    let detail = "should not be set when strategy is not set to Webhook";
    (!conversion["webhook"].is_null())
        .then(|| Cause::forbidden("spec.conversion.webhookClientConfig", detail))
}

/// A version in which objects may still be stored can't go.
fn stored_versions(definition: &Value) -> Vec<Cause> {
    let known: Vec<&Value> = versions(definition).iter().map(|version| &version["name"]).collect();
    let mut causes = Vec::new();
    for (n, stored) in super::words(&definition["status"]["storedVersions"]).iter().enumerate() {
        if !known.iter().any(|name| *name == stored) {
            let detail = format!(
                "missing from spec.versions; {stored} was previously a storage version, and must \
                 remain in spec.versions until a storage migration ensures no data remains \
                 persisted in {stored} and removes {stored} from status.storedVersions"
            );
            let path = format!("status.storedVersions[{n}]");
            causes.push(Cause::invalid(path, &json!(stored), &detail));
        }
    }
    causes
}

/// What is wrong with a change: some of a definition stays as it is.
pub(crate) fn update_causes(definition: &Value, old: &Value) -> Vec<Cause> {
    let conditions = old["status"]["conditions"].as_array();
    let established = conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Established" && c["status"] == "True");
    let mut fields = vec!["/spec/group", "/spec/names/plural"];
    if established {
        fields.splice(0..0, ["/spec/scope", "/spec/names/kind"]);
    }
    let changed =
        fields.into_iter().filter(|field| definition.pointer(field) != old.pointer(field));
    changed
        .map(|field| {
            let value = definition.pointer(field).cloned().unwrap_or_default();
            Cause::invalid(field[1..].replace('/', "."), &value, "field is immutable")
        })
        .collect()
}
