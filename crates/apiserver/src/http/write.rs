//! Writing: create, update, patch.
//!
//! Each computes the object that would be stored from the one that is, and commits it if that one
//! is still there; otherwise it starts over with the newer one.
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::body::Document;
use super::request::{Call, FieldValidation};
use super::{Answer, Api, respond};
use crate::admission::Round;
use crate::ownership::{self, Author};
use crate::patch::Patch;
use crate::refusal::Refusal;
use crate::resource::Resource;
use crate::store::{Key, Object, weight};
use crate::strategy::{self, Part};
use crate::{schema, validate};

/// How often a write starts over because others wrote in between. Each time somebody's write
/// succeeded, so the bound is only there for a client that could wait for ever.
const ATTEMPTS: usize = 64;

/// The heaviest object that is stored, in bytes of JSON: etcd's `--max-request-bytes`.
const OBJECT_LIMIT: usize = 1536 * 1024;
/// What all objects may weigh together, in bytes of JSON; in memory they take several times that.
const STORE_LIMIT: usize = 256 * 1024 * 1024;

/// The patches that objects of custom kinds can take: their lists have no merge keys.
const FOR_CUSTOM_KINDS: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// How a write ended.
#[derive(Debug)]
pub(super) enum Written {
    /// The object as it is now, or would be.
    Kept(Value),
    /// It was removed: its last finalizer went.
    Removed(Value),
}

impl Api {
    /// `POST` to a collection.
    pub(super) fn create(&self, call: &Call) -> Answer {
        let resource = &call.target.resource;
        let author = call.author()?;
        if resource.custom.as_ref().is_some_and(|custom| custom.terminating) {
            return Err(Refusal::method_not_allowed());
        }
        let (value, warnings) = self.decode(call, call.document()?)?;
        let mut round = self.admission.open(resource);
        let namespace = &call.target.namespace;
        let value = self.new_object(resource, namespace, value, Some(&author), &mut round)?;
        self.may_grant(&call.user, resource, &value, None)?;
        let created = if call.dry_run()? {
            let key = key_of(&value);
            if self.store.get(&resource.shelf, &key).is_some() {
                return Err(Refusal::already_exists(resource, &key.name));
            }
            answer(call, StatusCode::CREATED, value)
        } else {
            let object = self.add(resource, value)?;
            round.commit();
            let body = call.form.object(resource, &object);
            respond::bytes(StatusCode::CREATED, "application/json", body)
        };
        Ok(respond::warn(created, &warnings))
    }

    /// `PUT` to an object or its subresource.
    pub(super) fn update(&self, call: &Call, name: &str) -> Answer {
        let author = call.author()?;
        let (value, warnings) = self.decode(call, call.document()?)?;
        let key = Key::new(&call.target.namespace, name);
        let part = Part::of(call.target.subresource);
        let dry_run = call.dry_run()?;
        let resource = &call.target.resource;
        let change = |old: &Value| {
            self.may_grant(&call.user, resource, &value, Some(old))?;
            Ok(value.clone())
        };
        let written = self.rewrite(resource, &key, part, dry_run, Some(&author), change)?;
        Ok(respond::warn(written_answer(call, written), &warnings))
    }

    /// `PATCH` of an object or its subresource.
    pub(super) fn patch(&self, call: &Call, name: &str) -> Answer {
        if call.applies() {
            return self.apply(call, name);
        }
        let resource = &call.target.resource;
        let author = call.author()?;
        let (media_type, document) = call.patch()?;
        let patch = Patch::parse(media_type, document.value.clone())?;
        if resource.custom.is_some() && matches!(patch, Patch::Strategic(_)) {
            return Err(Refusal::unsupported_media_type(FOR_CUSTOM_KINDS));
        }
        let key = Key::new(&call.target.namespace, name);
        let part = Part::of(call.target.subresource);
        let mut warnings = Vec::new();
        let dry_run = call.dry_run()?;
        let written = self.rewrite(resource, &key, part, dry_run, Some(&author), |old| {
            let served = resource.served(old.clone());
            let patched = patch.apply(&served, schema::of(resource))?;
            let wrong = |value: &Value, why: &str| Refusal::invalid_patch(&patch.shown(value), why);
            let mut value = patched.clone();
            let unknown = conform(resource, &mut value).map_err(|why| wrong(&patched, &why))?;
            let validation = call.field_validation()?;
            let said = remarks(&unknown, &document, validation);
            if validation == FieldValidation::Strict && !said.is_empty() {
                let why = format!("strict decoding error: {}", said.join(", "));
                return Err(wrong(&patched, &why));
            }
            warnings = said;
            let value = resource.stored(value);
            self.may_grant(&call.user, resource, &value, Some(old))?;
            Ok(value)
        })?;
        Ok(respond::warn(written_answer(call, written), &warnings))
    }

