//! Label selectors of the API's objects.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether `labels` satisfy every requirement of `selector`; an empty selector has none.
///
/// Source: LabelSelector API; an operator nobody knows is satisfied by nothing.
pub(crate) fn matches(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &String| labels.and_then(|labels| labels.get(key));
    let equal = selector.match_labels.iter().flatten().all(|(key, want)| value(key) == Some(want));
    let mut expressions = selector.match_expressions.iter().flatten();
    equal
        && expressions.all(|expression| {
            let value = value(&expression.key);
            let listed = || {
                value.is_some_and(|value| expression.values.iter().flatten().any(|v| v == value))
            };
            match expression.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// Whether `selector` has no requirement. Controllers take that for a mistake, not for everything.
pub(crate) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.iter().flatten().next().is_none()
        && selector.match_expressions.iter().flatten().next().is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_requirement_must_hold() {
        let expression = |operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": "a", "operator": operator, "values": values }] });
        let cases = [
            (json!({}), "a=1", true),
            (json!({ "matchLabels": { "a": "1" } }), "a=1 b=2", true),
            (json!({ "matchLabels": { "a": "1", "b": "3" } }), "a=1 b=2", false),
            (expression("In", &["1", "2"]), "a=2", true),
            (expression("In", &["1", "2"]), "b=2", false),
            (expression("NotIn", &["1"]), "a=1", false),
            (expression("NotIn", &["1"]), "b=1", true),
            (expression("Exists", &[]), "a=", true),
            (expression("DoesNotExist", &[]), "a=", false),
            (expression("Nearly", &[]), "a=", false),
        ];
        for (selector, labels, expect) in cases {
            let selector: LabelSelector = serde_json::from_value(selector).unwrap();
            let pair = |text: &str| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
            let labels = labels.split_whitespace().filter_map(pair).collect();
            assert_eq!(matches(&selector, Some(&labels)), expect, "{selector:?} {labels:?}");
        }
    }
}
