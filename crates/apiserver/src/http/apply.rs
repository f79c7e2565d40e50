//! `PATCH` with a configuration to be applied: server-side apply.
use http::StatusCode;
use serde_json::Value;

use super::body::Document;
use super::request::{Call, FieldValidation};
use super::write::{answer, written_answer};
use super::{Answer, Api, respond};
use crate::access::Question;
use crate::ownership::{self, Author, Refused};
use crate::refusal::Refusal;
use crate::resource::Resource;
use crate::schema;
use crate::store::Key;
use crate::strategy::Part;

/// How often an object may come and go before the request gives up.
const ATTEMPTS: usize = 8;

/// A configuration and how it is to be applied.
pub(super) struct Application<'c> {
    resource: &'c Resource,
    author: Author,
    part: Part,
    config: Value,
    force: bool,
}

impl Api {
    /// Applies a configuration to an object, or makes one of it.
    pub(super) fn apply(&self, call: &Call, name: &str) -> Answer {
        let resource = &call.target.resource;
        let (application, warnings) = Application::of(call, resource)?;
        if resource.custom.as_ref().is_some_and(|custom| custom.terminating) {
            return Err(Refusal::method_not_allowed());
        }
        let part = application.part;
        let key = Key::new(&call.target.namespace, name);
        let dry_run = call.dry_run()?;
        for _ in 0..ATTEMPTS {
            if self.store.get(&resource.shelf, &key).is_some() {
                let change = |old: &Value| {
                    let new = application.apply(&key, Some(old))?;
                    self.may_grant(&call.user, resource, &new, Some(old))?;
                    Ok(new)
                };
                let written = self.rewrite(resource, &key, part, dry_run, None, change)?;
                return Ok(respond::warn(written_answer(call, written), &warnings));
            }
            if part != Part::Main {
                return Err(Refusal::not_found(resource, name));
            }
            let kind = (resource.plural.as_str(), "");
            let create =
                Question::resource("create", &resource.group, kind, &key.namespace, &key.name);
            self.permit(&call.user, &create)?;
            let value = application.apply(&key, None)?;
            let mut round = self.admission.open(resource);
            let value = self.new_object(resource, &key.namespace, value, None, &mut round)?;
            self.may_grant(&call.user, resource, &value, None)?;
            if dry_run {
                return Ok(respond::warn(answer(call, StatusCode::CREATED, value), &warnings));
            }
            if let Ok(object) = self.add(resource, value) {
                round.commit();
                let body = call.form.object(resource, &object);
                let created = respond::bytes(StatusCode::CREATED, "application/json", body);
                return Ok(respond::warn(created, &warnings));
            }
        }
        Err(Refusal::modified(resource, name))
    }
}

impl<'c> Application<'c> {
    /// The configuration of an object of kind `resource` that a call sends; with warnings.
    ///
    /// # Errors
    /// The refusal of what is no configuration of that kind.
    pub(super) fn of(call: &Call, resource: &'c Resource) -> Result<(Self, Vec<String>), Refusal> {
        let author = Author { api_version: resource.api_version(), ..call.author()? };
        let (_, document) = call.patch()?;
        let warnings = remarks(call, &document)?;
        let config = resource.stored(checked(resource, document.value)?);
        let part = Part::of(call.target.subresource);
        let force = call.flag("force");
        Ok((Self { resource, author, part, config, force }, warnings))
    }

    /// What the object becomes.
    pub(super) fn apply(&self, key: &Key, live: Option<&Value>) -> Result<Value, Refusal> {
        let resource = self.resource;
        let of = ownership::typing(resource);
        let ignored = ownership::out_of_reach(resource, self.part, &self.config);
        let applied = ownership::apply(&self.author, &of, &ignored, live, &self.config, self.force);
        let new = applied.map_err(|refused| match refused {
            Refused::Conflicts(conflicts) => Refusal::apply_conflict(&conflicts),
            Refused::Misshapen(why) => Refusal::unforeseen(format!(
                "failed to create typed patch object ({}/{}; {}, Kind={}): {why}",
                key.namespace,
                key.name,
                resource.api_version(),
                resource.kind
            )),
        })?;
        let name = new["metadata"]["name"].as_str().unwrap_or("");
        if name.is_empty() {
            return Err(Refusal::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                key.name
            )));
        }
        if name != key.name {
            return Err(Refusal::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                key.name
            )));
        }
        let mut served = resource.served(new);
        schema::check(resource, &mut served).map_err(Refusal::unforeseen)?;
        Ok(resource.stored(served))
    }
}

/// What is to be said of how a configuration is written.
fn remarks(call: &Call, document: &Document) -> Result<Vec<String>, Refusal> {
    match call.field_validation()? {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(document.duplicates(false)),
        FieldValidation::Strict => match document.duplicates(true).first() {
            Some(why) => Err(Refusal::bad_request(format!("error strict decoding YAML: {why}"))),
            None => Ok(Vec::new()),
        },
    }
}

/// The configuration, if it is one of `resource` and says nothing about owners.
fn checked(resource: &Resource, config: Value) -> Result<Value, Refusal> {
    let text = |field: &str| config.get(field).and_then(Value::as_str).unwrap_or("");
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version != resource.api_version() || kind != resource.kind {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let of = format!("invalid object type: {group}/{version}, Kind={kind}");
        return Err(Refusal::bad_request(of));
    }
    if config.pointer("/metadata/managedFields").is_some_and(|owners| !owners.is_null()) {
        return Err(Refusal::bad_request("metadata.managedFields must be nil"));
    }
    Ok(config)
}
