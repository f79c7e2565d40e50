//! The `scale` subresource: how many pods an object wants and has, in one shape for all kinds.
//!
//! Source: `autoscaling/v1 Scale`; Kubernetes pkg/registry/apps/deployment/storage `ScaleREST`.
use http::StatusCode;
use serde_json::{Value, json};

use super::apply::Application;
use super::body::Document;
use super::request::Call;
use super::write::Written;
use super::{Answer, Api, respond};
use crate::ownership;
use crate::patch::Patch;
use crate::refusal::{Cause, Refusal};
use crate::resource::{Resource, ScalePaths};
use crate::schema;
use crate::selector::LabelSelector;
use crate::store::{Key, Object};
use crate::strategy::Part;

impl Api {
    /// Answers a call about an object's scale.
    pub(super) fn scale(&self, call: &Call, name: &str) -> Answer {
        let paths = call.target.resource.scale.as_ref().ok_or_else(Refusal::no_such_path)?;
        let key = Key::new(&call.target.namespace, name);
        let dry_run = call.dry_run()?;
        let target = &call.target.resource;
        let mut warnings = Vec::new();
        let scaled = match call.method.as_str() {
            "GET" => return Ok(show(call, &of(paths, &self.existing(call, name)?.value))),
            "PUT" => {
                let (scale, found) = self.decode_as(&Resource::scale(), call, call.document()?)?;
                warnings = found;
                let author = call.author()?;
                self.rewrite(target, &key, Part::Main, dry_run, Some(&author), |old| {
                    apply(paths, old, &scale)
                })?
            }
            "PATCH" if call.applies() => {
                let scale = Resource::scale();
                let (application, found) = Application::of(call, &scale)?;
                warnings = found;
                self.rewrite(target, &key, Part::Main, dry_run, None, |old| {
                    let mut live = of(paths, old);
                    ownership::show_owners(old, &paths.wanted, &mut live);
                    let scale = application.apply(&key, Some(&live))?;
                    let mut new = apply(paths, old, &scale)?;
                    let api_version = target.api_version();
                    ownership::take_owners(&scale, &api_version, &paths.wanted, &mut new);
                    Ok(new)
                })?
            }
            "PATCH" => {
                let (media_type, document) = call.patch()?;
                let patch = Patch::parse(media_type, document.value)?;
                let resource = Resource::scale();
                let author = call.author()?;
                self.rewrite(target, &key, Part::Main, dry_run, Some(&author), |old| {
                    let patched = patch.apply(&of(paths, old), schema::of(&resource))?;
                    let patched = Document::of(patched);
                    let (scale, found) = self.decode_as(&resource, call, patched)?;
                    warnings = found;
                    apply(paths, old, &scale)
                })?
            }
            _ => return Err(Refusal::method_not_allowed()),
        };
        let (Written::Kept(value) | Written::Removed(value)) = scaled;
        Ok(respond::warn(show(call, &of(paths, &value)), &warnings))
    }
}

fn show(call: &Call, scale: &Value) -> http::Response<super::Body> {
    let body = call.form.object(&Resource::scale(), &Object::shown(scale.clone()));
    respond::bytes(StatusCode::OK, "application/json", body)
}

/// The scale of `object`.
fn of(paths: &ScalePaths, object: &Value) -> Value {
    let number = |path: &str| at(object, path).as_i64().unwrap_or(0);
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {},
        "spec": {"replicas": number(&paths.wanted)},
        "status": {"replicas": number(&paths.running)},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            scale["metadata"][field] = value.clone();
        }
    }
    let selector = paths.selector.as_deref().map_or(&Value::Null, |path| at(object, path));
    let text = selector.as_str().map_or_else(|| selector_text(selector), str::to_owned);
    if !text.is_empty() {
        scale["status"]["selector"] = json!(text);
    }
    scale
}

/// A selector's string form; a plain map of labels is one too.
fn selector_text(selector: &Value) -> String {
    let is_map = selector.as_object().is_some_and(|map| map.values().all(Value::is_string));
    let whole = if is_map { &json!({"matchLabels": selector}) } else { selector };
    LabelSelector::of(whole).to_string()
}

/// `object` with the size that `scale` wants.
fn apply(paths: &ScalePaths, object: &Value, scale: &Value) -> Result<Value, Refusal> {
    let name = object["metadata"]["name"].as_str().unwrap_or("");
    let given = scale["metadata"]["name"].as_str().unwrap_or("");
    if !given.is_empty() && given != name {
        return Err(Refusal::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    let wanted = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if wanted < 0 {
        let detail = "must be greater than or equal to 0";
        let cause = Cause::invalid("spec.replicas", &json!(wanted), detail);
        return Err(Refusal::invalid(&Resource::scale(), name, &[cause]));
    }
    let mut new = object.clone();
    let mut place = &mut new;
    for part in paths.wanted.split('.') {
        // A custom kind may hold anything where its scale should be.
        if !place.is_object() && !place.is_null() {
            let why = format!("the object has no place for {}", paths.wanted);
            return Err(Refusal::unfit(why));
        }
        place = &mut place[part];
    }
    *place = json!(wanted);
    for field in ["uid", "resourceVersion"] {
        if let Some(value) = scale["metadata"].get(field) {
            new["metadata"][field] = value.clone();
        }
    }
    Ok(new)
}

fn at<'v>(object: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(object, |value, part| &value[part])
}
