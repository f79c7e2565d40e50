//! What owning a field means, as far as its type decides it: which lists and maps are owned item
//! by item and which only as a whole.
//!
//! Source: Kubernetes "Server-Side Apply", merge strategy; sigs.k8s.io/structured-merge-diff
//! `schema` and `typed/helpers.go`.
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::crd::{Additional, Kind, Structural};
use crate::resource::Resource;
use crate::schema::{self, Field, Merge, Struct, Type};

/// A type, as far as ownership is concerned.
pub(crate) trait Typing {
    /// How its values are shared between owners.
    fn shape(&self) -> Shape<'_>;

    /// The type of a field, if values are [`Shape::Struct`] and have one of that name.
    fn field(&self, _name: &str) -> Option<&dyn Typing> {
        None
    }

    /// Whether a [`Shape::Struct`] may have fields that its type does not name.
    fn is_open(&self) -> bool {
        false
    }

    /// What stands for a field that is not there, where the items of a list are told apart by it.
    fn default_of(&self, _field: &str) -> Option<&Value> {
        None
    }

    /// What an absent field is compared as, if the serialised object always has it.
    fn absent(&self, _field: &str) -> Option<&'static Value> {
        None
    }
}

/// How values of a type are shared between owners.
#[derive(Clone, Copy)]
pub(crate) enum Shape<'t> {
    /// One value, one owner.
    Scalar(Scalar),
    /// A list that only changes as a whole.
    AtomicList(&'t dyn Typing),
    /// A map that only changes as a whole.
    AtomicMap(&'t dyn Typing),
    /// Named fields that only change together.
    AtomicStruct,
    /// Named fields, each with a type of its own.
    Struct,
    /// Entries of one type under names that anyone may add.
    Map(&'t dyn Typing),
    /// A list of unique scalars.
    Set,
    /// A list whose items are told apart by these fields.
    Keyed(&'t [String], &'t dyn Typing),
    /// Not described: objects are shared by field, all else has one owner.
    Any,
}

/// Which scalars a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Text,
    Number,
    Boolean,
    /// Any of them.
    Untyped,
}

/// The type of what no schema describes.
pub(crate) static ANY: Type = Type::Any;

static NOTHING: LazyLock<Value> = LazyLock::new(|| json!({}));

/// Structs, and one list, that Go writes even when nothing is in them, and so has written before
/// anyone put something there.
///
/// Source: k8s.io/api, fields that are no pointers or lack `omitempty`.
const WRITTEN: [&str; 10] = [
    "containers",
    "loadBalancer",
    "metadata",
    "nodeInfo",
    "resources",
    "spec",
    "status",
    "strategy",
    "template",
    "updateStrategy",
];

/// The type of a kind's objects.
pub(crate) enum Whole<'r> {
    BuiltIn(&'static Struct),
    Custom(&'r Structural),
}

/// The type of a kind's objects as stored.
pub(crate) fn typing(resource: &Resource) -> Whole<'_> {
    static NONE: LazyLock<Struct> = LazyLock::new(Struct::default);
    match &resource.custom {
        Some(custom) => Whole::Custom(&custom.schema),
        None => Whole::BuiltIn(schema::stored(resource).unwrap_or(&NONE)),
    }
}

impl Typing for Whole<'_> {
    fn shape(&self) -> Shape<'_> {
        Shape::Struct
    }

    fn field(&self, name: &str) -> Option<&dyn Typing> {
        match (self, name) {
            (Self::BuiltIn(of), _) => of.field(name),
            (Self::Custom(_), "apiVersion" | "kind") => Some(&Type::String),
            (Self::Custom(_), "metadata") => Some(schema::metadata()),
            (Self::Custom(of), _) => of.field(name),
        }
    }

    fn is_open(&self) -> bool {
        match self {
            Self::BuiltIn(_) => false,
            Self::Custom(of) => of.is_open(),
        }
    }

    fn absent(&self, field: &str) -> Option<&'static Value> {
        match self {
            Self::BuiltIn(of) => of.absent(field),
            Self::Custom(_) => (field == "metadata").then_some(&NOTHING),
        }
    }
}

