//! Values of expressions.
//!
//! What comes from an object stays where it is: a value refers to the JSON and to the schema that
//! says how to read it.
use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::rc::Rc;

use base64::Engine;
use serde_json::Value;

use super::functions::nanoseconds;
use super::net::Cidr;
use crate::crd::structural::{Kind, Structural};
use crate::crd::{format, validate};
use crate::schema::Merge;

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Val<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Cow<'v, str>),
    Bytes(Rc<[u8]>),
    /// Nanoseconds since 1970.
    Time(i128),
    /// Nanoseconds.
    Duration(i64),
    List(List<'v>),
    Map(Map<'v>),
    Optional(Option<Rc<Val<'v>>>),
    Type(&'static str),
    Ip(IpAddr),
    Cidr(Cidr),
    Url(Rc<super::net::Url>),
    Quantity(f64),
    /// A named format of text.
    Format(&'static str),
}

#[derive(Debug, Clone)]
pub(super) enum List<'v> {
    Json { items: &'v [Value], of: Option<&'v Structural> },
    Made(Rc<Vec<Val<'v>>>),
}

#[derive(Debug, Clone)]
pub(super) enum Map<'v> {
    Json { fields: &'v serde_json::Map<String, Value>, of: Option<&'v Structural> },
    Made(Rc<Vec<(Val<'v>, Val<'v>)>>),
}

impl<'v> Val<'v> {
    /// A JSON value, as `of` says it is to be read.
    pub(super) fn json(value: &'v Value, of: Option<&'v Structural>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => {
                let fraction = of.is_some_and(|of| of.kind == Some(Kind::Number));
                match number.as_i64().filter(|_| !fraction) {
                    Some(whole) => Self::Int(whole),
                    None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
                }
            }
            Value::String(text) => {
                let format = of.filter(|of| of.kind == Some(Kind::String));
                Self::text(text, format.map_or("", |of| of.limits.format.as_str()))
            }
            Value::Array(items) => Self::List(List::Json { items, of }),
            Value::Object(fields) => Self::Map(Map::Json { fields, of }),
        }
    }

    /// Text, which some formats make another value.
    fn text(text: &'v str, format: &str) -> Self {
        let read = match format {
            "date-time" | "datetime" => nanoseconds(text).map(Self::Time),
            "date" => nanoseconds(&format!("{text}T00:00:00Z")).map(Self::Time),
            "duration" => format::duration(text).map(Self::Duration),
            "byte" => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok();
                bytes.map(|bytes| Self::Bytes(bytes.into()))
            }
            _ => None,
        };
        read.unwrap_or(Self::String(Cow::Borrowed(text)))
    }

    pub(super) fn string(text: impl Into<String>) -> Self {
        Self::String(Cow::Owned(text.into()))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(List::Made(Rc::new(items)))
    }

    pub(super) fn some(self) -> Self {
        Self::Optional(Some(Rc::new(self)))
    }

    /// The name of the value's type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Time(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Format(_) => "kubernetes.NamedFormat",
        }
    }

    /// How much work it is to look at the whole value once.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Self::String(text) => 1 + text.len() as u64 / 8,
            Self::Bytes(bytes) => 1 + bytes.len() as u64 / 8,
            Self::List(list) => 1 + list.len() as u64,
            Self::Map(map) => 1 + map.len() as u64,
            _ => 1,
        }
    }

    fn number(&self) -> Option<Number> {
        match self {
            Self::Int(n) => Some(Number::Whole(i128::from(*n))),
            Self::Uint(n) => Some(Number::Whole(i128::from(*n))),
            Self::Double(n) => Some(Number::Fraction(*n)),
            _ => None,
        }
    }

    /// Which of two values of one kind comes first.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Quantity(a), Self::Quantity(b)) => a.partial_cmp(b),
            _ => self.number()?.order(&other.number()?),
        }
    }

    /// Whether two values are equal; values of different kinds are not.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::List(a), Self::List(b)) => a.equals(b),
            (Self::Map(a), Self::Map(b)) => a.equals(b),
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (None, None) => true,
                _ => false,
            },
            (Self::Type(a), Self::Type(b)) | (Self::Format(a), Self::Format(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            _ => self.order(other) == Some(Ordering::Equal),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Whole(i128),
    Fraction(f64),
}

impl Number {
    fn order(self, other: &Self) -> Option<Ordering> {
        #[expect(clippy::cast_precision_loss, reason = "as CEL compares doubles with integers")]
        let fraction = |number: Self| match number {
            Self::Whole(n) => n as f64,
            Self::Fraction(n) => n,
        };
        match (self, *other) {
            (Self::Whole(a), Self::Whole(b)) => Some(a.cmp(&b)),
            (a, b) => fraction(a).partial_cmp(&fraction(b)),
        }
    }
}

impl<'v> List<'v> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json { items, .. } => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<Val<'v>> {
        match self {
            Self::Json { items, of } => {
                let of = of.and_then(|of| of.items.as_deref());
                items.get(at).map(|item| Val::json(item, of))
            }
            Self::Made(items) => items.get(at).cloned(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Val<'v>> {
        let list = self.clone();
        (0..list.len()).filter_map(move |at| list.get(at))
    }

    /// How the items of a list from an object are told apart.
    fn merge(&self) -> Option<&'v Merge> {
        match self {
            Self::Json { of: Some(of), .. } => of.merge.as_ref(),
            Self::Json { of: None, .. } | Self::Made(_) => None,
        }
    }

    /// Whether its items have no order, so that each is looked for among all.
    pub(super) fn is_set(&self) -> bool {
        !matches!(self.merge(), None | Some(Merge::Atomic))
    }

    /// The order of sets and maps does not count.
    fn equals(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        if !self.is_set() {
            return self.iter().zip(other.iter()).all(|(a, b)| a.equals(&b));
        }
        self.iter().all(|a| other.iter().any(|b| a.equals(&b)))
    }

    /// One list after the other; in sets and maps, what is there already is replaced.
    pub(super) fn joined(&self, other: &Self) -> Vec<Val<'v>> {
        let mut all: Vec<Val<'v>> = self.iter().collect();
        for item in other.iter() {
            let place = match self.merge() {
                Some(Merge::Set) => all.iter().position(|old| old.equals(&item)),
                Some(Merge::Keys(keys)) => all.iter().position(|old| same_keys(keys, old, &item)),
                Some(Merge::Atomic) | None => None,
            };
            match place.and_then(|place| all.get_mut(place)) {
                Some(old) => *old = item,
                None => all.push(item),
            }
        }
        all
    }
}

