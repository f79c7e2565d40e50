//! A request, taken apart: which object, which options, which body.
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::body::Document;
use super::respond::Form;
use crate::access::User;
use crate::ownership::Author;
use crate::refusal::{Cause, Refusal};
use crate::resource::{Registry, Resource, Subresource};
use crate::selector::{FieldSelector, LabelSelector, Selector};
use crate::time;

/// The media type of a configuration to be applied.
const APPLY: &str = "application/apply-patch+yaml";
/// The longest name of a field's owner, in bytes.
const LONGEST_MANAGER: usize = 128;

/// What a path names.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) resource: Arc<Resource>,
    /// Empty for cluster-scoped kinds and for all namespaces.
    pub(super) namespace: String,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<Subresource>,
    /// Whether the path itself asks for a watch, as `/api/v1/watch/pods` does.
    pub(super) watched: bool,
}

/// A request about objects.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) form: Form,
    pub(super) user: User,
    query: Vec<(String, String)>,
    content_type: String,
    user_agent: String,
    body: Bytes,
}

/// What becomes of fields that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped and the client is warned.
    Warn,
    /// The request is refused.
    Strict,
}

impl Call {
    /// A request about `target`, with its whole body.
    ///
    /// # Errors
    /// The refusal of an answer form that can't be given.
    pub(super) fn parse(
        target: Target,
        parts: Parts,
        body: Bytes,
        user: User,
    ) -> Result<Self, Refusal> {
        let query = parts.uri.query().map_or_else(Vec::new, pairs);
        let include = query.iter().find(|(key, _)| key == "includeObject");
        let form = Form::negotiate(
            header(&parts.headers, ACCEPT),
            include.map_or("", |(_, value)| value.as_str()),
        )?;
        let content_type = header(&parts.headers, CONTENT_TYPE);
        let content_type = content_type.split(';').next().unwrap_or("").trim().to_owned();
        let user_agent = header(&parts.headers, USER_AGENT).to_owned();
        let method = parts.method;
        Ok(Self { method, target, form, user, query, content_type, user_agent, body })
    }

    pub(super) fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.query(key).is_some_and(|value| matches!(value, "true" | "1" | ""))
    }

    /// A number from the query.
    ///
    /// # Errors
    /// The refusal that names the parameter.
    pub(super) fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.query(key).filter(|text| !text.is_empty()) else { return Ok(None) };
        let number = text.parse().map(Some);
        number.map_err(|_| Refusal::bad_request(format!("{key}: invalid number {text:?}")))
    }

    /// Whether events are asked for. An object by its name is watched by the old paths only: with
    /// `watch=true` it is just shown, as in Kubernetes.
    pub(super) fn wants_watch(&self) -> bool {
        self.target.watched || (self.target.name.is_none() && self.flag("watch"))
    }

    /// Whether everything but the write itself is to be done.
    ///
    /// # Errors
    /// The refusal of a value other than `All`.
    pub(super) fn dry_run(&self) -> Result<bool, Refusal> {
        match self.query("dryRun") {
            None | Some("") => Ok(false),
            Some("All") => Ok(true),
            Some(other) => Err(Refusal::bad_request(format!(
                "dryRun: Unsupported value: {other:?}: supported values: \"All\""
            ))),
        }
    }

    /// What becomes of unknown fields: `fieldValidation`, by default a warning.
    ///
    /// # Errors
    /// The refusal of an unknown value.
    pub(super) fn field_validation(&self) -> Result<FieldValidation, Refusal> {
        match self.query("fieldValidation") {
            None | Some("" | "Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => Err(Refusal::bad_request(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \
                 \"Strict\", \"Warn\""
            ))),
        }
    }

    /// The label and field selectors of the query.
    ///
    /// # Errors
    /// The refusal of a selector that can't be read.
    pub(super) fn selector(&self) -> Result<Selector, Refusal> {
        let labels = LabelSelector::parse(self.query("labelSelector").unwrap_or(""));
        let labels = labels.map_err(|error| {
            Refusal::bad_request(format!("unable to parse requirement: {error}"))
        })?;
        let fields = self.query("fieldSelector").unwrap_or("");
        let fields =
            FieldSelector::parse(fields, &self.target.resource).map_err(Refusal::bad_request)?;
        Ok(Selector { labels, fields })
    }

    /// Who writes: the `fieldManager` of the query, or the program that the client is.
    ///
    /// # Errors
    /// The refusal of a name that can't be one, or of none where one must be given.
    pub(super) fn author(&self) -> Result<Author, Refusal> {
        let given = self.query("fieldManager").unwrap_or("");
        let mut causes = Vec::new();
        let applies = self.content_type == APPLY && self.method == Method::PATCH;
        if applies && given.is_empty() {
            causes.push(Cause::required("fieldManager", "is required for apply patch"));
        }
        if !applies && self.method == Method::PATCH && self.query("force").is_some() {
            let detail = "may not be specified for non-apply patch";
            causes.push(Cause::forbidden("force", detail));
        }
        if given.len() > LONGEST_MANAGER {
            causes.push(Cause::too_long("fieldManager", LONGEST_MANAGER));
        }
        for (at, character) in given.char_indices().filter(|(_, c)| c.is_control()) {
            let code = u32::from(character);
            let detail = format!("invalid character U+{code:04X} (at position {at})");
            causes.push(Cause::invalid("fieldManager", &Value::from(given), &detail));
        }
        if !causes.is_empty() {
            let options = match self.method.as_str() {
                "POST" => "CreateOptions",
                "PUT" => "UpdateOptions",
                _ => "PatchOptions",
            };
            return Err(Refusal::invalid_options(options, &causes));
        }
        let manager = if given.is_empty() { program(&self.user_agent) } else { given.to_owned() };
        Ok(Author {
            manager,
            api_version: self.target.resource.api_version(),
            subresource: self.target.subresource.map_or("", Subresource::name),
            now: time::now(),
        })
    }

    /// The object in the body.
    ///
    /// # Errors
    /// The refusal of a body that is not an object.
    pub(super) fn object(&self) -> Result<Value, Refusal> {
        self.document().map(|document| document.value)
    }

    /// The object in the body, with what is to be said of how it is written.
    ///
    /// # Errors
    /// As [`Call::object`].
    pub(super) fn document(&self) -> Result<Document, Refusal> {
        Document::object(&self.content_type, &self.body)
    }

    /// The options of a deletion, or null: they may be left out.
    ///
    /// # Errors
    /// As [`Call::object`].
    pub(super) fn options(&self) -> Result<Value, Refusal> {
        if self.body.is_empty() { Ok(Value::Null) } else { self.object() }
    }

    /// Whether the body is a configuration to be applied.
    pub(super) fn applies(&self) -> bool {
        self.content_type == APPLY
    }

    /// The body of a patch, with the media type it came in.
    ///
    /// # Errors
    /// The refusal of a body that is not of its type.
    pub(super) fn patch(&self) -> Result<(&str, Document), Refusal> {
        let document =
            if self.applies() { Document::yaml(&self.body) } else { Document::json(&self.body) };
        Ok((&self.content_type, document?))
    }
}

