//! Deleting: at once, or by marking an object until those who hold it let go.
use http::StatusCode;
use serde_json::{Value, json};

use super::deletion::{self, Deleted};
use super::read::check_list_options;
use super::request::Call;
use super::write::answer;
use super::{Answer, Api, pieces, respond};
use crate::refusal::Refusal;
use crate::resource::Resource;
use crate::store::Key;

/// How often a deletion starts over because others wrote in between.
const ATTEMPTS: usize = 64;

impl Api {
    /// `DELETE` of one object.
    pub(super) fn delete(&self, call: &Call, name: &str) -> Answer {
        let resource = &call.target.resource;
        let key = Key::new(&call.target.namespace, name);
        let options = deletion::options(call)?;
        let deleted = if deletion::is_dry(call, &options)? {
            deletion::plan(resource, self.existing(call, name)?.as_ref(), &options)?
        } else {
            self.delete_object(resource, &key, &options)?
        };
        match deleted {
            Deleted::Marked(value) => {
                // Only who asked for background deletion the old way learns that it goes on.
                let waits = options["orphanDependents"] == json!(false);
                let code = if waits { StatusCode::ACCEPTED } else { StatusCode::OK };
                Ok(answer(call, code, value))
            }
            Deleted::Gone(value) if deletion::is_shown(resource) => {
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
        check_list_options(call)?;
        let resource = &call.target.resource;
        let (selector, options) = (call.selector()?, deletion::options(call)?);
        let dry_run = deletion::is_dry(call, &options)?;
        let namespace = Some(call.target.namespace.as_str()).filter(|name| !name.is_empty());
        let mut deleted = Vec::new();
        for (key, object) in self.store.newest(&resource.shelf, namespace) {
            if !selector.matches(&object.value) {
                continue;
            }
            if !dry_run {
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
        Ok(pieces::answer(call.form, resource, deleted, &metadata))
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
        let shelf = &resource.shelf;
        for _ in 0..ATTEMPTS {
            let object = self.store.get(shelf, key);
            let object = object.ok_or_else(|| Refusal::not_found(resource, &key.name))?;
            let planned = deletion::plan(resource, &object, options)?;
            let mut round = self.admission.open(resource);
            let committed = match planned {
                Deleted::Gone(value) => {
                    round.admit_removal(&value)?;
                    // Watchers see what an object became before they see it go.
                    let removed = if value == object.value {
                        self.store.remove(shelf, key.clone(), object.version)
                    } else {
                        self.store.conclude(shelf, key.clone(), object.version, value)
                    };
                    removed.map(|last| Deleted::Gone(last.value.clone()))
                }
                Deleted::Marked(value) if value == object.value => {
                    return Ok(Deleted::Marked(value));
                }
                Deleted::Marked(value) => self
                    .store
                    .replace(shelf, key.clone(), object.version, value)
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
