//! OpenAPI, written from the schema and the table of kinds: version 3 by group and version,
//! version 2 as one document in JSON or in the protobuf form that older clients ask for.
mod custom;
mod definition;
mod descriptions;
mod gnostic;
mod paths;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::header::{ETAG, VARY};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::http::Body;
use crate::http::respond;
use crate::resource::Registry;

const JSON: &str = "application/json";
/// What clients ask for, and what they are told they get: `@` is not allowed in a media type, and
/// clients that parse the answer's would stumble over it.
const GNOSTIC: (&str, &str) = (
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
);

/// The dialects of OpenAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    /// Where a document keeps its types.
    fn reference(self, name: &str) -> Value {
        let place = match self {
            Self::V2 => "definitions",
            Self::V3 => "components/schemas",
        };
        json!({"$ref": format!("#/{place}/{name}")})
    }
}

/// The documents of the kinds served now.
#[derive(Debug, Default)]
pub(crate) struct OpenApi {
    current: Mutex<Option<Arc<Documents>>>,
}

/// The documents of one set of kinds, each written when it is first asked for.
#[derive(Debug)]
struct Documents {
    registry: Arc<Registry>,
    v2: OnceLock<Document>,
    gnostic: OnceLock<Document>,
    v3: OnceLock<BTreeMap<String, Document>>,
}

/// A document with what tells it from others.
#[derive(Debug, Clone)]
struct Document {
    body: Bytes,
    /// In hexadecimal, upper case.
    hash: String,
}

impl OpenApi {
    /// The document at `path`, if there is one; only that it has not changed, if the client has
    /// it (`known`, its `If-None-Match`).
    pub(crate) fn answer(
        &self,
        registry: &Arc<Registry>,
        path: &str,
        accept: &str,
        known: &str,
    ) -> Option<Response<Body>> {
        let documents = self.documents(registry);
        if path == "/openapi/v2" {
            if accept.contains(GNOSTIC.0) {
                let encode = || Document::new(gnostic::encode(&v2(registry)).into());
                return Some(documents.gnostic.get_or_init(encode).answer(GNOSTIC.1, known));
            }
            let write = || Document::new(v2(registry).to_string().into());
            return Some(documents.v2.get_or_init(write).answer(JSON, known));
        }
        let place = path.strip_prefix("/openapi/v3")?.trim_matches('/');
        let all = documents.v3.get_or_init(|| v3(registry));
        if !place.is_empty() {
            return Some(all.get(place)?.answer(JSON, known));
        }
        let index = all.iter().map(|(place, document)| {
            let url = format!("/openapi/v3/{place}?hash={}", document.hash);
            (place.clone(), json!({"serverRelativeURL": url}))
        });
        let index: Map<String, Value> = index.collect();
        let index = Document::new(json!({"paths": index}).to_string().into());
        Some(index.answer(JSON, known))
    }

    /// The documents of `registry`, which replace those of others.
    fn documents(&self, registry: &Arc<Registry>) -> Arc<Documents> {
        // A place that is either empty or whole has no broken state.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_ref().filter(|documents| Arc::ptr_eq(&documents.registry, registry)) {
            Some(documents) => documents.clone(),
            None => {
                let documents = Arc::new(Documents {
                    registry: registry.clone(),
                    v2: OnceLock::new(),
                    gnostic: OnceLock::new(),
                    v3: OnceLock::new(),
                });
                current.insert(documents).clone()
            }
        }
    }
}

impl Document {
    fn new(body: Bytes) -> Self {
        let hash = format!("{:016X}", fingerprint(&body));
        Self { body, hash }
    }

    fn answer(&self, content_type: &'static str, known: &str) -> Response<Body> {
        let tag = format!("\"{}\"", self.hash);
        let mut response = if known.split(',').any(|one| one.trim() == tag) {
            respond::bytes(StatusCode::NOT_MODIFIED, content_type, Bytes::new())
        } else {
            respond::bytes(StatusCode::OK, content_type, self.body.clone())
        };
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert(ETAG, tag);
            response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        }
        response
    }
}

/// A number that changes with the document, so that clients can keep what they have (FNV-1a).
fn fingerprint(document: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    document.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn header() -> Value {
    json!({"title": "Kubernetes", "version": crate::discovery::version()["gitVersion"]})
}

fn v2(registry: &Registry) -> Value {
    let resources = || registry.iter().map(AsRef::as_ref);
    json!({
        "swagger": "2.0", "info": header(),
        "paths": paths::paths(Dialect::V2, resources()),
        "definitions": definition::definitions(Dialect::V2, resources()),
    })
}

/// A document for each group and version, by its place below `/openapi/v3`.
fn v3(registry: &Registry) -> BTreeMap<String, Document> {
    let mut documents = BTreeMap::new();
    for (group, versions) in registry.groups() {
        for version in versions {
            let place = paths::root(group, version);
            let resources = || {
                let all = registry.iter().map(AsRef::as_ref);
                all.filter(|r: &&crate::resource::Resource| {
                    r.group == group && r.version == version
                })
            };
            let document = json!({
                "openapi": "3.0.0", "info": header(),
                "paths": paths::paths(Dialect::V3, resources()),
                "components": {"schemas": definition::definitions(Dialect::V3, resources())},
            });
            documents.insert(place, Document::new(document.to_string().into()));
        }
    }
    documents
}

#[cfg(test)]
mod tests;
