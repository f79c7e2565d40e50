//! What objects of the built-in kinds consist of.
//!
//! One description in our own notation (`text/*.schema`) is the source of decoding, defaulting,
//! the simple part of validation, strategic merge and OpenAPI. The notation, a line per field:
//!
//! ```text
//! package io.k8s.api.core.v1
//! ContainerPort
//!   containerPort int @3 !
//!   protocol string @4 = TCP in SCTP TCP UDP
//! Container
//!   ports [ContainerPort] @6 merge containerPort,protocol
//! ```
//!
//! `[T]` is a list, `{T}` a map from strings; `int` has 32 bits and `long` 64. A field's words:
//!
//! | word | meaning |
//! |---|---|
//! | `@N` | its number in the protobuf form; `@N.M` inside an embedded message |
//! | `?` | a pointer in Go: its zero is not its absence |
//! | `!` | required: refused when it is missing or empty |
//! | `*` | required as OpenAPI says it, yet accepted when missing: Go always writes it |
//! | `merge K,…` | a list whose items are told apart by the keys; a strategic merge pairs items by the first |
//! | `map K,…` | likewise, but a strategic merge replaces the list |
//! | `merge set` | a list of unique values; a strategic merge adds to it |
//! | `set` | likewise, but a strategic merge replaces it |
//! | `retain` | a strategic merge names the keys that stay |
//! | `atomic` | a map or list, or after a type's name a struct, that has one owner as a whole |
//! | `= V` | default |
//! | `in A B` | allowed values, the last word of a line |
//!
//! `...F` stands for the fields of type `F`; with a number, for a message of them.
//!
//! `T|bool` is a `T`, or a yes or no.
//!
//! Custom kinds have no such text: their schema is part of the [`Resource`]. The functions here
//! take a resource and know which of the two it has.
mod check;
mod defaults;
mod parse;
mod rules;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::crd;
use crate::refusal::Cause;
use crate::resource::Resource;

/// The type of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Any,
    String,
    /// Base64.
    Bytes,
    Time,
    MicroTime,
    Quantity,
    /// A whole number of 32 bits.
    Integer,
    /// A whole number of 64 bits.
    Long,
    Number,
    Boolean,
    IntOrString,
    /// A type of the catalog, by its full name.
    Named(String),
    Map(Box<Type>),
    List(Box<Type>, Merge),
    /// The type, or a boolean.
    OrBoolean(Box<Type>),
}

/// What tells the items of a list apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merge {
    /// Nothing: one list replaces the other.
    Atomic,
    /// Their values, which are unique.
    Set,
    /// These fields of theirs.
    Keys(Vec<String>),
}

/// One field of a [`Struct`].
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) of: Type,
    /// Refused when it is missing or empty.
    pub(crate) required: bool,
    /// Required in OpenAPI only: clients always write it.
    pub(crate) listed: bool,
    pub(crate) default: Option<Value>,
    pub(crate) allowed: Vec<String>,
    /// A strategic merge lists the keys that stay.
    pub(crate) retain: bool,
    /// A strategic merge replaces the list, whatever tells its items apart.
    pub(crate) replace: bool,
    /// A map or list that has one owner as a whole.
    pub(crate) atomic: bool,
    /// Where it is in the protobuf form: its number, after that of a message it is embedded in.
    pub(crate) wire: Vec<u64>,
    /// Its zero is not its absence.
    pub(crate) pointer: bool,
}

/// A named type.
#[derive(Debug, Clone, Default)]
pub(crate) struct Struct {
    /// It has one owner as a whole.
    pub(crate) atomic: bool,
    pub(crate) fields: BTreeMap<String, Field>,
}