fn same_keys(keys: &[String], a: &Val<'_>, b: &Val<'_>) -> bool {
    let (Val::Map(a), Val::Map(b)) = (a, b) else { return false };
    keys.iter().all(|key| match (a.field(key), b.field(key)) {
        (Some(a), Some(b)) => a.equals(&b),
        (None, None) => true,
        _ => false,
    })
}

impl<'v> Map<'v> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json { fields, .. } => fields.len(),
            Self::Made(entries) => entries.len(),
        }
    }

    /// The value of a field, by the name that expressions have for it.
    pub(super) fn select(&self, name: &str) -> Option<Val<'v>> {
        match self {
            Self::Json { of: Some(of), .. } if !of.properties.is_empty() => {
                self.field(&unescape(name))
            }
            Self::Json { .. } | Self::Made(_) => self.field(name),
        }
    }

    /// The value of a field by its own name.
    fn field(&self, name: &str) -> Option<Val<'v>> {
        match self {
            Self::Json { fields, of } => {
                let of = of.and_then(|of| of.entry(name));
                fields.get(name).map(|value| Val::json(value, of))
            }
            Self::Made(_) => self.get(&Val::String(Cow::Owned(name.to_owned()))),
        }
    }

    pub(super) fn get(&self, key: &Val<'v>) -> Option<Val<'v>> {
        match (self, key) {
            (Self::Json { .. }, Val::String(name)) => self.field(name),
            (Self::Json { .. }, _) => None,
            (Self::Made(entries), key) => {
                let entry = entries.iter().find(|(own, _)| own.equals(key));
                entry.map(|(_, value)| value.clone())
            }
        }
    }

    pub(super) fn keys(&self) -> Vec<Val<'v>> {
        match self {
            Self::Json { fields, .. } => {
                fields.keys().map(|key| Val::String(Cow::Borrowed(key.as_str()))).collect()
            }
            Self::Made(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
        }
    }

    fn equals(&self, other: &Self) -> bool {
        if let (Self::Json { fields: a, of: None }, Self::Json { fields: b, of: None }) =
            (self, other)
        {
            return a.len() == b.len()
                && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| validate::same(a, b)));
        }
        let same = |key: &Val<'v>| match (self.get(key), other.get(key)) {
            (Some(a), Some(b)) => a.equals(&b),
            _ => false,
        };
        self.len() == other.len() && self.keys().iter().all(same)
    }
}

/// The name of a property that expressions call `name`.
///
/// Source: Kubernetes "Validation rules", escaping of property names.
pub(super) fn unescape(name: &str) -> Cow<'_, str> {
    const WORDS: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if !name.contains("__") {
        return Cow::Borrowed(name);
    }
    let word = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    if let Some(word) = word.filter(|word| WORDS.contains(word)) {
        return Cow::Owned(word.to_owned());
    }
    let (mut out, mut rest) = (String::new(), name);
    while let Some(at) = rest.find("__") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let signs =
            [("__dot__", "."), ("__dash__", "-"), ("__slash__", "/"), ("__underscores__", "__")];
        match signs.into_iter().find(|(escaped, _)| rest.starts_with(escaped)) {
            Some((escaped, sign)) => {
                out.push_str(sign);
                rest = &rest[escaped.len()..];
            }
            None => {
                out.push_str("__");
                rest = &rest[2..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}
