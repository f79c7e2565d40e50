//! Whether the rules of a schema can be read, and make sense where they stand.
//!
//! Source: apiextensions-apiserver `ValidateCustomResourceDefinitionOpenAPISchema`, `XValidations`.
use serde_json::Value;

use crate::crd::cel::Gives;
use crate::crd::{Structural, entries, rule};
use crate::refusal::Cause;

/// The reasons a rule may give.
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// What is wrong with the rules of a sound `schema`.
pub(super) fn causes(schema: &Value, path: &str) -> Vec<Cause> {
    let mut found = Vec::new();
    visit(schema, &Structural::read_whole(schema), path, true, None, &mut found);
    found
}

fn visit(
    schema: &Value,
    of: &Structural,
    path: &str,
    whole: bool,
    uncorrelated: Option<&str>,
    found: &mut Vec<Cause>,
) {
    let rules = schema["x-kubernetes-validations"].as_array();
    for (n, rule) in rules.into_iter().flatten().enumerate() {
        let path = format!("{path}.x-kubernetes-validations[{n}]");
        form(rule, of, &path, found);
        programs(rule, of, &path, whole || of.embedded, uncorrelated, found);
    }
    // Below what can't be told apart, nothing is known of what was before.
    let below = uncorrelated.or((!rule::correlates(schema)).then_some(path));
    for (name, property) in entries(&schema["properties"]) {
        if let Some(of) = of.properties.get(name) {
            visit(property, of, &format!("{path}.properties[{name}]"), false, below, found);
        }
    }
    if let Some(of) = &of.items {
        visit(&schema["items"], of, &format!("{path}.items"), false, below, found);
    }
    if let Some(of) = rule::additional(of) {
        let path = format!("{path}.additionalProperties");
        visit(&schema["additionalProperties"], of, &path, false, uncorrelated, found);
    }
}

/// What a rule must and must not say besides its programs.
fn form(rule: &Value, of: &Structural, path: &str, found: &mut Vec<Cause>) {
    let text = |field: &str| rule[field].as_str().unwrap_or("");
    let lines = |text: &str| text.trim().contains(['\n', '\r']);
    let (message, field_path) = (text("message"), text("fieldPath"));
    if text("rule").trim().is_empty() {
        found.push(Cause::required(format!("{path}.rule"), "rule is not specified"));
    } else if !message.is_empty() && message.trim().is_empty() {
        let detail = "must be non-empty if specified";
        found.push(Cause::invalid(format!("{path}.message"), &rule["message"], detail));
    } else if lines(message) {
        let detail = "must not contain line breaks";
        found.push(Cause::invalid(format!("{path}.message"), &rule["message"], detail));
    } else if lines(text("rule")) && message.trim().is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        found.push(Cause::required(format!("{path}.message"), detail));
    }
    let reason = &rule["reason"];
    if !reason.is_null() && !REASONS.iter().any(|known| reason == known) {
        found.push(Cause::not_supported(format!("{path}.reason"), reason, &REASONS));
    }
    if !field_path.is_empty() && rule::path_below(of, field_path).is_err() {
        let detail = "must be a valid path";
        found.push(Cause::invalid(format!("{path}.fieldPath"), &rule["fieldPath"], detail));
    }
}

fn programs(
    rule: &Value,
    of: &Structural,
    path: &str,
    whole: bool,
    uncorrelated: Option<&str>,
    found: &mut Vec<Cause>,
) {
    if rule["rule"].as_str().unwrap_or("").trim().is_empty() {
        return;
    }
    match rule::compile(rule, "rule", of, whole, Gives::Bool) {
        Err(problem) => found.push(Cause::invalid(format!("{path}.rule"), rule, &problem)),
        Ok(program) if program.uses_old => {
            if let Some(place) = uncorrelated {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within \
                     {place}"
                );
                found.push(Cause::invalid(format!("{path}.rule"), &rule["rule"], &detail));
            }
        }
        Ok(_) if !rule["optionalOldSelf"].is_null() => {
            let detail = "may not be set if oldSelf is not used in rule";
            let given = &rule["optionalOldSelf"];
            found.push(Cause::invalid(format!("{path}.optionalOldSelf"), given, detail));
        }
        Ok(_) => {}
    }
    if rule["messageExpression"].is_string()
        && let Err(problem) = rule::compile(rule, "messageExpression", of, whole, Gives::String)
    {
        found.push(Cause::invalid(format!("{path}.messageExpression"), rule, &problem));
    }
}
