//! Namespaces: that they exist, and which policies mean them.

use std::sync::Arc;

use crate::Labels;

/// A Namespace. A name in DNS exists with it (DNS-20, DNS-21), even where nothing is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.labels`, with the one of its name that every namespace has.
    pub labels: Labels,
    /// It is being deleted, with everything that is in it.
    pub is_terminating: bool,
}

impl Namespace {
    /// The label that every namespace has, with its name for a value (KEP-2161).
    pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

    /// The namespace `name` with these labels, and the one of its name.
    pub fn new(name: &str, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        let own = (Namespace::NAME_LABEL.to_owned(), name.to_owned());
        let labels = labels.into_iter().chain([own]).collect();
        Namespace { name: name.into(), labels, is_terminating: false }
    }
}
