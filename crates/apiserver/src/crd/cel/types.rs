//! Types of expressions: what a rule may do with the fields it names, before there is an object.
//!
//! Source: github.com/google/cel-spec `doc/langdef.md`, "Gradual Type Checking"; Kubernetes
//! "Type system integration" of validation rules.
use std::fmt;

use super::ast::{Each, Expr, Node};
use super::lex::Problem;
use super::signature::SIGNATURES;
use super::value::unescape;
use crate::crd::structural::{Additional, Kind, Structural};

#[derive(Debug, Clone)]
pub(super) enum Type<'s> {
    /// Known when it is evaluated.
    Any,
    Simple(&'static str),
    List(Box<Type<'s>>),
    Map(Box<Type<'s>>),
    Optional(Box<Type<'s>>),
    /// An object with properties; a whole object has metadata too.
    Struct(&'s Structural, bool),
    /// The metadata of a whole object, of which the names are known.
    Metadata,
}

pub(super) const BOOL: Type<'static> = Type::Simple("bool");
pub(super) const STRING: Type<'static> = Type::Simple("string");
const INT: Type<'static> = Type::Simple("int");

impl<'s> Type<'s> {
    /// The type of values of `schema`.
    pub(super) fn of(schema: &'s Structural, whole: bool) -> Self {
        if schema.int_or_string {
            return Self::Any;
        }
        match schema.kind {
            None => Self::Any,
            Some(Kind::Boolean) => BOOL,
            Some(Kind::Integer) => INT,
            Some(Kind::Number) => Self::Simple("double"),
            Some(Kind::String) => Self::Simple(match schema.limits.format.as_str() {
                "byte" => "bytes",
                "duration" => "duration",
                "date" | "date-time" | "datetime" => "time",
                _ => "string",
            }),
            Some(Kind::Array) => {
                let item = schema.items.as_deref().map_or(Self::Any, |of| Self::of(of, false));
                Self::List(Box::new(item))
            }
            Some(Kind::Object) => match &schema.additional {
                _ if whole || schema.embedded => Self::Struct(schema, true),
                Some(Additional::Of(inner)) => Self::Map(Box::new(Self::of(inner, inner.embedded))),
                _ if schema.preserves && schema.properties.is_empty() => Self::Any,
                Some(Additional::Anything | Additional::Nothing) | None => {
                    Self::Struct(schema, false)
                }
            },
        }
    }

    /// Whether a value of one may stand where the other is wanted.
    fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Simple(a), Self::Simple(b)) => a == b,
            (Self::List(a), Self::List(b))
            | (Self::Map(a), Self::Map(b))
            | (Self::Optional(a), Self::Optional(b)) => a.fits(b),
            (Self::Struct(a, _), Self::Struct(b, _)) => std::ptr::eq(*a, *b),
            (Self::Metadata, Self::Metadata) => true,
            _ => false,
        }
    }

    fn is(&self, names: &[&str]) -> bool {
        matches!(self, Self::Any) || matches!(self, Self::Simple(name) if names.contains(name))
    }

    pub(super) fn is_bool(&self) -> bool {
        self.is(&["bool"])
    }

    pub(super) fn is_string(&self) -> bool {
        self.is(&["string"])
    }

    /// What a list or optional holds.
    fn inner(&self) -> Self {
        match self {
            Self::List(inner) | Self::Optional(inner) => inner.as_ref().clone(),
            Self::Any | Self::Simple(_) | Self::Map(_) | Self::Struct(..) | Self::Metadata => {
                Self::Any
            }
        }
    }

    /// The type of a field, or none if there can't be such a field.
    fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::Any => Some(Self::Any),
            Self::Map(value) => Some(value.as_ref().clone()),
            Self::Optional(inner) => inner.field(name).map(|of| Self::Optional(Box::new(of))),
            Self::Metadata => matches!(name, "name" | "generateName").then_some(STRING),
            Self::Struct(_, true) if name == "metadata" => Some(Self::Metadata),
            Self::Struct(_, true) if matches!(name, "apiVersion" | "kind") => Some(STRING),
            Self::Struct(of, _) => {
                let property = of.properties.get(unescape(name).as_ref())?;
                Some(Self::of(property, property.embedded))
            }
            Self::Simple(_) | Self::List(_) => None,
        }
    }

    /// A type as the table of signatures names it.
    fn named(word: &str, held: &Self) -> Self {
        let inside = |of: &str| word.strip_prefix(of)?.strip_prefix('<')?.strip_suffix('>');
        if let Some(inner) = inside("list") {
            return Self::List(Box::new(Self::named(inner, held)));
        }
        if let Some(inner) = inside("optional") {
            return Self::Optional(Box::new(Self::named(inner, held)));
        }
        match word {
            "T" => held.clone(),
            "any" => Self::Any,
            "list" => Self::List(Box::new(Self::Any)),
            "map" => Self::Map(Box::new(Self::Any)),
            "optional" => Self::Optional(Box::new(Self::Any)),
            _ => {
                let known = SIMPLE.into_iter().find(|name| *name == word);
                Self::Simple(known.expect("the test of the table knows all its words"))
            }
        }
    }
}

