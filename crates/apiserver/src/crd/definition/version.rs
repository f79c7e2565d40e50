//! The versions of a definition: their names, schemas, columns and subresources.
use serde_json::{Value, json};

use super::{nodes, rules, structure, versions};
use crate::refusal::Cause;
use crate::validate::name;

/// The types a column may have.
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
/// The formats a column may have.
const COLUMN_FORMATS: [&str; 9] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password", ""];
/// The most fields objects of a version can be selected by.
const SELECTABLE: usize = 8;

/// What is wrong with the versions.
pub(super) fn causes(definition: &Value) -> Vec<Cause> {
    let versions = versions(definition);
    let mut causes = Vec::new();
    for (n, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{n}]");
        if version["schema"]["openAPIV3Schema"].is_null() {
            causes.push(Cause::required(format!("{path}.schema.openAPIV3Schema"), ""));
        }
        if let Some(problem) = name::label_1035(version["name"].as_str().unwrap_or("")) {
            causes.push(Cause::invalid(format!("{path}.name"), &version["name"], &problem));
        }
        causes.extend(deprecation(version, &path));
    }
    // What all versions share, Kubernetes reports as the definition's own.
    for (field, common) in [
        ("schema", "validation"),
        ("subresources", "subresources"),
        ("additionalPrinterColumns", "additionalPrinterColumns"),
        ("selectableFields", "selectableFields"),
    ] {
        let shared = versions.windows(2).all(|pair| pair[0][field] == pair[1][field]);
        let count = if shared { 1 } else { versions.len() };
        for (n, version) in versions.iter().take(count).enumerate() {
            let path = if shared {
                format!("spec.{common}")
            } else {
                format!("spec.versions[{n}].{field}")
            };
            causes.extend(match field {
                "schema" => schema(version, &path),
                "subresources" => scale(&version[field]["scale"], &path),
                "additionalPrinterColumns" => columns(&version[field], &path),
                _ => selectable(version, &path),
            });
        }
    }
    let names: Vec<&Value> = versions.iter().map(|version| &version["name"]).collect();
    let shown = json!(names);
    if (1..names.len()).any(|n| names[..n].contains(&names[n])) {
        causes.push(Cause::invalid("spec.versions", &shown, "must contain unique version names"));
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &shown, detail));
    }
    causes
}

fn deprecation(version: &Value, path: &str) -> Option<Cause> {
    let given = &version["deprecationWarning"];
    let text = given.as_str()?;
    let problem = if version["deprecated"] != true {
        "can only be set for deprecated versions"
    } else if text.len() > 256 {
        "must be <= 256 characters long"
    } else if text.is_empty() {
        "must not be an empty string"
    } else if text.chars().any(char::is_control) {
        "must only contain printable UTF-8 characters"
    } else {
        return None;
    };
    Some(Cause::invalid(format!("{path}.deprecationWarning"), given, problem))
}

fn schema(version: &Value, path: &str) -> Vec<Cause> {
    let schema = &version["schema"]["openAPIV3Schema"];
    if schema.is_null() {
        return Vec::new();
    }
    let path = format!("{path}.openAPIV3Schema");
    let mut causes = Vec::new();
    if schema["nullable"] == true {
        let detail = "nullable cannot be true at the root";
        causes.push(Cause::forbidden(format!("{path}.nullable"), detail));
    }
    let broken = structure::causes(schema, &path);
    let sound = broken.is_empty();
    causes.extend(broken);
    causes.extend(nodes::causes(schema, &path, sound));
    if causes.is_empty() {
        causes.extend(rules::causes(schema, &path));
    }
    causes
}

fn scale(scale: &Value, path: &str) -> Vec<Cause> {
    if !scale.is_object() {
        return Vec::new();
    }
    let mut causes = Vec::new();
    for (field, below, words) in [
        ("specReplicasPath", [".spec.", ".spec."], "under .spec"),
        ("statusReplicasPath", [".status.", ".status."], "under .status"),
        ("labelSelectorPath", [".spec.", ".status."], "under either .spec or .status"),
    ] {
        let given = scale[field].as_str().unwrap_or("");
        let path = format!("{path}.scale.{field}");
        if given.is_empty() {
            if field != "labelSelectorPath" {
                causes.push(Cause::required(path, ""));
            }
        } else if !given.starts_with('.') {
            let detail = "must be a simple json path starting with .";
            causes.push(Cause::invalid(path, &scale[field], detail));
        } else if !below.iter().any(|prefix| given.starts_with(prefix)) {
            let detail = format!("should be a json path {words}");
            causes.push(Cause::invalid(path, &scale[field], &detail));
        }
    }
    causes
}

fn columns(columns: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (n, column) in columns.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}[{n}]");
        let text = |field: &str| column[field].as_str().unwrap_or("");
        if text("name").is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
        }
        let one_of = format!("must be one of {}", COLUMN_TYPES.join(","));
        if text("type").is_empty() {
            causes.push(Cause::required(format!("{path}.type"), &one_of));
        } else if !COLUMN_TYPES.contains(&text("type")) {
            causes.push(Cause::invalid(format!("{path}.type"), &column["type"], &one_of));
        }
        if !COLUMN_FORMATS.contains(&text("format")) {
            let known = COLUMN_FORMATS[..8].join(",");
            let detail = format!("must be one of {known}");
            causes.push(Cause::invalid(format!("{path}.format"), &column["format"], &detail));
        }
        let place = &column["jsonPath"];
        if text("jsonPath").is_empty() {
            causes.push(Cause::required(format!("{path}.JSONPath"), ""));
        } else if !text("jsonPath").starts_with('.') {
            let detail = "must be a simple json path starting with .";
            causes.push(Cause::invalid(format!("{path}.JSONPath"), place, detail));
        } else if let Err(problem) = crate::crd::path::Path::parse(text("jsonPath")) {
            causes.push(Cause::invalid(format!("{path}.JSONPath"), place, &problem));
        }
    }
    causes
}

/// Fields that objects can be selected by must be there and hold one value.
fn selectable(version: &Value, path: &str) -> Vec<Cause> {
    let fields = version["selectableFields"].as_array().map_or(&[][..], Vec::as_slice);
    let mut causes = Vec::new();
    for (n, field) in fields.iter().enumerate() {
        let given = &field["jsonPath"];
        let place = format!("{path}[{n}].jsonPath");
        let text = given.as_str().unwrap_or("");
        if text.is_empty() {
            causes.push(Cause::required(place, ""));
            continue;
        }
        let mut at = &version["schema"]["openAPIV3Schema"];
        for name in text.trim_start_matches('.').split('.') {
            at = &at["properties"][name];
        }
        if !text.starts_with('.') || at.is_null() {
            let detail = "is an invalid path: does not refer to a valid field";
            causes.push(Cause::invalid(place, given, detail));
        } else if text.starts_with(".metadata") {
            causes.push(Cause::invalid(place, given, "must not point to fields in metadata"));
        } else if !matches!(at["type"].as_str(), Some("string" | "boolean" | "integer")) {
            let detail = "must point to a field of type string, boolean or integer. Enum string \
                          fields and strings with formats are allowed.";
            causes.push(Cause::invalid(place, given, detail));
        } else if fields[..n].iter().any(|other| other["jsonPath"] == *given) {
            causes.push(Cause::duplicate(place, given));
        }
    }
    if fields.len() > SELECTABLE {
        causes.push(Cause::too_many(path, fields.len() as u64, SELECTABLE as u64));
    }
    causes
}
