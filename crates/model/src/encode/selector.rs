//! `meta/v1/LabelSelector`.

use serde_json::{Value, json};

use crate::{LabelSelector, LabelTest, Requirement};

/// A selector, all of it as expressions.
pub(super) fn selector(selector: &LabelSelector) -> Value {
    if selector.requirements().is_empty() {
        return json!({});
    }
    let expressions: Value = selector.requirements().iter().map(expression).collect();
    json!({ "matchExpressions": expressions })
}

fn expression(requirement: &Requirement) -> Value {
    let (operator, values) = match &requirement.test {
        LabelTest::In(values) => ("In", &**values),
        LabelTest::NotIn(values) => ("NotIn", &**values),
        LabelTest::Exists => ("Exists", &[][..]),
        LabelTest::Missing => ("DoesNotExist", &[][..]),
    };
    let mut object = json!({ "key": &*requirement.key, "operator": operator });
    if !values.is_empty() {
        object["values"] = values.iter().map(|value| &**value).collect();
    }
    object
}
