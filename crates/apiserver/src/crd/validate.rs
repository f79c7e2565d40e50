//! Validation: what is wrong with a value under its schema, in the words of Kubernetes.
//!
//! On update, what did not change is not held against the client ("ratcheting").
//! Source: k8s.io/kube-openapi `pkg/validation/validate`; KEP-4008 (CRD validation ratcheting).
use serde_json::Value;

use super::structural::{Additional, Kind, Structural};
use super::{correlate, format, pattern};
use crate::refusal::Cause;

/// What is wrong with an object; `old` is what it replaces.
pub(crate) fn causes(schema: &Structural, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut found = Vec::new();
    let mut outcome = visit(schema, value, old, "");
    found.append(&mut outcome.causes);
    found
}

/// What came of holding a value against a schema.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    causes: Vec<Cause>,
    /// How much of the schema held; of alternatives that all fail, the best is explained.
    held: usize,
}

impl Outcome {
    fn add(&mut self, cause: Option<Cause>) {
        match cause {
            Some(cause) => self.causes.push(cause),
            None => self.held += 1,
        }
    }

    fn take(&mut self, mut other: Self) {
        self.causes.append(&mut other.causes);
        self.held += other.held;
    }

    fn is_good(&self) -> bool {
        self.causes.is_empty()
    }
}

fn visit(schema: &Structural, value: &Value, old: Option<&Value>, path: &str) -> Outcome {
    let mut out = Outcome::default();
    if old == Some(value) {
        return out;
    }
    let of_type = wrong_type(schema, value, path);
    let fits = of_type.is_none();
    out.add(of_type);
    if !value.is_null() {
        alternatives(schema, value, path, &mut out);
        match value {
            Value::String(text) => strings(schema, text, path, &mut out),
            Value::Number(_) if fits => numbers(schema, value, path, &mut out),
            Value::Array(items) => lists(schema, items, old, path, &mut out),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
        }
    }
    let allowed = &schema.limits.allowed;
    let excused = allowed.is_empty() || (value.is_null() && schema.nullable);
    if !excused {
        let good = allowed.iter().any(|one| same(one, value));
        out.add((!good).then(|| Cause::not_supported(name(path), value, &shown(allowed))));
    }
    if value.is_object() {
        objects(schema, value, old, path, &mut out);
    }
    out
}

/// The field that a message names: the whole object is nameless.
fn name(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Whether two values are the same to JSON: 1 and 1.0 are.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a, b), (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64())
}

/// Allowed values as messages list them: text without its quotes.
fn shown(allowed: &[Value]) -> Vec<String> {
    allowed.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect()
}

/// The type JSON gives a value, with the format numbers have by themselves.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn wrong_type(schema: &Structural, value: &Value, path: &str) -> Option<Cause> {
    let types = schema.types();
    let given = type_of(value);
    if types.is_empty() || (value.is_null() && schema.nullable) {
        return None;
    }
    let whole = || value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let fits = types.contains(&given)
        || (given == "number" && types.contains(&"integer") && whole())
        || (given == "integer" && types.contains(&"number"));
    let detail = || format!("{path} in body must be of type {}: \"{given}\"", types.join(","));
    (!fits).then(|| Cause::type_invalid(name(path), &Value::String(given.to_owned()), &detail()))
}

fn strings(schema: &Structural, text: &str, path: &str, out: &mut Outcome) {
    let limits = &schema.limits;
    let value = Value::String(text.to_owned());
    let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    let invalid = |detail: String| Cause::invalid(name(path), &value, &detail);
    if let Some(limit) = limits.max_length {
        let cause = Cause::too_long(name(path), usize::try_from(limit).unwrap_or(usize::MAX));
        out.add((length > limit).then_some(cause));
    }
    if let Some(limit) = limits.min_length {
        let detail = || format!("{path} in body should be at least {limit} chars long");
        out.add((length < limit).then(|| invalid(detail())));
    }
    if let Some(expression) = &limits.pattern {
        // An expression that can't be read does not get into a definition.
        let good = pattern::compile(expression).is_ok_and(|regex| regex.is_match(text));
        out.add((!good).then(|| invalid(format!("{path} in body should match '{expression}'"))));
    }
    if !limits.format.is_empty() && schema.kind == Some(Kind::String) {
        let format = &limits.format;
        let detail = || format!("{path} in body must be of type {format}: {value}");
        let good = format::is_good(format, text);
        out.add((!good).then(|| Cause::type_invalid(name(path), &value, &detail())));
    }
}

