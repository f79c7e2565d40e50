//! `v1/Namespace`.

use serde::Deserialize;

use super::{DecodeError, Meta, read};
use crate::Namespace;

/// `status.phase` of a namespace that is being deleted.
pub(crate) const TERMINATING: &str = "Terminating";

#[derive(Deserialize)]
struct WireNamespace {
    metadata: Meta,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Status {
    phase: Option<String>,
}

/// Reads a Namespace from its JSON.
///
/// # Errors
/// [`DecodeError`] when the JSON is not a Namespace.
pub fn namespace(json: &[u8]) -> Result<Namespace, DecodeError> {
    let WireNamespace { metadata, status } = read("Namespace", json)?;
    let is_terminating =
        metadata.deletion_timestamp.is_some() || status.phase.as_deref() == Some(TERMINATING);
    Ok(Namespace { is_terminating, ..Namespace::new(&metadata.name, metadata.labels) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npn8_a_namespace_is_a_name_and_labels_of_which_one_is_its_name() {
        let read = |json: &str| namespace(json.as_bytes());
        let plain = read(r#"{"metadata":{"name":"shop"}}"#).unwrap();
        assert_eq!(&*plain.name, "shop");
        assert_eq!(plain.labels.get("kubernetes.io/metadata.name"), Some("shop"));
        let liar = r#"{"metadata":{"name":"shop","labels":{"team":"a","kubernetes.io/metadata.name":"x"}}}"#;
        let labels = read(liar).unwrap().labels;
        assert_eq!(
            (labels.get("team"), labels.get(Namespace::NAME_LABEL)),
            (Some("a"), Some("shop"))
        );
        assert_eq!(read(r#"{"metadata":{}}"#).unwrap_err().object, "Namespace");
    }

    #[test]
    fn npn22_a_namespace_that_is_being_deleted_says_so() {
        let cases = [
            (r#"{"metadata":{"name":"a"}}"#, false),
            (r#"{"metadata":{"name":"a"},"status":{"phase":"Active"}}"#, false),
            (r#"{"metadata":{"name":"a"},"status":{"phase":"Terminating"}}"#, true),
            (r#"{"metadata":{"name":"a","deletionTimestamp":"2026-05-01T00:00:00Z"}}"#, true),
        ];
        for (json, want) in cases {
            assert_eq!(namespace(json.as_bytes()).unwrap().is_terminating, want, "{json}");
        }
    }
}
