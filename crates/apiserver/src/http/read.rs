//! Reading: one object, or a list of them.
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};

use super::request::Call;
use super::{Answer, Api, respond};
use crate::refusal::Refusal;
use crate::store::{Compacted, Key, Object};

impl Api {
    /// One object.
    pub(super) fn get(&self, call: &Call, name: &str) -> Answer {
        let object = self.existing(call, name)?;
        let body = call.form.object(&call.target.resource, &object);
        Ok(respond::bytes(StatusCode::OK, "application/json", body))
    }

    /// The object the call is about.
    ///
    /// # Errors
    /// The refusal if there is none.
    pub(super) fn existing(&self, call: &Call, name: &str) -> Result<Arc<Object>, Refusal> {
        let resource = &call.target.resource;
        let object = self.store.get(&resource.shelf, &Key::new(&call.target.namespace, name));
        object.ok_or_else(|| Refusal::not_found(resource, name))
    }

    /// A list, or a page of one.
    pub(super) fn list(&self, call: &Call) -> Answer {
        let resource = &call.target.resource;
        let selector = call.selector()?;
        let limit = call.number::<usize>("limit")?.filter(|limit| *limit > 0);
        let from = call.query("continue").filter(|token| !token.is_empty());
        let from = from.map(Page::read).transpose()?;
        let at = match &from {
            Some(page) => Some(page.version),
            None => self.list_version(call)?,
        };
        let namespace = Some(call.target.namespace.as_str()).filter(|name| !name.is_empty());
        let snapshot = self.store.snapshot(&resource.shelf, namespace, at).map_err(expired)?;
        let after = |key: &Key| from.as_ref().is_none_or(|page| *key > page.after);
        let mut matching: Vec<_> = snapshot
            .objects
            .iter()
            .filter(|(key, object)| after(key) && selector.matches(&object.value))
            .collect();
        let mut metadata = json!({"resourceVersion": snapshot.version.to_string()});
        if let Some(limit) = limit.filter(|limit| *limit < matching.len()) {
            metadata["remainingItemCount"] = json!(matching.len() - limit);
            matching.truncate(limit);
            let after = matching.last().map(|(key, _)| key.clone());
            let page = after.map(|after| Page { version: snapshot.version, after });
            metadata["continue"] = json!(page.map(|page| page.write()));
        }
        let objects = matching.into_iter().map(|(_, object)| object.as_ref());
        let body = call.form.list(resource, objects, &metadata);
        Ok(respond::bytes(StatusCode::OK, "application/json", body))
    }

    /// The exact version a list is asked at, or none for the newest.
    ///
    /// Any answer is the newest state, which satisfies "any" and "not older than".
    fn list_version(&self, call: &Call) -> Result<Option<u64>, Refusal> {
        let asked = version_of(call)?;
        let matching = call.query("resourceVersionMatch").unwrap_or("");
        if !matching.is_empty() && asked.is_none() {
            return Err(Refusal::bad_request(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless \
                 resourceVersion is provided",
            ));
        }
        let Some(asked) = asked.filter(|asked| *asked > 0) else { return Ok(None) };
        let current = self.store.version();
        if asked > current {
            return Err(Refusal::too_large_version(asked, current));
        }
        match matching {
            "Exact" => Ok(Some(asked)),
            "" | "NotOlderThan" => Ok(None),
            other => Err(Refusal::bad_request(format!(
                "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \
                 \"NotOlderThan\""
            ))),
        }
    }
}

/// The `resourceVersion` of the query.
///
/// # Errors
/// The refusal of what is not a number.
pub(super) fn version_of(call: &Call) -> Result<Option<u64>, Refusal> {
    let Some(text) = call.query("resourceVersion").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        Refusal::bad_request(format!("resourceVersion: Invalid value: {text:?}: must be a number"))
    })
}

/// The refusal that makes clients list again.
pub(super) fn expired(compacted: Compacted) -> Refusal {
    let Compacted { asked, oldest } = compacted;
    Refusal::expired(format!("too old resource version: {asked} ({oldest})"))
}

/// Where the next page of a list starts.
#[derive(Debug)]
struct Page {
    version: u64,
    after: Key,
}

impl Page {
    fn write(&self) -> String {
        let Key { namespace, name } = &self.after;
        URL_SAFE_NO_PAD.encode(json!([self.version, namespace, name]).to_string())
    }

    fn read(token: &str) -> Result<Self, Refusal> {
        let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        let parts: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match (parts[0].as_u64(), parts[1].as_str(), parts[2].as_str()) {
            (Some(version), Some(namespace), Some(name)) => {
                Ok(Self { version, after: Key::new(namespace, name) })
            }
            _ => Err(Refusal::bad_request("continue key is not valid")),
        }
    }
}