impl Typing for Structural {
    fn shape(&self) -> Shape<'_> {
        match self.kind {
            _ if self.int_or_string => Shape::Scalar(Scalar::Untyped),
            None => Shape::Any,
            Some(Kind::String) => Shape::Scalar(Scalar::Text),
            Some(Kind::Integer | Kind::Number) => Shape::Scalar(Scalar::Number),
            Some(Kind::Boolean) => Shape::Scalar(Scalar::Boolean),
            Some(Kind::Array) => {
                let inner: &dyn Typing = self.items.as_deref().map_or(&ANY, |inner| inner);
                match &self.merge {
                    Some(merge) => list(merge, inner),
                    None => Shape::AtomicList(inner),
                }
            }
            Some(Kind::Object) => match &self.additional {
                Some(Additional::Of(inner)) if self.atomic => Shape::AtomicMap(&**inner),
                Some(Additional::Of(inner)) => Shape::Map(&**inner),
                _ if self.atomic => Shape::AtomicStruct,
                _ if self.properties.is_empty() && self.is_open() => Shape::Any,
                _ => Shape::Struct,
            },
        }
    }

    fn field(&self, name: &str) -> Option<&dyn Typing> {
        self.properties.get(name).map(|of| of as &dyn Typing)
    }

    fn is_open(&self) -> bool {
        self.preserves || self.embedded || matches!(self.additional, Some(Additional::Anything))
    }

    fn default_of(&self, field: &str) -> Option<&Value> {
        self.properties.get(field)?.default.as_ref()
    }
}

impl Typing for Struct {
    fn shape(&self) -> Shape<'_> {
        if self.atomic { Shape::AtomicStruct } else { Shape::Struct }
    }

    fn field(&self, name: &str) -> Option<&dyn Typing> {
        self.fields.get(name).map(|field| field as &dyn Typing)
    }

    fn default_of(&self, field: &str) -> Option<&Value> {
        self.fields.get(field)?.default.as_ref()
    }

    fn absent(&self, field: &str) -> Option<&'static Value> {
        let of = &self.fields.get(field)?.of;
        let is_struct = of.named().is_some();
        let written = WRITTEN.contains(&field);
        written.then_some(if is_struct { &NOTHING } else { &Value::Null })
    }
}

impl Typing for Field {
    fn shape(&self) -> Shape<'_> {
        if let (Type::Map(inner), true) = (&self.of, self.atomic) {
            return Shape::AtomicMap(&**inner);
        }
        if let (Type::List(inner, _), true) = (&self.of, self.atomic) {
            return Shape::AtomicList(&**inner);
        }
        self.of.shape()
    }

    fn field(&self, name: &str) -> Option<&dyn Typing> {
        self.of.field(name)
    }

    fn default_of(&self, field: &str) -> Option<&Value> {
        self.of.default_of(field)
    }

    fn absent(&self, field: &str) -> Option<&'static Value> {
        self.of.absent(field)
    }
}

impl Typing for Type {
    fn shape(&self) -> Shape<'_> {
        match self {
            Self::Any | Self::OrBoolean(_) => Shape::Any,
            Self::String | Self::Bytes | Self::Time | Self::MicroTime => {
                Shape::Scalar(Scalar::Text)
            }
            Self::Quantity | Self::IntOrString => Shape::Scalar(Scalar::Untyped),
            Self::Integer | Self::Long | Self::Number => Shape::Scalar(Scalar::Number),
            Self::Boolean => Shape::Scalar(Scalar::Boolean),
            Self::Named(_) => self.named().map_or(Shape::Any, Typing::shape),
            Self::Map(inner) => Shape::Map(&**inner),
            Self::List(inner, merge) => list(merge, &**inner),
        }
    }

    fn field(&self, name: &str) -> Option<&dyn Typing> {
        self.named()?.field(name)
    }

    fn default_of(&self, field: &str) -> Option<&Value> {
        self.named()?.default_of(field)
    }

    fn absent(&self, field: &str) -> Option<&'static Value> {
        self.named()?.absent(field)
    }
}

fn list<'t>(merge: &'t Merge, inner: &'t dyn Typing) -> Shape<'t> {
    match merge {
        Merge::Atomic => Shape::AtomicList(inner),
        Merge::Set => Shape::Set,
        Merge::Keys(keys) => Shape::Keyed(keys, inner),
    }
}
