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
    Ok(Namespace { name: wire.metadata.name.as_str().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_name() {
        let read = |json: &str| namespace(json.as_bytes());
        assert_eq!(&*read(r#"{"metadata":{"name":"shop"}}"#).unwrap().name, "shop");
        assert_eq!(read(r#"{"metadata":{}}"#).unwrap_err().object, "Namespace");
    }
}
