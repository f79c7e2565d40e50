//! Bodies of writes: received within limits of size and time; objects in JSON, YAML or protobuf.
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use serde_json::Value;

use super::{Api, Upload};
use crate::refusal::Refusal;
use crate::{json, protobuf, yaml};

/// The largest body that is read, in bytes, as the Kubernetes API server limits it.
const LONGEST: usize = 3 * 1024 * 1024;

/// How much may be on its way in bodies at once, in KiB: what slow clients can make the server hold.
pub(super) const UNDER_WAY: usize = 256 * 1024;

/// How long a body may take unless it is said, as the Kubernetes API server limits a request.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The media types of objects, in the order refusals list them.
const KNOWN: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// Why a body did not come to its end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BrokenOff(String);

impl BrokenOff {
    pub(crate) fn by(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into().to_string())
    }
}

impl Api {
    /// Receives a body to its end.
    ///
    /// # Errors
    /// The refusal of a body that is too large, too slow or breaks off, or of one more while those
    /// under way are as much as the server holds.
    pub(super) async fn upload(&self, body: Upload) -> Result<Bytes, Refusal> {
        // A body without a length may become as long as any.
        let length = body.size_hint().exact();
        let length = length.map_or(LONGEST, |length| usize::try_from(length).unwrap_or(usize::MAX));
        if length > LONGEST {
            return Err(Refusal::too_large(LONGEST));
        }
        let room = u32::try_from(length.div_ceil(1024)).expect("3 MiB are 3072 KiB");
        let _under_way = self.uploads.try_acquire_many(room).map_err(|_| Refusal::busy())?;
        let received = Limited::new(body, LONGEST).collect();
        let received = tokio::time::timeout(self.patience, received).await;
        let received = received.map_err(|_| Refusal::too_slow())?.map_err(|error| {
            match error.downcast_ref::<LengthLimitError>() {
                Some(_) => Refusal::too_large(LONGEST),
                None => Refusal::bad_request(format!("the body broke off: {error}")),
            }
        })?;
        Ok(received.to_bytes())
    }
}

/// A document of a body.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) value: Value,
    /// What is said of each field that is written twice.
    duplicates: Vec<String>,
    /// What is said of them when they are reason enough to refuse the body.
    together: Option<String>,
}

impl Document {
    /// A document of which nothing is to be said.
    pub(super) fn of(value: Value) -> Self {
        Self { value, duplicates: Vec::new(), together: None }
    }

    /// The object in `body`, which is of `media_type`.
    ///
    /// # Errors
    /// The refusal of an unknown type, or of what is no object in it.
    pub(super) fn object(media_type: &str, body: &[u8]) -> Result<Self, Refusal> {
        let document = match media_type {
            protobuf::MEDIA_TYPE => Self::of(protobuf::decode(body).map_err(|error| {
                Refusal::bad_request(format!("the body of the request is not readable: {error}"))
            })?),
            "application/yaml" => Self::yaml(body)?,
            "" | "*/*" | "application/json" => Self::json(body)?,
            _ => return Err(Refusal::unsupported_media_type(KNOWN)),
        };
        if document.value.is_object() {
            Ok(document)
        } else {
            Err(Refusal::bad_request("the body of the request is not an object"))
        }
    }

    /// The JSON document in `body`.
    ///
    /// # Errors
    /// The refusal of what is no JSON.
    pub(super) fn json(body: &[u8]) -> Result<Self, Refusal> {
        let (value, duplicates) = json::read(body).map_err(|error| {
            Refusal::bad_request(format!("the body of the request is not valid JSON: {error}"))
        })?;
        let duplicates =
            duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
        Ok(Self { value, duplicates, together: None })
    }

    /// The YAML document in `body`; JSON is YAML.
    ///
    /// # Errors
    /// The refusal of what is no YAML.
    pub(super) fn yaml(body: &[u8]) -> Result<Self, Refusal> {
        let unreadable = |why: &dyn std::fmt::Display| {
            Refusal::bad_request(format!("error decoding YAML: {why}"))
        };
        let text = std::str::from_utf8(body).map_err(|error| unreadable(&error))?;
        let document = yaml::read(text).map_err(|wrong| {
            unreadable(&format!("yaml: line {}: {}", wrong.line, wrong.message))
        })?;
        let Some(document) = document else {
            return Err(unreadable(&"the body of the request is empty"));
        };
        let say = |duplicate: &yaml::Unreadable| {
            let path = duplicate.field.as_deref().unwrap_or("");
            let name = path.rsplit('.').next().unwrap_or(path);
            format!("line {}: key {name:?} already set in map", duplicate.line)
        };
        let duplicates: Vec<String> = document.duplicates.iter().map(say).collect();
        let together = (!duplicates.is_empty())
            .then(|| format!("yaml: unmarshal errors:\n  {}", duplicates.join("\n  ")));
        Ok(Self { value: document.root.value(), duplicates, together })
    }

    /// What is to be said of fields written twice: as warnings, or as reasons for a refusal.
    pub(super) fn duplicates(&self, refusing: bool) -> Vec<String> {
        match &self.together {
            Some(together) if refusing => vec![together.clone()],
            _ => self.duplicates.clone(),
        }
    }
}