/// The types without parts.
const SIMPLE: [&str; 15] = [
    "bool", "int", "uint", "double", "string", "bytes", "time", "duration", "type", "ip", "cidr",
    "url", "quantity", "format", "null",
];

impl fmt::Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("dyn"),
            Self::Simple("time") => f.write_str("timestamp"),
            Self::Simple(name) => f.write_str(name),
            Self::List(inner) => write!(f, "list({inner})"),
            Self::Map(inner) => write!(f, "map(string, {inner})"),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Struct(..) | Self::Metadata => f.write_str("object"),
        }
    }
}

/// Variables with their types, the innermost last.
pub(super) struct Checker<'s> {
    pub(super) variables: Vec<(String, Type<'s>)>,
}

type Checked<'s> = Result<Type<'s>, Problem>;

impl<'s> Checker<'s> {
    /// The type of `expr`.
    ///
    /// # Errors
    /// The first thing in it that can't work.
    pub(super) fn check(&mut self, expr: &Expr) -> Checked<'s> {
        let at = expr.at;
        match &expr.node {
            Node::Null => Ok(Type::Simple("null")),
            Node::Bool(_) => Ok(BOOL),
            Node::Int(_) => Ok(INT),
            Node::Uint(_) => Ok(Type::Simple("uint")),
            Node::Double(_) => Ok(Type::Simple("double")),
            Node::String(_) => Ok(STRING),
            Node::Bytes(_) => Ok(Type::Simple("bytes")),
            Node::Name(name) => self.variable(name, at),
            Node::Has { of, field } => {
                let of = self.check(of)?;
                of.field(field).map(|_| BOOL).ok_or_else(|| undefined(at, field))
            }
            Node::Select { of, field, optional } => {
                let of = self.check(of)?;
                let found = of.field(field).ok_or_else(|| undefined(at, field))?;
                let wrap = *optional && !matches!(of, Type::Optional(_));
                Ok(if wrap { Type::Optional(Box::new(found)) } else { found })
            }
            Node::Index { of, at: key, optional } => self.index(of, key, *optional, at),
            Node::Call { name, target, args } => self.call(name, target.as_deref(), args, at),
            Node::List(items) => {
                let types =
                    items.iter().map(|item| self.check(item)).collect::<Result<Vec<_>, _>>()?;
                Ok(Type::List(Box::new(common(&types))))
            }
            Node::Map(entries) => {
                let mut types = Vec::new();
                for (key, value) in entries {
                    self.check(key)?;
                    types.push(self.check(value)?);
                }
                Ok(Type::Map(Box::new(common(&types))))
            }
            Node::Not(inner) => self.wants_bool(inner, "!_"),
            Node::Negate(inner) => {
                let of = self.check(inner)?;
                let good = of.is(&["int", "double", "duration"]);
                if good { Ok(of) } else { Err(no_overload(at, "-_", &[of], false)) }
            }
            Node::All(parts) => self.all_bool(parts, "_&&_"),
            Node::Any(parts) => self.all_bool(parts, "_||_"),
            Node::Binary { sign, left, right } => self.binary(sign, left, right, at),
            Node::Choice { test, yes, no } => {
                self.wants_bool(test, "_?_:_")?;
                let (yes, no) = (self.check(yes)?, self.check(no)?);
                if yes.fits(&no) {
                    Ok(if matches!(yes, Type::Any) { no } else { yes })
                } else {
                    Err(no_overload(at, "_?_:_", &[BOOL, yes, no], false))
                }
            }
            Node::Each { how, over, name, test, body } => {
                self.each(*how, over, name, test.as_deref(), body)
            }
        }
    }

    fn variable(&self, name: &str, at: usize) -> Checked<'s> {
        let found = self.variables.iter().rev().find(|(own, _)| own == name);
        let is_type = matches!(
            name,
            "bool" | "int" | "uint" | "double" | "string" | "bytes" | "list" | "map" | "type"
        );
        match found {
            Some((_, of)) => Ok(of.clone()),
            None if is_type => Ok(Type::Simple("type")),
            None => Err((at, format!("undeclared reference to '{name}' (in container '')"))),
        }
    }

    fn index(&mut self, of: &Expr, key: &Expr, optional: bool, at: usize) -> Checked<'s> {
        let (of, key) = (self.check(of)?, self.check(key)?);
        let (held, wrapped) = match &of {
            Type::Optional(inner) => (inner.as_ref(), true),
            other => (other, false),
        };
        let found = match held {
            Type::Any => Type::Any,
            Type::List(item) if key.is(&["int", "uint"]) => item.as_ref().clone(),
            Type::Map(value) if key.is_string() => value.as_ref().clone(),
            _ => return Err(no_overload(at, "_[_]", &[of, key], false)),
        };
        Ok(if optional || wrapped { Type::Optional(Box::new(found)) } else { found })
    }

    fn call(&mut self, name: &str, target: Option<&Expr>, args: &[Expr], at: usize) -> Checked<'s> {
        let mut given = Vec::new();
        for arg in target.into_iter().chain(args) {
            given.push(self.check(arg)?);
        }
        let method = target.is_some();
        let mut known = false;
        for signature in SIGNATURES.iter().filter(|s| s.name == name && s.method == method) {
            known = true;
            let takes = signature.takes.iter().map(|word| Type::named(word, &Type::Any));
            let fits = signature.takes.len() == given.len()
                && given.iter().zip(takes).all(|(given, takes)| given.fits(&takes));
            if fits {
                let held = given.first().map_or(Type::Any, Type::inner);
                return Ok(Type::named(signature.gives, &held));
            }
        }
        if known {
            return Err(no_overload(at, name, &given, method));
        }
        Err((at, format!("undeclared reference to '{name}' (in container '')")))
    }

    fn wants_bool(&mut self, expr: &Expr, sign: &str) -> Checked<'s> {
        let of = self.check(expr)?;
        if of.is_bool() { Ok(BOOL) } else { Err(no_overload(expr.at, sign, &[of], false)) }
    }

    fn all_bool(&mut self, parts: &[Expr], sign: &str) -> Checked<'s> {
        for part in parts {
            self.wants_bool(part, sign)?;
        }
        Ok(BOOL)
    }

    fn binary(&mut self, sign: &str, left: &Expr, right: &Expr, at: usize) -> Checked<'s> {
        let (left, right) = (self.check(left)?, self.check(right)?);
        let null = left.is(&["null"]) || right.is(&["null"]);
        let gives = match (sign, &left, &right) {
            ("==" | "!=", ..) => (null || left.fits(&right)).then_some(BOOL),
            ("in", item, Type::List(inner)) => item.fits(inner).then_some(BOOL),
            ("in", key, Type::Map(_)) => key.is_string().then_some(BOOL),
            ("in", _, Type::Any) => Some(BOOL),
            ("<" | "<=" | ">" | ">=", Type::Simple(a), Type::Simple(b)) => {
                let numbers = ["int", "uint", "double"];
                let ordered = ["bool", "string", "bytes", "time", "duration"];
                let good =
                    (a == b && ordered.contains(a)) || (numbers.contains(a) && numbers.contains(b));
                good.then_some(BOOL)
            }
            ("<" | "<=" | ">" | ">=", Type::Any, _) | ("<" | "<=" | ">" | ">=", _, Type::Any) => {
                Some(BOOL)
            }
            ("+", Type::List(_), Type::List(_)) => left.fits(&right).then(|| left.clone()),
            ("+" | "-" | "*" | "/" | "%", ..) => arithmetic(sign, &left, &right),
            _ => None,
        };
        gives.ok_or_else(|| no_overload(at, &format!("_{sign}_"), &[left, right], false))
    }

    fn each(
        &mut self,
        how: Each,
        over: &Expr,
        name: &str,
        test: Option<&Expr>,
        body: &Expr,
    ) -> Checked<'s> {
        let of = self.check(over)?;
        let optional = matches!(how, Each::OptMap | Each::OptFlatMap);
        let item = match &of {
            Type::Any => Type::Any,
            Type::Optional(inner) if optional => inner.as_ref().clone(),
            Type::List(item) if !optional => item.as_ref().clone(),
            Type::Map(_) if !optional => STRING,
            _ => {
                let problem = format!(
                    "expression of type '{of}' cannot be range of a comprehension \
                    (must be list, map, or dynamic)"
                );
                return Err((over.at, problem));
            }
        };
        self.variables.push((name.to_owned(), item.clone()));
        let checked = test.map_or(Ok(BOOL), |test| self.wants_bool(test, "_?_:_"));
        let checked = checked.and_then(|_| self.check(body));
        self.variables.pop();
        let made = checked?;
        match how {
            Each::Map => Ok(Type::List(Box::new(made))),
            Each::OptMap => Ok(Type::Optional(Box::new(made))),
            Each::OptFlatMap => Ok(made),
            Each::All | Each::Exists | Each::ExistsOne | Each::Filter if !made.is_bool() => {
                Err(no_overload(body.at, "_&&_", &[BOOL, made], false))
            }
            Each::All | Each::Exists | Each::ExistsOne => Ok(BOOL),
            Each::Filter => Ok(Type::List(Box::new(item))),
        }
    }
}

