//! The rules of `x-kubernetes-validations`: read with their schema, and held against objects.
//!
//! Source: apiextensions/v1 `ValidationRule`; apiextensions-apiserver
//! `pkg/apiserver/schema/cel/validation.go`.
use serde_json::Value;

use super::cel::{Answer, Gives, Place, Program};
use super::correlate::Before;
use super::structural::{Additional, Kind, Structural};
use crate::refusal::Cause;

/// How many steps all rules about one object may take, and how many one of them.
const BUDGET: u64 = 10_000_000;
const EACH: u64 = 1_000_000;
/// The longest message an expression may make, in bytes.
const LONGEST: usize = 5 * 1024;

/// A rule, read.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    program: Program,
    text: String,
    message: String,
    message_expression: Option<Program>,
    reason: String,
    /// The field that a message names, below the value.
    field_path: String,
    optional_old: bool,
}

/// Reads the rules of `schema`, which describes values of `of`; those that can't be read do not
/// get into a definition.
pub(super) fn read(schema: &Value, of: &Structural, whole: bool) -> Vec<Rule> {
    let rules = schema["x-kubernetes-validations"].as_array();
    rules.into_iter().flatten().filter_map(|rule| Rule::read(rule, of, whole)).collect()
}

impl Rule {
    fn read(rule: &Value, of: &Structural, whole: bool) -> Option<Self> {
        let text = |field: &str| rule[field].as_str().unwrap_or("").trim().to_owned();
        let optional_old = rule["optionalOldSelf"] == true;
        let program = compile(rule, "rule", of, whole, Gives::Bool).ok()?;
        let message = compile(rule, "messageExpression", of, whole, Gives::String).ok();
        Some(Self {
            program,
            text: text("rule"),
            message: text("message"),
            message_expression: message.filter(|_| rule["messageExpression"].is_string()),
            reason: text("reason"),
            field_path: path_below(of, &text("fieldPath")).unwrap_or_default(),
            optional_old,
        })
    }

    /// What the rule is called in a message about it.
    fn name(&self) -> &str {
        if self.message.is_empty() { &self.text } else { &self.message }
    }
}

/// The program in a rule's `field`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn compile(
    rule: &Value,
    field: &str,
    of: &Structural,
    whole: bool,
    gives: Gives,
) -> Result<Program, String> {
    let text = rule[field].as_str().unwrap_or("");
    Program::compile(text, of, whole, rule["optionalOldSelf"] == true, gives)
}

/// The path that `.a['b'].c` names in values of `schema`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn path_below(schema: &Structural, path: &str) -> Result<String, String> {
    let (mut at, mut rest, mut out) = (schema, path, String::new());
    while !rest.is_empty() {
        let name = if let Some(after) = rest.strip_prefix("['") {
            let end = after.find("']").ok_or("unexpected end of JSON path")?;
            rest = &after[end + 2..];
            after[..end].replace("\\'", "'")
        } else if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            rest = &after[end..];
            after[..end].to_owned()
        } else {
            return Err(format!("expected [ or . but got: {rest}"));
        };
        let property = at.properties.contains_key(&name);
        at = at.entry(&name).ok_or("does not refer to a valid field")?;
        match property {
            true => out.push_str(&format!(".{name}")),
            false => out.push_str(&format!("[{name}]")),
        }
    }
    Ok(out)
}

/// What the rules have against an object; `old` is what it replaces.
pub(super) fn causes(schema: &Structural, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut walk = Walk { budget: BUDGET, found: Vec::new() };
    if schema.has_rules {
        walk.visit(schema, value, old, "");
    }
    walk.found
}

/// A walk over an object; once the budget is used up, it is over.
struct Walk {
    budget: u64,
    found: Vec<Cause>,
}

impl Walk {
    fn visit(&mut self, schema: &Structural, value: &Value, old: Option<&Value>, path: &str) {
        if !schema.has_rules || value.is_null() {
            return;
        }
        for rule in &schema.rules {
            if self.budget == 0 {
                return;
            }
            self.hold(rule, schema, value, old, path);
        }
        if let (Some(of), Some(items)) = (&schema.items, value.as_array()) {
            let before = Before::new(schema, old);
            for (n, item) in items.iter().enumerate() {
                self.visit(of, item, before.item(item), &format!("{path}[{n}]"));
            }
        }
        let old = old.filter(|_| !schema.atomic);
        for (name, inner) in super::entries(value) {
            let before = old.and_then(|old| old.get(name));
            let path = match schema.properties.contains_key(name) {
                _ if path.is_empty() => name.clone(),
                true => format!("{path}.{name}"),
                false => format!("{path}[{name}]"),
            };
            if let Some(of) = schema.entry(name) {
                self.visit(of, inner, before, &path);
            }
        }
    }