/// The program a client says it is: what stands before the first slash, printable and not too long.
fn program(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or("");
    let mut program = String::new();
    for character in name.chars().filter(|c| !c.is_control()) {
        if program.len() + character.len_utf8() > LONGEST_MANAGER {
            break;
        }
        program.push(character);
    }
    program
}

impl Target {
    /// What `path` names.
    ///
    /// # Errors
    /// The refusal of a path that names nothing.
    pub(super) fn parse(registry: &Registry, path: &str) -> Result<Self, Refusal> {
        let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Refusal::no_such_path()),
        };
        let (watched, rest) = match rest {
            ["watch", rest @ ..] => (true, rest),
            _ => (false, rest),
        };
        let (namespace, rest) = match rest {
            // `namespaces/x/status` is about the namespace, `namespaces/x/pods` about its pods.
            ["namespaces", name, inner, ..] if !matches!(*inner, "status" | "finalize") => {
                (*name, &rest[2..])
            }
            _ => ("", rest),
        };
        let (plural, name, below) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some(*name), None),
            [plural, name, below] => (*plural, Some(*name), Some(*below)),
            _ => return Err(Refusal::no_such_path()),
        };
        let resource = registry.get(group, version, plural).ok_or_else(Refusal::no_such_path)?;
        if (!namespace.is_empty() && !resource.is_namespaced()) || name == Some("") {
            return Err(Refusal::no_such_path());
        }
        let find = |below: &str| resource.subresources.iter().find(|s| s.name() == below).copied();
        let subresource = match below {
            Some(below) => Some(find(below).ok_or_else(Refusal::no_such_path)?),
            None => None,
        };
        if watched && subresource.is_some() {
            return Err(Refusal::no_such_path());
        }
        Ok(Self {
            resource: resource.clone(),
            namespace: namespace.to_owned(),
            name: name.map(str::to_owned),
            subresource,
            watched,
        })
    }
}

/// A header's text; empty if it is missing or not text. Several of a name are one list.
pub(super) fn header(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// The decoded `key=value` pairs of a query.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(key, value)| (decode(&key.replace('+', " ")), decode(&value.replace('+', " "))))
        .collect()
}

/// Percent-decodes; what is not well formed stays as it is.
pub(super) fn decode(text: &str) -> String {
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let pair = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)));
        if let (b'%', (Some(high), Some(low))) = (byte, pair) {
            out.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits fit a byte"));
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
