//! Custom kinds: CustomResourceDefinitions, what they define, and the objects of such kinds.
//!
//! `definition/` says what is wrong with a definition, [`settle`] decides which of them are
//! served, and [`resources`] turns one into kinds of the registry. An object of such a kind is
//! pruned, completed and validated by its [`Structural`] schema.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most operations are for a type or two, and every other is no operand"
)]
mod cel;
mod columns;
mod correlate;
pub(crate) mod definition;
mod embedded;
mod fill;
mod format;
mod lists;
mod path;
mod pattern;
mod prune;
mod rule;
mod settle;
mod structural;
mod validate;

use std::sync::Arc;

use serde_json::Value;

pub(crate) use columns::Columns;
pub(crate) use fill::fill;
pub(crate) use prune::prune;
pub(crate) use settle::{Origin, publish, run};
pub(crate) use structural::{Additional, Kind, Structural, entries, words};

use crate::refusal::Cause;
use crate::resource::{Resource, Rules, ScalePaths, Scope, Subresource};

/// The finalizer that keeps a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What one version of a custom kind has beyond its names.
#[derive(Debug)]
pub(crate) struct Custom {
    pub(crate) schema: Structural,
    /// The schema as the definition has it, for those who publish it.
    pub(crate) published: Value,
    pub(crate) list_kind: String,
    pub(crate) columns: Columns,
    /// The fields that objects can be selected by, with dots.
    pub(crate) selectable: Vec<String>,
    /// What the objects' `apiVersion` is in the store.
    pub(crate) stored_as: String,
    /// Whether clients may use this version; the stored one may be kept from them.
    pub(crate) served: bool,
    /// What clients of a deprecated version are told.
    pub(crate) warning: Option<String>,
    /// No objects may be added: the definition is being deleted.
    pub(crate) terminating: bool,
}

/// The kinds of an accepted definition: one for each of its versions.
pub(crate) fn resources(definition: &Value) -> Vec<Resource> {
    let versions = definition["spec"]["versions"].as_array().map_or(&[][..], Vec::as_slice);
    versions.iter().map(|version| resource(definition, version)).collect()
}

fn resource(definition: &Value, version: &Value) -> Resource {
    let spec = &definition["spec"];
    let names = &definition["status"]["acceptedNames"];
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let (group, plural) = (text(&spec["group"]), text(&names["plural"]));
    let stored = definition::storage_version(definition).unwrap_or("");
    let status = version["subresources"]["status"].is_object().then_some(Subresource::Status);
    let scale = scale(&version["subresources"]["scale"]);
    let scaled = scale.is_some().then_some(Subresource::Scale);
    let published = version["schema"]["openAPIV3Schema"].clone();
    Resource {
        version: text(&version["name"]),
        kind: text(&names["kind"]),
        singular: text(&names["singular"]),
        short_names: words(&names["shortNames"]),
        categories: words(&names["categories"]),
        scope: if spec["scope"] == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
        subresources: status.into_iter().chain(scaled).collect(),
        scale,
        rules: Rules::Custom,
        renamed: &[],
        shelf: format!("{plural}.{group}").into(),
        custom: Some(Arc::new(Custom {
            schema: Structural::read_whole(&published),
            published,
            list_kind: text(&names["listKind"]),
            columns: Columns::read(&version["additionalPrinterColumns"]),
            selectable: selectable(&version["selectableFields"]),
            stored_as: format!("{group}/{stored}"),
            served: version["served"] == true,
            warning: warning(definition, version),
            terminating: !definition["metadata"]["deletionTimestamp"].is_null(),
        })),
        group,
        plural,
    }
}

/// Where the parts of a version's scale stand, if it has one.
fn scale(scale: &Value) -> Option<ScalePaths> {
    let path =
        |field: &str| scale[field].as_str().map(|path| path.trim_start_matches('.').to_owned());
    Some(ScalePaths {
        wanted: path("specReplicasPath")?,
        running: path("statusReplicasPath")?,
        selector: path("labelSelectorPath"),
    })
}

/// The fields that objects of a version can be selected by.
fn selectable(fields: &Value) -> Vec<String> {
    let paths = fields.as_array().into_iter().flatten().filter_map(|f| f["jsonPath"].as_str());
    paths.map(|path| path.trim_start_matches('.').to_owned()).collect()
}

/// What clients of a deprecated version are told.
fn warning(definition: &Value, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    let given = version["deprecationWarning"].as_str().map(str::to_owned);
    given.or_else(|| {
        let (spec, names) = (&definition["spec"], &definition["status"]["acceptedNames"]);
        let group = spec["group"].as_str()?;
        let kind = names["kind"].as_str()?;
        Some(format!("{group}/{} {kind} is deprecated", version["name"].as_str()?))
    })
}

/// What is wrong with an object of a custom kind; `old` is what it replaces.
pub(crate) fn causes(custom: &Custom, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = validate::causes(&custom.schema, value, old);
    causes.extend(embedded::causes(&custom.schema, value));
    let doubled_before = old.is_some_and(|old| !lists::causes(&custom.schema, old).is_empty());
    if !doubled_before {
        causes.extend(lists::causes(&custom.schema, value));
    }
    if causes.iter().any(Cause::blocks_rules) {
        let detail = "some validation rules were not checked because the object was invalid; \
                      correct the existing errors to complete validation";
        causes.push(Cause::invalid("<nil>", &Value::Null, detail));
    } else {
        causes.extend(rule::causes(&custom.schema, value, old));
    }
    causes
}

#[cfg(test)]
mod tests;
