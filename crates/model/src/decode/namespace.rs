//! `v1/Namespace`.

use serde::Deserialize;

use super::{DecodeError, Meta, read};
use crate::Namespace;

#[derive(Deserialize)]
struct WireNamespace {
    metadata: Meta,
}

/// Reads a Namespace from its JSON.
///
/// # Errors
/// [`DecodeError`] when the JSON is not a Namespace.
pub fn namespace(json: &[u8]) -> Result<Namespace, DecodeError> {
    let wire: WireNamespace = read("Namespace", json)?;
    Ok(Namespace::new(&wire.metadata.name, wire.metadata.labels))
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
}
