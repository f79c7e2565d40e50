//! Namespaces: that they exist is all that follows from them.

use std::sync::Arc;

/// A Namespace. A name in DNS exists with it (DNS-20, DNS-21), even where nothing is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// `metadata.name`.
    pub name: Arc<str>,
}