    /// A client's object under its stored names, held against its schema; with warnings.
    ///
    /// # Errors
    /// The refusal of an object of another kind, or one its schema does not allow.
    pub(super) fn decode(
        &self,
        call: &Call,
        document: Document,
    ) -> Result<(Value, Vec<String>), Refusal> {
        self.decode_as(&call.target.resource, call, document)
    }

    /// [`Api::decode`] for an object of another kind than the path names.
    ///
    /// # Errors
    /// As there.
    pub(super) fn decode_as(
        &self,
        resource: &Resource,
        call: &Call,
        mut document: Document,
    ) -> Result<(Value, Vec<String>), Refusal> {
        let validation = call.field_validation()?;
        let mut value = document.value.take();
        let (kind, version) = (resource.kind.as_str(), &resource.version);
        identify_kind(resource, &mut value)?;
        let as_kind = format!("{kind} in version \"{version}\" cannot be handled as a {kind}");
        let unknown = conform(resource, &mut value)
            .map_err(|error| Refusal::bad_request(format!("{as_kind}: {error}")))?;
        let said = remarks(&unknown, &document, validation);
        if validation == FieldValidation::Strict && !said.is_empty() {
            let said = said.join(", ");
            let why = format!("{as_kind}: strict decoding error: {said}");
            return Err(Refusal::bad_request(why));
        }
        Ok((resource.stored(value), said))
    }

    /// Creates an object on the server's own behalf.
    ///
    /// # Errors
    /// As a client's request would be refused.
    pub(crate) fn create_object(
        &self,
        resource: &Resource,
        namespace: &str,
        mut value: Value,
    ) -> Result<Arc<Object>, Refusal> {
        value["apiVersion"] = json!(resource.api_version());
        value["kind"] = json!(resource.kind);
        let mut round = self.admission.open(resource);
        let value = self.new_object(resource, namespace, value, None, &mut round)?;
        let object = self.add(resource, value)?;
        round.commit();
        Ok(object)
    }

    /// The object to be stored for what a client wants created, owned by its `author`.
    pub(super) fn new_object(
        &self,
        resource: &Resource,
        namespace: &str,
        mut value: Value,
        author: Option<&Author>,
        round: &mut Round<'_>,
    ) -> Result<Value, Refusal> {
        strategy::identify(resource, namespace, &mut value)?;
        let ignored = ownership::out_of_reach(resource, Part::Main, &value);
        strategy::prepare_create(resource, &mut value);
        if let Some(author) = author {
            let of = ownership::typing(resource);
            ownership::record(author, &of, &ignored, None, &mut value);
        }
        self.complete(resource, &mut value)?;
        round.admit(None, &mut value)?;
        let causes = validate::create(resource, &value);
        if !causes.is_empty() {
            return Err(Refusal::invalid(resource, &key_of(&value).name, &causes));
        }
        if resource.is_namespaced() {
            self.admit_to_namespace(resource, &key_of(&value))?;
        }
        Ok(value)
    }

    fn admit_to_namespace(&self, resource: &Resource, key: &Key) -> Result<(), Refusal> {
        let namespaces = self.builtin("", "namespaces");
        let namespace = self.store.get(&namespaces.shelf, &Key::new("", &key.namespace));
        let namespace = namespace.ok_or_else(|| Refusal::not_found(&namespaces, &key.namespace))?;
        if namespace.metadata("deletionTimestamp").is_null() {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            key.namespace
        );
        Err(Refusal::forbidden(resource, &key.name, &why))
    }

    /// Holds an object that is to be stored against what one, and all together, may weigh. One that
    /// is too heavy loses its notes on who owns what first.
    ///
    /// # Errors
    /// The refusal of one that is still too heavy, or for which there is no room.
    ///
    /// Source: k8s.io/apiserver `endpoints/handlers` (`isTooLargeError`).
    fn weigh(&self, value: &mut Value, before: usize) -> Result<(), Refusal> {
        if weight(value) > OBJECT_LIMIT
            && let Some(metadata) = value["metadata"].as_object_mut()
        {
            metadata.remove("managedFields");
        }
        let weight = weight(value);
        if weight > OBJECT_LIMIT {
            return Err(Refusal::too_large_to_store());
        }
        let grows = weight > before;
        if grows && self.store.bytes() + weight > STORE_LIMIT {
            return Err(Refusal::no_space());
        }
        Ok(())
    }

    /// Stores a new object; a generated name that is taken is generated again.
    pub(super) fn add(
        &self,
        resource: &Resource,
        mut value: Value,
    ) -> Result<Arc<Object>, Refusal> {
        self.weigh(&mut value, 0)?;
        for _ in 0..ATTEMPTS {
            let created = self.store.create(&resource.shelf, key_of(&value), value.clone());
            if let Ok(object) = created {
                return Ok(object);
            }
            if !strategy::rename(&mut value) {
                break;
            }
        }
        Err(Refusal::already_exists(resource, &key_of(&value).name))
    }