/// All named types.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) structs: BTreeMap<String, Struct>,
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    parse::catalog(&[
        include_str!("text/meta.schema"),
        include_str!("text/core.schema"),
        include_str!("text/pod.schema"),
        include_str!("text/pod_status.schema"),
        include_str!("text/volume.schema"),
        include_str!("text/persistent.schema"),
        include_str!("text/apps.schema"),
        include_str!("text/autoscaling.schema"),
        include_str!("text/networking.schema"),
        include_str!("text/access.schema"),
        include_str!("text/cluster.schema"),
        include_str!("text/apiextensions.schema"),
    ])
});

/// The catalog of the built-in kinds.
pub(crate) fn catalog() -> &'static Catalog {
    &CATALOG
}

/// The type of a kind's objects as served.
pub(crate) fn of(resource: &Resource) -> Option<&'static Struct> {
    CATALOG.structs.get(&full_name(&resource.group, &resource.version, &resource.kind))
}

/// The type of a kind's objects as stored.
pub(crate) fn stored(resource: &Resource) -> Option<&'static Struct> {
    let group = if resource.renamed.is_empty() { resource.group.as_str() } else { "" };
    CATALOG.structs.get(&full_name(group, &resource.version, &resource.kind))
}

/// The type of the metadata of all objects.
///
/// # Panics
/// If the text of the catalog has lost it.
pub(crate) fn metadata() -> &'static Struct {
    &CATALOG.structs["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]
}

/// Holds an object as served against its kind: drops unknown fields and returns their paths.
///
/// # Errors
/// A sentence about the first field of a wrong type.
pub(crate) fn check(resource: &Resource, value: &mut Value) -> Result<Vec<String>, String> {
    let Some(custom) = &resource.custom else { return check::check(of(resource), value) };
    let mut unknown = Vec::new();
    if let Some(metadata) = value.get_mut("metadata") {
        unknown = check::check_below(Some(self::metadata()), metadata, "metadata")?;
    }
    unknown.extend(crd::prune(&custom.schema, value));
    Ok(unknown)
}

/// Sets the missing fields of a stored object that have a default.
pub(crate) fn fill(resource: &Resource, value: &mut Value) {
    match &resource.custom {
        Some(custom) => crd::fill(&custom.schema, value),
        None => defaults::fill(stored(resource), value),
    }
}

/// What a stored object breaks of its kind's schema; `old` is what it replaces.
pub(crate) fn causes(resource: &Resource, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    match &resource.custom {
        Some(custom) => crd::causes(custom, value, old),
        None => rules::causes(stored(resource), value, ""),
    }
}

/// The name Kubernetes' OpenAPI gives a kind.
pub(crate) fn definition_name(resource: &Resource) -> String {
    let Resource { group, version, kind, .. } = resource;
    if resource.custom.is_none() {
        return full_name(group, version, kind);
    }
    let domain: Vec<&str> = group.rsplit('.').collect();
    format!("{}.{version}.{kind}", domain.join("."))
}

/// The name Kubernetes' OpenAPI gives a built-in kind.
pub(crate) fn full_name(group: &str, version: &str, kind: &str) -> String {
    if group == "apiextensions.k8s.io" {
        return format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version}.{kind}");
    }
    let group = if group.is_empty() { "core" } else { group };
    let group = group.split('.').next().unwrap_or(group);
    format!("io.k8s.api.{group}.{version}.{kind}")
}

impl Type {
    /// The named type that this is.
    pub(crate) fn named(&self) -> Option<&'static Struct> {
        let Self::Named(name) = self else { return None };
        CATALOG.structs.get(name)
    }

    /// What a list or map holds, or the type itself.
    pub(crate) fn inner(&self) -> &Self {
        match self {
            Self::List(inner, _) | Self::Map(inner) | Self::OrBoolean(inner) => inner,
            Self::Any
            | Self::String
            | Self::Bytes
            | Self::Time
            | Self::MicroTime
            | Self::Quantity
            | Self::Integer
            | Self::Long
            | Self::Number
            | Self::Boolean
            | Self::IntOrString
            | Self::Named(_) => self,
        }
    }
}

#[cfg(test)]
mod tests;