fn numbers(schema: &Structural, value: &Value, path: &str, out: &mut Outcome) {
    let limits = &schema.limits;
    let number = value.as_f64().unwrap_or_default();
    let invalid = |detail: String| Cause::invalid(name(path), value, &detail);
    if let Some(problem) = format::out_of_range(&limits.format, value, path) {
        out.add(Some(invalid(problem)));
    }
    if let Some(of) = limits.multiple_of {
        let quotient = number / of;
        let detail = || format!("{path} in body should be a multiple of {of}");
        out.add((quotient != quotient.trunc()).then(|| invalid(detail())));
    }
    if let Some(limit) = limits.maximum {
        let exclusive = limits.exclusive_maximum;
        let good = if exclusive { number < limit } else { number <= limit };
        let words = if exclusive { "less than" } else { "less than or equal to" };
        out.add((!good).then(|| invalid(format!("{path} in body should be {words} {limit}"))));
    }
    if let Some(limit) = limits.minimum {
        let exclusive = limits.exclusive_minimum;
        let good = if exclusive { number > limit } else { number >= limit };
        let words = if exclusive { "greater than" } else { "greater than or equal to" };
        out.add((!good).then(|| invalid(format!("{path} in body should be {words} {limit}"))));
    }
}

fn lists(schema: &Structural, items: &[Value], old: Option<&Value>, path: &str, out: &mut Outcome) {
    let limits = &schema.limits;
    if let Some(of) = &schema.items {
        let before = correlate::Before::new(schema, old);
        for (n, item) in items.iter().enumerate() {
            out.take(visit(of, item, before.item(item), &format!("{path}[{n}]")));
        }
    }
    let count = items.len() as u64;
    if let Some(limit) = limits.min_items {
        let value = Value::from(count);
        let detail = format!("{path} in body should have at least {limit} items");
        out.add((count < limit).then(|| Cause::invalid(name(path), &value, &detail)));
    }
    if let Some(limit) = limits.max_items {
        out.add((count > limit).then(|| Cause::too_many(name(path), count, limit)));
    }
}

fn objects(schema: &Structural, value: &Value, old: Option<&Value>, path: &str, out: &mut Outcome) {
    let Some(fields) = value.as_object() else { return };
    let limits = &schema.limits;
    let count = fields.len() as u64;
    if let Some(limit) = limits.min_properties {
        let detail = format!("{path} in body should have at least {limit} properties");
        let value = Value::from(count);
        out.add((count < limit).then(|| Cause::invalid(name(path), &value, &detail)));
    }
    if let Some(limit) = limits.max_properties {
        out.add((count > limit).then(|| Cause::too_many(name(path), count, limit)));
    }
    let old = old.filter(|_| !schema.atomic);
    for (key, inner) in fields {
        let path = below(path, key);
        let before = old.and_then(|old| old.get(key));
        if let Some(of) = schema.entry(key) {
            out.take(visit(of, inner, before, &path));
        } else if matches!(schema.additional, Some(Additional::Nothing)) {
            let detail = format!("{path} in body is a forbidden property");
            out.add(Some(Cause::invalid(name(&path), inner, &detail)));
        }
    }
    for required in &limits.required {
        let missing = !fields.contains_key(required);
        out.add(missing.then(|| Cause::required(below(path, required), "")));
    }
}

/// What `anyOf`, `oneOf`, `allOf` and `not` have against a value.
fn alternatives(schema: &Structural, value: &Value, path: &str, out: &mut Outcome) {
    let quoted = Value::from(path);
    let invalid = |detail: &str| {
        Some(Cause::invalid("<nil>", &Value::from(""), &format!("{quoted} must {detail}")))
    };
    let hold = |list: &[Structural]| -> Vec<Outcome> {
        list.iter().map(|one| visit(one, value, None, path)).collect()
    };
    if !schema.any_of.is_empty() {
        let outcomes = hold(&schema.any_of);
        if !outcomes.iter().any(Outcome::is_good) {
            out.add(invalid("validate at least one schema (anyOf)"));
            out.take(best(outcomes));
        }
    }
    if !schema.one_of.is_empty() {
        let outcomes = hold(&schema.one_of);
        match outcomes.iter().filter(|outcome| outcome.is_good()).count() {
            0 => {
                out.add(invalid("validate one and only one schema (oneOf). Found none valid"));
                out.take(best(outcomes));
            }
            1 => {}
            many => out.add(invalid(&format!(
                "validate one and only one schema (oneOf). Found {many} valid alternatives"
            ))),
        }
    }
    if !schema.all_of.is_empty() {
        let outcomes = hold(&schema.all_of);
        let good = outcomes.iter().filter(|outcome| outcome.is_good()).count();
        let all = good == outcomes.len();
        outcomes.into_iter().for_each(|outcome| out.take(outcome));
        if !all {
            let none = if good == 0 { ". None validated" } else { "" };
            out.add(invalid(&format!("validate all the schemas (allOf){none}")));
        }
    }
    if let Some(not) = &schema.not
        && visit(not, value, None, path).is_good()
    {
        out.add(invalid("not validate the schema (not)"));
    }
}

/// The first of the outcomes of which most held.
fn best(outcomes: Vec<Outcome>) -> Outcome {
    let better = |best: Outcome, next: Outcome| if next.held > best.held { next } else { best };
    outcomes.into_iter().reduce(better).unwrap_or_default()
}
