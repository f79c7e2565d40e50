//! Answers: their bodies and the forms a client may ask for.
use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::discovery::Document;
use crate::refusal::Refusal;
use crate::resource::Resource;
use crate::store::{self, Object};
use crate::table;

/// A whole body, or the stream of a watch.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A body that ends by itself; an extension of its response.
#[derive(Debug, Clone)]
pub(super) enum Finite {
    /// It is there as a whole.
    Whole(Bytes),
    /// It is written as the client takes it.
    Pieces,
}

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    /// `PartialObjectMetadata`.
    Metadata,
    /// `Table`, each row with this much of its object.
    Table(Include),
}

/// What a table's rows carry of their objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Form {
    /// The first form in `accept` that can be given.
    ///
    /// # Errors
    /// The refusal if there is none.
    pub(super) fn negotiate(accept: &str, include: &str) -> Result<Self, Refusal> {
        if accept.trim().is_empty() {
            return Ok(Self::Whole);
        }
        let known = accept.split(',').find_map(|clause| Self::of_clause(clause, include));
        known.ok_or_else(Refusal::not_acceptable)
    }

    fn of_clause(clause: &str, include: &str) -> Option<Self> {
        let mut parts = clause.split(';').map(str::trim);
        if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
            return None;
        }
        let mut form = "";
        let mut version = "v1";
        for part in parts {
            match part.split_once('=') {
                Some(("as", name)) => form = name,
                Some(("v", name)) => version = name,
                _ => {}
            }
        }
        match (form, version) {
            ("", _) => Some(Self::Whole),
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "v1") => Some(Self::Metadata),
            ("Table", "v1") => Some(Self::Table(match include {
                "None" => Include::Nothing,
                "Object" => Include::Object,
                _ => Include::Metadata,
            })),
            _ => None,
        }
    }

    /// One object in this form.
    pub(super) fn object(self, resource: &Resource, object: &Object) -> Bytes {
        self.event(resource, object, true)
    }

    /// One object of a watch; only the first table of a stream names its columns.
    pub(super) fn event(self, resource: &Resource, object: &Object, first: bool) -> Bytes {
        match self {
            Self::Whole => whole(resource, object),
            Self::Metadata => partial(object).into(),
            Self::Table(include) => {
                let mut out = table_opening(resource, &json!({}), first).into_bytes();
                out.extend(row(resource, object, include));
                out.extend_from_slice(b"]}");
                out.into()
            }
        }
    }

    /// What a list says before its first object, given the metadata of a list.
    pub(super) fn opening(self, resource: &Resource, metadata: &Value) -> String {
        let (kind, api_version) = match self {
            Self::Whole => (resource.list_kind(), resource.api_version()),
            Self::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
            Self::Table(_) => return table_opening(resource, metadata, true),
        };
        format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\
             \"items\":["
        )
    }

    /// One object of a list.
    pub(super) fn item(self, resource: &Resource, object: &Object) -> Bytes {
        match self {
            Self::Whole | Self::Metadata => self.object(resource, object),
            Self::Table(include) => row(resource, object, include).into(),
        }
    }
}

/// What a table says before its first row.
fn table_opening(resource: &Resource, metadata: &Value, columns: bool) -> String {
    let columns = json!(if columns { table::columns(resource) } else { Vec::new() });
    format!(
        "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata},\
         \"columnDefinitions\":{columns},\"rows\":["
    )
}

/// An object's row in a table.
fn row(resource: &Resource, object: &Object, include: Include) -> Vec<u8> {
    let mut row = b"{\"cells\":".to_vec();
    row.extend(store::json(&json!(table::cells(resource, &object.value))));
    let shown = match include {
        Include::Nothing => None,
        Include::Metadata => Some(partial(object).into()),
        Include::Object => Some(whole(resource, object)),
    };
    if let Some(shown) = shown {
        row.extend_from_slice(b",\"object\":");
        row.extend_from_slice(&shown);
    }
    row.push(b'}');
    row
}

/// The object as the store holds it, under the names of the served version.
fn whole(resource: &Resource, object: &Object) -> Bytes {
    if resource.serves_as_stored(&object.value) {
        return object.json().clone();
    }
    store::json(&resource.served(object.value.clone())).into()
}

fn partial(object: &Object) -> Vec<u8> {
    let kind = r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#;
    let mut partial = kind.as_bytes().to_vec();
    partial.extend(store::json(&object.value["metadata"]));
    partial.push(b'}');
    partial
}

/// A JSON answer.
pub(super) fn json(code: StatusCode, value: &Value) -> Response<Body> {
    bytes(code, "application/json", value.to_string().into())
}

/// An answer of any type.
pub(crate) fn bytes(code: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body.clone()).boxed_unsync());
    response.extensions_mut().insert(Finite::Whole(body));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A plain text answer.
pub(super) fn text(code: StatusCode, text: &str) -> Response<Body> {
    bytes(code, "text/plain; charset=utf-8", Bytes::from(text.to_owned()))
}

/// A discovery document in the media type that was negotiated for it.
pub(super) fn document(document: &Document) -> Response<Body> {
    bytes(StatusCode::OK, document.content_type, document.value.to_string().into())
}

/// The answer to a request that was not done.
pub(super) fn refusal(refusal: &Refusal) -> Response<Body> {
    let code = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, &refusal.status());
    if code == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"seaway-lab\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = refusal.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds a `Warning` header for each sentence.
pub(super) fn warn(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}
