//! Evaluation, with every step paid for from a budget.
//!
//! An error inside `&&`, `||`, `all` or `exists` is forgotten if another part decides.
//! Source: github.com/google/cel-spec `doc/langdef.md`, "Logical Operators" and "Macros".
use std::rc::Rc;

use super::ast::{Each, Expr, Node};
use super::functions;
use super::value::{List, Map, Val};

/// Why there is no value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    /// A sentence about the operation that failed.
    Error(String),
    /// The budget is used up.
    Cost,
}

pub(super) type Outcome<'v> = Result<Val<'v>, Failure>;

/// An error with a sentence.
pub(super) fn error<T>(sentence: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Error(sentence.into()))
}

/// Variables, the innermost last.
#[derive(Debug)]
pub(super) struct Scope<'v> {
    pub(super) variables: Vec<(String, Val<'v>)>,
    pub(super) budget: u64,
}

impl<'v> Scope<'v> {
    /// Takes `cost` from the budget.
    pub(super) fn pay(&mut self, cost: u64) -> Result<(), Failure> {
        self.budget = self.budget.checked_sub(cost).ok_or(Failure::Cost)?;
        Ok(())
    }

    pub(super) fn eval(&mut self, expr: &Expr) -> Outcome<'v> {
        self.pay(1)?;
        match &expr.node {
            Node::Null => Ok(Val::Null),
            Node::Bool(truth) => Ok(Val::Bool(*truth)),
            Node::Int(number) => Ok(Val::Int(*number)),
            Node::Uint(number) => Ok(Val::Uint(*number)),
            Node::Double(number) => Ok(Val::Double(*number)),
            Node::String(text) => {
                self.pay(text.len() as u64 / 8)?;
                Ok(Val::string(text.as_str()))
            }
            Node::Bytes(bytes) => Ok(Val::Bytes(bytes.as_slice().into())),
            Node::Name(name) => self.variable(name),
            Node::Select { of, field, optional } => self.select(of, field, *optional),
            Node::Has { of, field } => match self.eval(of)? {
                Val::Map(map) => Ok(Val::Bool(map.select(field).is_some())),
                Val::Optional(inner) => Ok(Val::Bool(member(inner.as_deref(), field).is_some())),
                other => error(format!("no such overload: has({}.{field})", other.type_name())),
            },
            Node::Index { of, at, optional } => self.index(of, at, *optional),
            Node::Call { name, target, args } => self.call(name, target.as_deref(), args),
            Node::List(items) => {
                let items = items.iter().map(|item| self.eval(item)).collect::<Result<_, _>>()?;
                Ok(Val::list(items))
            }
            Node::Map(entries) => self.map(entries),
            Node::Not(inner) => match self.eval(inner)? {
                Val::Bool(truth) => Ok(Val::Bool(!truth)),
                other => error(format!("no such overload: !{}", other.type_name())),
            },
            Node::Negate(inner) => functions::negate(&self.eval(inner)?),
            Node::All(parts) => self.decide(parts, false),
            Node::Any(parts) => self.decide(parts, true),
            Node::Binary { sign, left, right } => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                self.pay((left.weight() + right.weight()) / 4)?;
                self.binary(sign, &left, &right)
            }
            Node::Choice { test, yes, no } => match self.eval(test)? {
                Val::Bool(true) => self.eval(yes),
                Val::Bool(false) => self.eval(no),
                other => error(format!("no such overload: {} ? :", other.type_name())),
            },
            Node::Each { how, over, name, test, body } => {
                let over = self.eval(over)?;
                self.each(*how, over, name, test.as_deref(), body)
            }
        }
    }

    fn variable(&self, name: &str) -> Outcome<'v> {
        let found = self.variables.iter().rev().find(|(own, _)| own == name);
        match (found, name) {
            (Some((_, value)), _) => Ok(value.clone()),
            (
                None,
                "bool" | "int" | "uint" | "double" | "string" | "bytes" | "list" | "map" | "type",
            ) => Ok(Val::Type(functions::type_named(name))),
            (None, _) => error(format!("no such attribute(s): {name}")),
        }
    }

    fn select(&mut self, of: &Expr, field: &str, optional: bool) -> Outcome<'v> {
        let of = self.eval(of)?;
        if let Val::Optional(inner) = &of {
            return Ok(Val::Optional(member(inner.as_deref(), field).map(Rc::new)));
        }
        let found = member(Some(&of), field);
        match (found, &of) {
            (found, _) if optional => Ok(Val::Optional(found.map(Rc::new))),
            (Some(found), _) => Ok(found),
            (None, Val::Map(_)) => error(format!("no such key: {field}")),
            (None, other) => error(format!("no such overload: {}.{field}", other.type_name())),
        }
    }

    fn index(&mut self, of: &Expr, at: &Expr, optional: bool) -> Outcome<'v> {
        let (of, at) = (self.eval(of)?, self.eval(at)?);
        if let Val::Optional(inner) = &of {
            let found = inner.as_deref().and_then(|inner| item(inner, &at));
            return Ok(Val::Optional(found.map(Rc::new)));
        }
        match (item(&of, &at), &of, &at) {
            (found, ..) if optional => Ok(Val::Optional(found.map(Rc::new))),
            (Some(found), ..) => Ok(found),
            (None, Val::List(_), Val::Int(n)) => error(format!("index out of bounds: {n}")),
            (None, Val::Map(_), key) => {
                error(format!("no such key: {}", functions::shown(key).unwrap_or_default()))
            }
            (None, of, at) => {
                error(format!("no such overload: {}[{}]", of.type_name(), at.type_name()))
            }
        }
    }

    fn call(&mut self, name: &str, target: Option<&Expr>, args: &[Expr]) -> Outcome<'v> {
        let mut values = Vec::with_capacity(args.len() + 1);
        for arg in target.into_iter().chain(args) {
            values.push(self.eval(arg)?);
        }
        self.pay(values.iter().map(Val::weight).sum())?;
        functions::call(self, name, &values)
    }

    fn map(&mut self, entries: &[(Expr, Expr)]) -> Outcome<'v> {
        let mut made: Vec<(Val<'v>, Val<'v>)> = Vec::new();
        for (key, value) in entries {
            let (key, value) = (self.eval(key)?, self.eval(value)?);
            self.pay(made.len() as u64)?;
            if made.iter().any(|(own, _)| own.equals(&key)) {
                let key = functions::shown(&key).unwrap_or_default();
                return error(format!("Failed with repeated key {key}"));
            }
            made.push((key, value));
        }
        Ok(Val::Map(Map::Made(Rc::new(made))))
    }

    /// `&&` and `||`: the first part that is `decisive` is the outcome.
    fn decide(&mut self, parts: &[Expr], decisive: bool) -> Outcome<'v> {
        let mut failure = None;
        for part in parts {
            match self.eval(part) {
                Ok(Val::Bool(truth)) if truth == decisive => return Ok(Val::Bool(decisive)),
                Ok(Val::Bool(_)) => {}
                Ok(other) => {
                    let sign = if decisive { "||" } else { "&&" };
                    failure = Some(format!("no such overload: {} {sign}", other.type_name()));
                }
                Err(Failure::Cost) => return Err(Failure::Cost),
                Err(Failure::Error(sentence)) => failure = Some(sentence),
            }
        }
        failure.map_or(Ok(Val::Bool(!decisive)), error)
    }

    fn binary(&mut self, sign: &str, left: &Val<'v>, right: &Val<'v>) -> Outcome<'v> {
        let ordered = |good: fn(std::cmp::Ordering) -> bool| match left.order(right) {
            Some(order) => Ok(Val::Bool(good(order))),
            None => overload(sign, left, right),
        };
        match sign {
            "==" | "!=" => {
                self.pay(deep_weight(left).min(deep_weight(right)))?;
                Ok(Val::Bool(left.equals(right) == (sign == "==")))
            }
            "<" => ordered(std::cmp::Ordering::is_lt),
            "<=" => ordered(std::cmp::Ordering::is_le),
            ">" => ordered(std::cmp::Ordering::is_gt),
            ">=" => ordered(std::cmp::Ordering::is_ge),
            "in" => match right {
                Val::List(list) => {
                    self.pay(list.iter().map(|item| deep_weight(&item)).sum())?;
                    Ok(Val::Bool(list.iter().any(|item| item.equals(left))))
                }
                Val::Map(map) => Ok(Val::Bool(map.get(left).is_some())),
                _ => overload(sign, left, right),
            },
            _ => {
                if let (Val::List(a), Val::List(b)) = (left, right) {
                    let each = if a.is_set() { a.len() as u64 + b.len() as u64 } else { 1 };
                    self.pay((a.len() + b.len()) as u64 * each)?;
                }
                functions::arithmetic(sign, left, right)
                    .unwrap_or_else(|| overload(sign, left, right))
            }
        }
    }

    fn each(
        &mut self,
        how: Each,
        over: Val<'v>,
        name: &str,
        test: Option<&Expr>,
        body: &Expr,
    ) -> Outcome<'v> {
        let items = match (how, over) {
            (Each::OptMap | Each::OptFlatMap, Val::Optional(inner)) => {
                let Some(inner) = inner else { return Ok(Val::Optional(None)) };
                let value = self.with(name, inner.as_ref().clone(), body)?;
                return Ok(if how == Each::OptMap { value.some() } else { value });
            }
            (_, Val::List(list)) => list,
            (_, Val::Map(map)) => List::Made(Rc::new(map.keys())),
            (_, other) => return error(format!("no such overload: {}.{name}", other.type_name())),
        };
        match how {
            Each::All => self.quantify(&items, name, body, false),
            Each::Exists => self.quantify(&items, name, body, true),
            Each::ExistsOne => {
                let mut count = 0;
                for item in items.iter() {
                    count += usize::from(self.holds(name, item, body)?);
                }
                Ok(Val::Bool(count == 1))
            }
            Each::Filter => {
                let mut kept = Vec::new();
                for item in items.iter() {
                    if self.holds(name, item.clone(), body)? {
                        kept.push(item);
                    }
                }
                Ok(Val::list(kept))
            }
            Each::Map | Each::OptMap | Each::OptFlatMap => {
                let mut made = Vec::new();
                for item in items.iter() {
                    let wanted = match test {
                        Some(test) => self.holds(name, item.clone(), test)?,
                        None => true,
                    };
                    if wanted {
                        made.push(self.with(name, item, body)?);
                    }
                }
                Ok(Val::list(made))
            }
        }
    }

    /// `all` and `exists`: the first item for which the body is `decisive` is the outcome.
    fn quantify(
        &mut self,
        items: &List<'v>,
        name: &str,
        body: &Expr,
        decisive: bool,
    ) -> Outcome<'v> {
        let mut failure = None;
        for item in items.iter() {
            match self.holds(name, item, body) {
                Ok(truth) if truth == decisive => return Ok(Val::Bool(decisive)),
                Ok(_) => {}
                Err(Failure::Cost) => return Err(Failure::Cost),
                Err(other) => failure = Some(other),
            }
        }
        failure.map_or(Ok(Val::Bool(!decisive)), Err)
    }

    fn holds(&mut self, name: &str, item: Val<'v>, body: &Expr) -> Result<bool, Failure> {
        match self.with(name, item, body)? {
            Val::Bool(truth) => Ok(truth),
            other => error(format!("no such overload: {} as a condition", other.type_name())),
        }
    }

    /// The value of `body` where `name` stands for `item`.
    fn with(&mut self, name: &str, item: Val<'v>, body: &Expr) -> Outcome<'v> {
        self.pay(item.weight() / 4)?;
        self.variables.push((name.to_owned(), item));
        let value = self.eval(body);
        self.variables.pop();
        value
    }
}

