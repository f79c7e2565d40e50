//! Names with rules: nodes and network interfaces.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Name of a Node object (`metadata.name`), an RFC 1123 subdomain checked by the API server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(pub Arc<str>);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        NodeName(name.into())
    }
}

impl From<String> for NodeName {
    fn from(name: String) -> Self {
        NodeName(name.into())
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Name of a network interface: 1 to 15 bytes, no `/`, no whitespace, not `.` or `..`.
///
/// Held inline, as the kernel does: every row of a plan names a link, and thousands are cloned.
///
/// Source: `dev_valid_name()` in the kernel's net/core/dev.c.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName([u8; IFNAMSIZ]);

/// Size of a name in the kernel, with at least one zero at its end.
const IFNAMSIZ: usize = 16;

impl IfName {
    /// Checks `name` against the kernel's rules.
    ///
    /// # Errors
    /// [`InvalidIfName`] with the offending name.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidIfName> {
        let name = name.as_ref();
        let allowed = |b: u8| b != b'/' && b != b':' && !b.is_ascii_whitespace() && b != 0;
        let valid = (1..IFNAMSIZ).contains(&name.len())
            && name != "."
            && name != ".."
            && name.bytes().all(allowed);
        if !valid {
            return Err(InvalidIfName(name.to_owned()));
        }
        let mut bytes = [0; IFNAMSIZ];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(IfName(bytes))
    }

    /// The name as text.
    ///
    /// # Panics
    /// Never: it was made from text.
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|byte| *byte == 0).unwrap_or(IFNAMSIZ);
        std::str::from_utf8(&self.0[..len]).expect("made from text")
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IfName({:?})", self.as_str())
    }
}

impl FromStr for IfName {
    type Err = InvalidIfName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        IfName::new(name)
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// A name the kernel would not take for an interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("interface name {0:?}: 1 to 15 bytes without '/', ':' or spaces are allowed")]
pub struct InvalidIfName(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_follow_the_kernel() {
        for good in ["eth0", "sw0123456789abc", "a"] {
            assert!(IfName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "sixteen-bytes-xx", "a:b"] {
            assert!(IfName::new(bad).is_err(), "{bad}");
        }
    }
}