    fn hold(
        &mut self,
        rule: &Rule,
        schema: &Structural,
        value: &Value,
        old: Option<&Value>,
        path: &str,
    ) {
        let uses_old = rule.program.uses_old;
        // What compares with what was there before says nothing about what is new.
        if uses_old && old.is_none() && !rule.optional_old {
            return;
        }
        // What did not change is not held against the client.
        if !uses_old && old == Some(value) {
            return;
        }
        let place = Place { schema, value, old, optional_old: rule.optional_old };
        let path = if path.is_empty() { "<nil>" } else { path };
        let kind = Value::from(schema.kind.map_or("", Kind::name));
        let invalid = |detail: &str| Cause::invalid(path, &kind, detail);
        match rule.program.run(&place, &mut self.budget, EACH) {
            Answer::Bool(true) => {}
            Answer::Bool(false) => {
                let message = self.message(rule, &place);
                self.found.push(broken(rule, schema, value, path, &message));
            }
            Answer::String(_) => self.found.push(invalid("must evaluate to a bool")),
            Answer::Error(error) if error.starts_with("no such overload") => {
                self.found.push(invalid(&format!(
                    "'{error}': call arguments did not match a supported operator, function or \
                     macro signature for rule: {}",
                    rule.name()
                )));
            }
            Answer::Error(error) => {
                self.found.push(invalid(&format!("{error} evaluating rule: {}", rule.name())));
            }
            Answer::TooExpensive => {
                let detail = if self.budget == 0 {
                    "validation failed due to running out of cost budget, no further validation \
                     rules will be run"
                        .to_owned()
                } else {
                    format!(
                        "'operation cancelled: actual cost limit exceeded': no further validation \
                         rules will be run due to call cost exceeds limit for rule: {}",
                        rule.name()
                    )
                };
                self.found.push(invalid(&detail));
                self.budget = 0;
            }
        }
    }

    /// What a broken rule says: what its expression makes, if that is a line of text.
    fn message(&mut self, rule: &Rule, place: &Place<'_>) -> String {
        if let Some(program) = &rule.message_expression
            && let Answer::String(text) = program.run(place, &mut self.budget, EACH)
        {
            let text = text.trim();
            if !text.is_empty() && text.len() <= LONGEST && !text.contains('\n') {
                return text.to_owned();
            }
        }
        match rule.message.as_str() {
            "" => format!("failed rule: {}", rule.text),
            message => message.to_owned(),
        }
    }
}

fn broken(rule: &Rule, schema: &Structural, value: &Value, path: &str, message: &str) -> Cause {
    let path = match (path, rule.field_path.as_str()) {
        (path, "") => path.to_owned(),
        ("<nil>", below) => below.trim_start_matches('.').to_owned(),
        (path, below) => format!("{path}{below}"),
    };
    match rule.reason.as_str() {
        "FieldValueForbidden" => Cause::forbidden(path, message),
        "FieldValueRequired" => Cause::required(path, message),
        "FieldValueDuplicate" => Cause::duplicate(path, value),
        _ if matches!(schema.kind, Some(Kind::Object | Kind::Array)) => {
            Cause::invalid_whole(path, message)
        }
        _ => Cause::invalid(path, value, message),
    }
}

/// Whether a list or object tells which of its parts was which before.
pub(super) fn correlates(schema: &Value) -> bool {
    match schema["type"].as_str() {
        Some("array") => schema["x-kubernetes-list-type"] == "map",
        _ => schema["x-kubernetes-map-type"] != "atomic",
    }
}

/// The schema of entries that no property names.
pub(super) fn additional(schema: &Structural) -> Option<&Structural> {
    match &schema.additional {
        Some(Additional::Of(inner)) => Some(inner),
        Some(Additional::Anything | Additional::Nothing) | None => None,
    }
}
