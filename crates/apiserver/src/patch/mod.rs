//! Patches: JSON patch, merge patch and strategic merge patch.
mod json;
mod merge;
mod strategic;

use serde_json::Value;

use crate::go;
use crate::refusal::Refusal;
use crate::schema::Struct;

/// The media types that can be read.
const KNOWN: &str = "application/json-patch+json, application/merge-patch+json, \
                     application/strategic-merge-patch+json, application/apply-patch+yaml";

/// A patch, read and not yet applied.
#[derive(Debug)]
pub(crate) enum Patch {
    Json(Vec<json::Operation>),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Reads `document`, which came as `media_type`.
    ///
    /// # Errors
    /// The refusal of an unknown type or a document that is no patch.
    pub(crate) fn parse(media_type: &str, document: Value) -> Result<Self, Refusal> {
        match media_type {
            "application/json-patch+json" => {
                json::parse(document).map(Self::Json).map_err(Refusal::bad_request)
            }
            "application/merge-patch+json" => object(document).map(Self::Merge),
            "application/strategic-merge-patch+json" => object(document).map(Self::Strategic),
            _ => Err(Refusal::unsupported_media_type(KNOWN)),
        }
    }

    /// What a refusal shows of what did not fit: the patched object, or a strategic patch itself.
    pub(crate) fn shown(&self, patched: &Value) -> String {
        match self {
            Self::Json(_) | Self::Merge(_) => patched.to_string(),
            Self::Strategic(patch) => go::plain(patch),
        }
    }

    /// What `target`, of type `of`, becomes.
    ///
    /// # Errors
    /// The refusal of a patch that does not fit the object.
    pub(crate) fn apply(&self, target: &Value, of: Option<&Struct>) -> Result<Value, Refusal> {
        let mut patched = target.clone();
        match self {
            Self::Json(operations) => {
                json::apply(&mut patched, operations).map_err(Refusal::unfit)?
            }
            Self::Merge(patch) => merge::apply(&mut patched, patch),
            Self::Strategic(patch) => {
                strategic::apply(&mut patched, patch, of)?;
            }
        }
        if patched.is_object() {
            Ok(patched)
        } else {
            Err(Refusal::unfit("the patched document is not an object".to_owned()))
        }
    }
}

fn object(document: Value) -> Result<Value, Refusal> {
    if document.is_object() {
        Ok(document)
    } else {
        Err(Refusal::bad_request("error decoding patch: must be a JSON object"))
    }
}
