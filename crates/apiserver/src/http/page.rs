//! Where the next page of a list starts, as the client carries it from one page to the next.
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::store::Key;

/// The version every token names as its own form.
const FORM: &str = "meta.k8s.io/v1";

/// The rest of a list.
///
/// Source: k8s.io/apiserver `storage/continue.go`; a token of ours reads as one of etcd3's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// The version of the whole list; none where consistency was given up for going on.
    pub(super) version: Option<u64>,
    /// The first key that may follow. It need not exist.
    pub(super) from: Key,
}

impl Page {
    /// What follows `last` in a list at `version`.
    pub(super) fn after(version: u64, last: &Key) -> Self {
        // No name holds a zero byte, so nothing sorts between a name and this.
        let from = Key::new(&last.namespace, &format!("{}\0", last.name));
        Self { version: Some(version), from }
    }

    /// The same rest, of whatever state is the newest by then.
    pub(super) fn inconsistent(&self) -> Self {
        Self { version: None, from: self.from.clone() }
    }

    pub(super) fn write(&self) -> String {
        let Key { namespace, name } = &self.from;
        let start = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
        let version = self.version.map_or(json!(-1), |version| json!(version));
        URL_SAFE_NO_PAD.encode(json!({"v": FORM, "rv": version, "start": start}).to_string())
    }

    /// # Errors
    /// The refusal of what no server has written.
    pub(super) fn read(token: &str) -> Result<Self, Refusal> {
        let bad = |why: &str| Refusal::bad_request(format!("invalid continue token: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(token);
        let parts = bytes.ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let parts = parts.ok_or_else(|| bad("continue key is not valid"))?;
        if parts["v"] != FORM {
            return Err(bad(
                "continue key is not valid: server does not recognize this encoded version",
            ));
        }
        let version = match (parts["rv"].as_u64(), parts["rv"].as_i64()) {
            (Some(version), _) if version > 0 => Some(version),
            (None, Some(_)) => None,
            _ => {
                return Err(bad(
                    "continue key is not valid: incorrect encoded start resourceVersion (version \
                     meta.k8s.io/v1)",
                ));
            }
        };
        let start = parts["start"].as_str().unwrap_or("");
        let (namespace, name) = start.split_once('/').unwrap_or(("", start));
        if name.is_empty() {
            return Err(bad(
                "continue key is not valid: encoded start key empty (version meta.k8s.io/v1)",
            ));
        }
        Ok(Self { version, from: Key::new(namespace, name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_writing_and_reading() {
        for key in [Key::new("shop", "web-1"), Key::new("", "node-1")] {
            let page = Page::after(7, &key);
            assert!(page.from > key);
            assert_eq!(Page::read(&page.write()), Ok(page.clone()));
            let gone = page.inconsistent();
            assert_eq!(Page::read(&gone.write()), Ok(gone));
        }
    }

    #[test]
    fn a_token_that_nobody_wrote_is_refused() {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let cases = [
            ("xyz".to_owned(), "continue key is not valid"),
            (encode(json!([1, "a", "b"])), "does not recognize this encoded version"),
            (encode(json!({"v": FORM, "rv": 0, "start": "a"})), "incorrect encoded start"),
            (encode(json!({"v": FORM, "rv": 2.5, "start": "a"})), "incorrect encoded start"),
            (encode(json!({"v": FORM, "rv": 2, "start": ""})), "encoded start key empty"),
            (encode(json!({"v": FORM, "rv": 2, "start": "a/"})), "encoded start key empty"),
        ];
        for (token, why) in cases {
            let status = Page::read(&token).unwrap_err().status();
            assert!(status["message"].as_str().unwrap().contains(why), "{token}: {status}");
        }
    }
}