fn arithmetic<'s>(sign: &str, left: &Type<'s>, right: &Type<'s>) -> Option<Type<'s>> {
    if matches!(left, Type::Any) || matches!(right, Type::Any) {
        return Some(Type::Any);
    }
    let (Type::Simple(a), Type::Simple(b)) = (left, right) else { return None };
    let gives = match (*a, sign, *b) {
        ("int", _, "int") => "int",
        ("uint", _, "uint") => "uint",
        ("double", "+" | "-" | "*" | "/", "double") => "double",
        ("string", "+", "string") => "string",
        ("bytes", "+", "bytes") => "bytes",
        ("duration", "+" | "-", "duration") | ("time", "-", "time") => "duration",
        ("time", "+" | "-", "duration") | ("duration", "+", "time") => "time",
        _ => return None,
    };
    Some(Type::Simple(gives))
}

/// The type of all of `types`, if they have one.
fn common<'s>(types: &[Type<'s>]) -> Type<'s> {
    match types.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other.fits(first)) => first.clone(),
        _ => Type::Any,
    }
}

fn undefined(at: usize, field: &str) -> Problem {
    (at, format!("undefined field '{field}'"))
}

fn no_overload(at: usize, name: &str, given: &[Type<'_>], method: bool) -> Problem {
    let names: Vec<String> = given.iter().map(Type::to_string).collect();
    let shown = match names.split_first() {
        Some((of, rest)) if method => format!("{of}.({})", rest.join(", ")),
        _ => format!("({})", names.join(", ")),
    };
    (at, format!("found no matching overload for '{name}' applied to '{shown}'"))
}
