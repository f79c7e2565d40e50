//! A small type with a field of every shape.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::typing::{Scalar, Shape, Typing};

/// A type made by hand.
pub(in super::super) enum Toy {
    Scalar(Scalar),
    Struct(BTreeMap<&'static str, (Toy, Option<Value>)>),
    AtomicStruct(BTreeMap<&'static str, (Toy, Option<Value>)>),
    Map(Box<Toy>),
    AtomicMap(Box<Toy>),
    Set,
    Keyed(Vec<String>, Box<Toy>),
    AtomicList(Box<Toy>),
    Any,
}

impl Typing for Toy {
    fn shape(&self) -> Shape<'_> {
        match self {
            Self::Scalar(scalar) => Shape::Scalar(*scalar),
            Self::Struct(_) => Shape::Struct,
            Self::AtomicStruct(_) => Shape::AtomicStruct,
            Self::Map(inner) => Shape::Map(&**inner),
            Self::AtomicMap(inner) => Shape::AtomicMap(&**inner),
            Self::Set => Shape::Set,
            Self::Keyed(keys, inner) => Shape::Keyed(keys, &**inner),
            Self::AtomicList(inner) => Shape::AtomicList(&**inner),
            Self::Any => Shape::Any,
        }
    }

    fn field(&self, name: &str) -> Option<&dyn Typing> {
        let (Self::Struct(fields) | Self::AtomicStruct(fields)) = self else { return None };
        fields.get(name).map(|(of, _)| of as &dyn Typing)
    }

    fn default_of(&self, field: &str) -> Option<&Value> {
        let (Self::Struct(fields) | Self::AtomicStruct(fields)) = self else { return None };
        fields.get(field)?.1.as_ref()
    }
}

fn text() -> Toy {
    Toy::Scalar(Scalar::Text)
}

fn fields<const N: usize>(
    fields: [(&'static str, Toy); N],
) -> BTreeMap<&'static str, (Toy, Option<Value>)> {
    fields.into_iter().map(|(name, of)| (name, (of, None))).collect()
}

fn item() -> Toy {
    Toy::Struct(fields([
        ("name", text()),
        ("value", Toy::Scalar(Scalar::Untyped)),
        ("nested", Toy::Struct(fields([("a", text()), ("b", text())]))),
        ("names", Toy::Set),
    ]))
}

/// The type of all stories.
pub(in super::super) fn example() -> Toy {
    let pair = fields([("x", text()), ("y", text())]);
    let mut port = fields([("port", Toy::Scalar(Scalar::Number)), ("name", text())]);
    port.insert("protocol", (text(), Some(json!("TCP"))));
    let ports =
        Toy::Keyed(vec!["port".to_owned(), "protocol".to_owned()], Box::new(Toy::Struct(port)));
    Toy::Struct(fields([
        ("apiVersion", text()),
        ("metadata", Toy::Any),
        ("text", text()),
        ("number", Toy::Scalar(Scalar::Number)),
        ("flag", Toy::Scalar(Scalar::Boolean)),
        ("set", Toy::Set),
        ("keyed", Toy::Keyed(vec!["name".to_owned()], Box::new(item()))),
        ("ports", ports),
        ("list", Toy::AtomicList(Box::new(text()))),
        ("map", Toy::Map(Box::new(text()))),
        ("whole", Toy::AtomicMap(Box::new(text()))),
        ("pair", Toy::AtomicStruct(pair)),
        ("struct", item()),
        ("structs", Toy::Map(Box::new(item()))),
        ("any", Toy::Any),
    ]))
}
