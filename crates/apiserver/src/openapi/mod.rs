//! OpenAPI, written from the schema and the table of kinds: version 3 by group and version,
//! version 2 as one document in JSON or in the protobuf form that older clients ask for.
mod definition;
mod gnostic;
mod paths;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{Response, StatusCode};
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

/// The documents, each written when it is first asked for.
#[derive(Debug, Default)]
pub(crate) struct OpenApi {
    v2: OnceLock<Bytes>,
    gnostic: OnceLock<Bytes>,
    v3: OnceLock<BTreeMap<String, Bytes>>,
}

impl OpenApi {
    /// The document at `path`, if there is one.
    pub(crate) fn answer(
        &self,
        registry: &Registry,
        path: &str,
        accept: &str,
    ) -> Option<Response<Body>> {
        let ok = |content_type, body| Some(respond::bytes(StatusCode::OK, content_type, body));
        if path == "/openapi/v2" {
            if accept.contains(GNOSTIC.0) {
                let body = self.gnostic.get_or_init(|| gnostic::encode(&v2(registry)).into());
                return ok(GNOSTIC.1, body.clone());
            }
            let body = self.v2.get_or_init(|| v2(registry).to_string().into());
            return ok(JSON, body.clone());
        }
        let rest = path.strip_prefix("/openapi/v3")?;
        let documents = self.v3.get_or_init(|| v3(registry));
        if rest.trim_matches('/').is_empty() {
            let index = documents.iter().map(|(place, document)| {
                let hash = fingerprint(document);
                let url = format!("/openapi/v3/{place}?hash={hash:016X}");
                (place.clone(), json!({"serverRelativeURL": url}))
            });
            let index: Map<String, Value> = index.collect();
            return ok(JSON, json!({"paths": index}).to_string().into());
        }
        ok(JSON, documents.get(rest.trim_matches('/'))?.clone())
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
fn v3(registry: &Registry) -> BTreeMap<String, Bytes> {
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
            documents.insert(place, document.to_string().into());
        }
    }
    documents
}

#[cfg(test)]
mod tests;
