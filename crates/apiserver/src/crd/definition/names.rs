//! The names of a custom kind: which are well formed, and which are free.
//!
//! Source: apiextensions-apiserver `pkg/controller/status` and
//! `ValidateCustomResourceDefinitionNames`.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::crd::words;
use crate::refusal::Cause;
use crate::validate::name;

/// What is wrong with the names at `path`.
pub(super) fn causes(names: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["plural", "singular"] {
        causes.extend(label(&names[field], format!("{path}.{field}"), ""));
    }
    let mixed = "may have mixed case, but should otherwise match: ";
    for field in ["kind", "listKind"] {
        causes.extend(label(&names[field], format!("{path}.{field}"), mixed));
    }
    for field in ["shortNames", "categories"] {
        for (n, word) in names[field].as_array().into_iter().flatten().enumerate() {
            causes.extend(label(word, format!("{path}.{field}[{n}]"), ""));
        }
    }
    let (kind, list) = (&names["kind"], &names["listKind"]);
    if kind.is_string() && kind == list {
        let detail = "kind and listKind may not be the same";
        causes.push(Cause::invalid(format!("{path}.listKind"), list, detail));
    }
    causes
}

/// What is wrong with a name that must be a label, in lower case unless `prefix` excuses it.
fn label(given: &Value, path: String, prefix: &str) -> Option<Cause> {
    let text = given.as_str().filter(|text| !text.is_empty())?;
    let lower = if prefix.is_empty() { text.to_owned() } else { text.to_lowercase() };
    let problem = name::label_1035(&lower)?;
    Some(Cause::invalid(path, given, &format!("{prefix}{problem}")))
}

/// The names a definition has now, and the first that one of `others`, of its group, has before
/// it: a reason and a sentence.
pub(crate) fn accept<'d>(
    definition: &Value,
    others: impl Iterator<Item = &'d Value>,
) -> (Value, Option<(&'static str, String)>) {
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for other in others {
        let names = &other["status"]["acceptedNames"];
        resources.extend([&names["plural"], &names["singular"]].map(text));
        resources.extend(words(&names["shortNames"]));
        kinds.extend([&names["kind"], &names["listKind"]].map(text));
    }
    let wanted = &definition["spec"]["names"];
    let mut accepted = definition["status"]["acceptedNames"].clone();
    if !accepted.is_object() {
        accepted = json!({"plural": "", "kind": ""});
    }
    let mut conflict = None;
    for (field, reason, taken) in [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ] {
        if wanted[field] != accepted[field] && taken.contains(&text(&wanted[field])) {
            conflict = Some((reason, format!("{} is already in use", wanted[field])));
        } else if wanted[field].is_string() {
            accepted[field] = wanted[field].clone();
        }
    }
    let ours = words(&accepted["shortNames"]);
    let short = words(&wanted["shortNames"]);
    match short.iter().find(|name| !ours.contains(name) && resources.contains(*name)) {
        Some(name) => {
            conflict = Some(("ShortNamesConflict", format!("\"{name}\" is already in use")));
        }
        None => copy(wanted, &mut accepted, "shortNames"),
    }
    copy(wanted, &mut accepted, "categories");
    (accepted, conflict)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    let Some(fields) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => fields.insert(field.to_owned(), value.clone()),
        None => fields.remove(field),
    };
}