/// The field of a map, or none.
fn member<'v>(of: Option<&Val<'v>>, field: &str) -> Option<Val<'v>> {
    match of? {
        Val::Map(map) => map.select(field),
        _ => None,
    }
}

fn item<'v>(of: &Val<'v>, at: &Val<'v>) -> Option<Val<'v>> {
    match (of, at) {
        (Val::List(list), Val::Int(n)) => list.get(usize::try_from(*n).ok()?),
        (Val::List(list), Val::Uint(n)) => list.get(usize::try_from(*n).ok()?),
        (Val::Map(map), key) => map.get(key),
        _ => None,
    }
}

fn overload<'v>(sign: &str, left: &Val<'v>, right: &Val<'v>) -> Outcome<'v> {
    error(format!("no such overload: {} {sign} {}", left.type_name(), right.type_name()))
}

/// How much work it is to compare a value with another, at any depth.
fn deep_weight(value: &Val<'_>) -> u64 {
    match value {
        Val::List(list) => {
            let items: u64 = list.iter().map(|item| deep_weight(&item)).sum();
            1 + items * if list.is_set() { 1 + list.len() as u64 } else { 1 }
        }
        Val::Map(map) => {
            let keys = map.keys();
            let inner = keys.iter().filter_map(|key| map.get(key)).map(|value| deep_weight(&value));
            1 + keys.len() as u64 + inner.sum::<u64>()
        }
        other => other.weight(),
    }
}
