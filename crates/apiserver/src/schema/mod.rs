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
//! `[T]` is a list, `{T}` a map from strings. A field's words: `@N` (number in the protobuf form;
//! `@N.M` inside an embedded message), `?` (a pointer in Go: its zero is not its absence), `!` (required), `merge K,…` (a strategic merge pairs items by the first key;
//! all of them make an item unique), `set` (a list merged as a set), `retain` (a strategic merge
//! names the keys that stay), `= V` (default), `in A B` (allowed values). `...F` stands for the
//! fields of type `F`; with a number, for a message of them.
mod check;
mod defaults;
mod parse;
mod rules;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

pub(crate) use check::check;
pub(crate) use defaults::fill;
pub(crate) use rules::causes;

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
    Integer,
    Number,
    Boolean,
    IntOrString,
    /// A type of the catalog, by its full name.
    Named(String),
    Map(Box<Type>),
    List(Box<Type>, Merge),
}

/// How lists are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merge {
    /// One replaces the other.
    Atomic,
    /// Values are unique and added.
    Set,
    /// Items with equal keys are merged.
    Keys(Vec<String>),
}

/// One field of a [`Struct`].
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) of: Type,
    pub(crate) required: bool,
    pub(crate) default: Option<Value>,
    pub(crate) allowed: Vec<String>,
    /// A strategic merge lists the keys that stay.
    pub(crate) retain: bool,
    /// Where it is in the protobuf form: its number, after that of a message it is embedded in.
    pub(crate) wire: Vec<u64>,
    /// Its zero is not its absence.
    pub(crate) pointer: bool,
}

/// A named type.
#[derive(Debug, Clone, Default)]
pub(crate) struct Struct {
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
        include_str!("text/volume.schema"),
        include_str!("text/groups.schema"),
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

/// The name Kubernetes' OpenAPI gives a kind.
pub(crate) fn full_name(group: &str, version: &str, kind: &str) -> String {
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
            Self::List(inner, _) | Self::Map(inner) => inner,
            Self::Any
            | Self::String
            | Self::Bytes
            | Self::Time
            | Self::MicroTime
            | Self::Quantity
            | Self::Integer
            | Self::Number
            | Self::Boolean
            | Self::IntOrString
            | Self::Named(_) => self,
        }
    }
}

#[cfg(test)]
mod tests;
