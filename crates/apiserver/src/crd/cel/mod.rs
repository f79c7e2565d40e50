//! The Common Expression Language, as far as the rules of custom kinds use it.
//!
//! An expression is read, checked against the types of the schema it stands in, and evaluated
//! within a budget. Why this is our own: `docs/decisions`, "Rules are evaluated by our own
//! evaluator".
mod ast;
mod eval;
mod functions;
mod lex;
mod net;
mod parse;
mod signature;
mod types;
mod value;

use serde_json::Value;

use super::structural::Structural;
use crate::quantity::Quantity;
use ast::Expr;
use eval::{Failure, Scope};
use types::{Checker, Type};
use value::Val;

/// A program that is known to be well typed.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    expr: Expr,
    /// Whether it looks at what was there before.
    pub(crate) uses_old: bool,
}

/// What a program must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gives {
    Bool,
    String,
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Bool(bool),
    String(String),
    /// It failed, with a sentence.
    Error(String),
    /// It went over its budget.
    TooExpensive,
}

/// What a program is evaluated with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'v> {
    pub(crate) schema: &'v Structural,
    pub(crate) value: &'v Value,
    /// What was there before, if it is known which it was.
    pub(crate) old: Option<&'v Value>,
    /// Whether `oldSelf` may be missing, and is an optional therefore.
    pub(crate) optional_old: bool,
}

impl Program {
    /// Reads `text`, a program about values of `schema`.
    ///
    /// # Errors
    /// What is wrong with it, drawn as Kubernetes draws it.
    pub(crate) fn compile(
        text: &str,
        schema: &Structural,
        whole: bool,
        optional_old: bool,
        gives: Gives,
    ) -> Result<Self, String> {
        let expr = parse::parse(text).map_err(|problem| drawn(text, &problem))?;
        let of = Type::of(schema, whole);
        let before = if optional_old { Type::Optional(Box::new(of.clone())) } else { of.clone() };
        let variables = vec![("self".to_owned(), of), ("oldSelf".to_owned(), before)];
        let given = Checker { variables }.check(&expr).map_err(|problem| drawn(text, &problem))?;
        match gives {
            Gives::Bool if !given.is_bool() => Err("cel expression must evaluate to a bool".into()),
            Gives::String if !given.is_string() => {
                Err("messageExpression must evaluate to a string".into())
            }
            Gives::Bool | Gives::String => {
                let uses_old = expr.node.mentions("oldSelf");
                Ok(Self { expr, uses_old })
            }
        }
    }

    /// Evaluates the program with at most `budget` steps, and takes off what it took.
    pub(crate) fn run(&self, place: &Place<'_>, budget: &mut u64, most: u64) -> Answer {
        let allowed = most.min(*budget);
        let mut variables = vec![("self".to_owned(), Val::json(place.value, Some(place.schema)))];
        let old = place.old.map(|old| Val::json(old, Some(place.schema)));
        match old {
            Some(old) if place.optional_old => variables.push(("oldSelf".to_owned(), old.some())),
            Some(old) => variables.push(("oldSelf".to_owned(), old)),
            None if place.optional_old => {
                variables.push(("oldSelf".to_owned(), Val::Optional(None)));
            }
            None => {}
        }
        let mut scope = Scope { variables, budget: allowed };
        let outcome = scope.eval(&self.expr);
        *budget -= allowed - scope.budget;
        match outcome {
            Ok(Val::Bool(truth)) => Answer::Bool(truth),
            Ok(Val::String(text)) => Answer::String(text.into_owned()),
            Ok(other) => Answer::Error(format!("unexpected {}", other.type_name())),
            Err(Failure::Error(sentence)) => Answer::Error(sentence),
            Err(Failure::Cost) => Answer::TooExpensive,
        }
    }
}

/// A problem under the line it is in.
fn drawn(text: &str, (at, sentence): &(usize, String)) -> String {
    let before: Vec<char> = text.chars().take(*at).collect();
    let line = before.iter().filter(|letter| **letter == '\n').count();
    let column = before.iter().rev().take_while(|letter| **letter != '\n').count();
    let shown = text.lines().nth(line).unwrap_or_default();
    let dots = ".".repeat(column);
    format!(
        "compilation failed: ERROR: <input>:{}:{}: {sentence}\n | {shown}\n | {dots}^",
        line + 1,
        column + 1
    )
}

/// A quantity (`500m`, `1Gi`) as a number.
fn quantity(text: &str) -> Option<f64> {
    Quantity::parse(text).ok().map(|quantity| quantity.approximate())
}

#[cfg(test)]
mod tests;