    /// Replaces an object by what `change` makes of it. `author` owns what it changes; without
    /// one, owners stay as `change` leaves them.
    ///
    /// # Errors
    /// The refusal of an object that is missing or was modified, or of the change.
    pub(super) fn rewrite(
        &self,
        resource: &Resource,
        key: &Key,
        part: Part,
        dry_run: bool,
        author: Option<&Author>,
        mut change: impl FnMut(&Value) -> Result<Value, Refusal>,
    ) -> Result<Written, Refusal> {
        for _ in 0..ATTEMPTS {
            let old = self.store.get(&resource.shelf, key);
            let old = old.ok_or_else(|| Refusal::not_found(resource, &key.name))?;
            let mut new = change(&old.value)?;
            strategy::same_object(resource, &old, &new)?;
            let ignored = ownership::out_of_reach(resource, part, &new);
            strategy::prepare_update(resource, part, &mut new, &old.value);
            if let Some(author) = author {
                let of = ownership::typing(resource);
                ownership::record(author, &of, &ignored, Some(&old.value), &mut new);
            }
            let mut round = self.admission.open(resource);
            round.admit(Some(&old.value), &mut new)?;
            let causes = validate::update(resource, part, &new, &old.value);
            if !causes.is_empty() {
                return Err(Refusal::invalid(resource, &key.name, &causes));
            }
            if new == old.value || ownership::differ_in_times_only(&new, &old.value) {
                return Ok(Written::Kept(old.value.clone()));
            }
            if dry_run {
                return Ok(Written::Kept(new));
            }
            self.weigh(&mut new, weight(&old.value))?;
            let version = old.version;
            let shelf = &resource.shelf;
            let committed = if strategy::is_finished(&new) {
                round.admit_removal(&new)?;
                let removed = self.store.conclude(shelf, key.clone(), version, new);
                removed.map(|last| Written::Removed(last.value.clone()))
            } else {
                let replaced = self.store.replace(shelf, key.clone(), version, new);
                replaced.map(|object| Written::Kept(object.value.clone()))
            };
            if let Ok(written) = committed {
                round.commit();
                return Ok(written);
            }
        }
        Err(Refusal::modified(resource, &key.name))
    }

    /// Changes a part of an object on the server's own behalf.
    ///
    /// # Errors
    /// The refusal if the object is gone, or of the change.
    pub(crate) fn amend(
        &self,
        resource: &Resource,
        key: &Key,
        part: Part,
        change: impl Fn(&Value) -> Value,
    ) -> Result<(), Refusal> {
        self.rewrite(resource, key, part, false, None, |old| Ok(change(old))).map(|_| ())
    }
}

/// Where an object is stored.
pub(super) fn key_of(value: &Value) -> Key {
    let text = |field: &str| value["metadata"][field].as_str().unwrap_or("");
    Key::new(text("namespace"), text("name"))
}

/// Holds an object's kind and version against `resource`; they may be left out.
pub(super) fn identify_kind(resource: &Resource, value: &mut Value) -> Result<(), Refusal> {
    let api_version = resource.api_version();
    for (field, expected) in [("apiVersion", &api_version), ("kind", &resource.kind)] {
        let given = value[field].as_str().filter(|given| !given.is_empty());
        if let Some(given) = given.filter(|given| given != expected) {
            return Err(Refusal::bad_request(format!(
                "the {field} in the data ({given}) does not match the expected {field} ({expected})"
            )));
        }
        value[field] = json!(expected);
    }
    Ok(())
}

/// Drops what the schema does not know, and says so of each such field.
fn conform(resource: &Resource, value: &mut Value) -> Result<Vec<String>, String> {
    let unknown = schema::check(resource, value)?;
    Ok(unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect())
}

/// What is to be said of fields that are unknown or written twice.
fn remarks(unknown: &[String], document: &Document, validation: FieldValidation) -> Vec<String> {
    if validation == FieldValidation::Ignore {
        return Vec::new();
    }
    let twice = document.duplicates(validation == FieldValidation::Strict);
    unknown.iter().cloned().chain(twice).collect()
}

pub(super) fn written_answer(call: &Call, written: Written) -> http::Response<super::Body> {
    match written {
        Written::Kept(value) | Written::Removed(value) => answer(call, StatusCode::OK, value),
    }
}

/// An answer that shows one object.
pub(super) fn answer(call: &Call, code: StatusCode, value: Value) -> http::Response<super::Body> {
    let object = Object::shown(value);
    let body = call.form.object(&call.target.resource, &object);
    respond::bytes(code, "application/json", body)
}
