//! Structural schemas: what the objects of a custom kind consist of.
//!
//! Source: Kubernetes "Specifying a structural schema"; apiextensions/v1 `JSONSchemaProps`.
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::rule::{self, Rule};
use crate::schema::Merge;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    /// The kind that schemas call `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// What the entries of an object may be that are not among its properties.
#[derive(Debug, Clone)]
pub(crate) enum Additional {
    Anything,
    Nothing,
    Of(Box<Structural>),
}

impl Additional {
    fn read(schema: &Value) -> Option<Self> {
        match schema.as_bool() {
            Some(true) => Some(Self::Anything),
            Some(false) => Some(Self::Nothing),
            None if schema.is_object() => Some(Self::Of(Box::new(Structural::read(schema)))),
            None => None,
        }
    }
}

/// The limits of one value beyond its type.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    pub(crate) format: String,
    pub(crate) required: Vec<String>,
    pub(crate) allowed: Vec<Value>,
    pub(crate) pattern: Option<String>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) min_properties: Option<u64>,
}

/// A schema, or what `allOf`, `anyOf`, `oneOf` and `not` hold, which only limits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Structural {
    /// None for int-or-string, and where unknown fields of any type are preserved.
    pub(crate) kind: Option<Kind>,
    pub(crate) nullable: bool,
    pub(crate) default: Option<Value>,
    pub(crate) properties: BTreeMap<String, Structural>,
    pub(crate) additional: Option<Additional>,
    pub(crate) items: Option<Box<Structural>>,
    /// Fields that no property names are kept.
    pub(crate) preserves: bool,
    /// The value is a whole object with `apiVersion`, `kind` and `metadata`.
    pub(crate) embedded: bool,
    pub(crate) int_or_string: bool,
    /// How lists are merged, and what is unique in them.
    pub(crate) merge: Option<Merge>,
    /// The object is merged as a whole.
    pub(crate) atomic: bool,
    pub(crate) limits: Limits,
    pub(crate) all_of: Vec<Structural>,
    pub(crate) any_of: Vec<Structural>,
    pub(crate) one_of: Vec<Structural>,
    pub(crate) not: Option<Box<Structural>>,
    pub(crate) rules: Vec<Rule>,
    /// Whether this schema or one inside has rules.
    pub(crate) has_rules: bool,
}

impl Structural {
    /// Reads an `openAPIV3Schema`, the schema of whole objects.
    pub(crate) fn read_whole(schema: &Value) -> Self {
        Self::read_as(schema, true)
    }

    /// Reads a schema. What the rules for definitions forbid is not there any more;
    /// what is of a wrong type all the same counts as missing.
    pub(crate) fn read(schema: &Value) -> Self {
        Self::read_as(schema, false)
    }

    fn read_as(schema: &Value, whole: bool) -> Self {
        let flag = |name: &str| schema[name] == true;
        let nested = |name: &str| -> Vec<Self> {
            schema[name].as_array().into_iter().flatten().map(Self::read).collect()
        };
        let mut read = Self {
            kind: schema["type"].as_str().and_then(Kind::named),
            nullable: flag("nullable"),
            default: schema.get("default").cloned(),
            properties: entries(&schema["properties"])
                .map(|(name, schema)| (name.clone(), Self::read(schema)))
                .collect(),
            additional: Additional::read(&schema["additionalProperties"]),
            items: schema["items"].is_object().then(|| Box::new(Self::read(&schema["items"]))),
            preserves: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            merge: merge(schema),
            atomic: schema["x-kubernetes-map-type"] == "atomic",
            limits: Limits::read(schema),
            all_of: nested("allOf"),
            any_of: nested("anyOf"),
            one_of: nested("oneOf"),
            not: schema["not"].is_object().then(|| Box::new(Self::read(&schema["not"]))),
            rules: Vec::new(),
            has_rules: false,
        };
        read.rules = rule::read(schema, &read, whole || read.embedded);
        let inside = read.properties.values().chain(read.items.as_deref());
        read.has_rules = !read.rules.is_empty()
            || inside.chain(rule::additional(&read)).any(|inner| inner.has_rules);
        read
    }

    /// The schema of the entry `name` of an object, if one stands for it.
    pub(crate) fn entry(&self, name: &str) -> Option<&Self> {
        let additional = || match &self.additional {
            Some(Additional::Of(inner)) => Some(inner.as_ref()),
            Some(Additional::Anything | Additional::Nothing) | None => None,
        };
        self.properties.get(name).or_else(additional)
    }

    /// The types a value may have, as messages name them.
    pub(crate) fn types(&self) -> Vec<&'static str> {
        match self.kind {
            _ if self.int_or_string => vec!["integer", "string"],
            Some(kind) => vec![kind.name()],
            None => Vec::new(),
        }
    }
}

impl Limits {
    fn read(schema: &Value) -> Self {
        let count = |name: &str| schema[name].as_u64();
        let text = |name: &str| schema[name].as_str().unwrap_or("").to_owned();
        Self {
            format: text("format"),
            required: words(&schema["required"]),
            allowed: schema["enum"].as_array().cloned().unwrap_or_default(),
            pattern: Some(text("pattern")).filter(|pattern| !pattern.is_empty()),
            maximum: schema["maximum"].as_f64(),
            exclusive_maximum: schema["exclusiveMaximum"] == true,
            minimum: schema["minimum"].as_f64(),
            exclusive_minimum: schema["exclusiveMinimum"] == true,
            multiple_of: schema["multipleOf"].as_f64(),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
        }
    }
}

/// How the list that `schema` describes is merged.
fn merge(schema: &Value) -> Option<Merge> {
    match schema["x-kubernetes-list-type"].as_str()? {
        "set" => Some(Merge::Set),
        "map" => Some(Merge::Keys(words(&schema["x-kubernetes-list-map-keys"]))),
        _ => Some(Merge::Atomic),
    }
}

/// The strings of a list.
pub(crate) fn words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The entries of an object; none of anything else.
pub(crate) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}
