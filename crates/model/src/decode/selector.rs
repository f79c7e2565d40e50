//! `meta/v1/LabelSelector`, and the pods and namespaces that policies select by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::{DecodeError, Object};
use crate::{LabelSelector, LabelTest, Namespaces, PodSelector, Requirement};

/// What it does not know may narrow what is selected, so it is not skipped.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WireSelector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<WireRequirement>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRequirement {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

/// Both selectors, as a cluster's policies write them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WirePods {
    namespace_selector: WireSelector,
    pod_selector: WireSelector,
}

impl WireSelector {
    /// The selector. Where it stands in the object is `field`.
    pub(super) fn read(&self, object: &Object, field: &str) -> Result<LabelSelector, DecodeError> {
        let equal = |(key, value): (&String, &String)| Requirement {
            key: key.as_str().into(),
            test: LabelTest::In([value.as_str().into()].into()),
        };
        let mut all: Vec<Requirement> = self.match_labels.iter().flatten().map(equal).collect();
        for (i, wire) in self.match_expressions.iter().flatten().enumerate() {
            let field = format!("{field}.matchExpressions[{i}]");
            all.push(wire.read(object, &field)?);
        }
        Ok(LabelSelector::new(all))
    }
}

impl WireRequirement {
    fn read(&self, object: &Object, field: &str) -> Result<Requirement, DecodeError> {
        let values: Box<[Arc<str>]> =
            self.values.iter().flatten().map(|value| Arc::from(value.as_str())).collect();
        let are_due = matches!(self.operator.as_str(), "In" | "NotIn");
        if are_due == values.is_empty() {
            let why = if are_due { "needs values" } else { "takes no values" };
            return Err(object.fail(&format!("{field}.values"), format!("{} {why}", self.operator)));
        }
        let test = match self.operator.as_str() {
            "In" => LabelTest::In(values),
            "NotIn" => LabelTest::NotIn(values),
            "Exists" => LabelTest::Exists,
            "DoesNotExist" => LabelTest::Missing,
            other => {
                let why = format!("{other:?} is none of In, NotIn, Exists, DoesNotExist");
                return Err(object.fail(&format!("{field}.operator"), why));
            }
        };
        Ok(Requirement { key: self.key.as_str().into(), test })
    }
}

impl WirePods {
    /// The pods. Where they stand in the object is `field`.
    pub(super) fn read(&self, object: &Object, field: &str) -> Result<PodSelector, DecodeError> {
        let namespaces =
            self.namespace_selector.read(object, &format!("{field}.namespaceSelector"))?;
        Ok(PodSelector {
            namespaces: Namespaces::Matching(namespaces),
            pods: self.pod_selector.read(object, &format!("{field}.podSelector"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<String, DecodeError> {
        let object = Object { kind: "Thing", name: "a".to_owned() };
        let wire: WireSelector = object.part("s", serde_json::from_str(json).unwrap())?;
        wire.read(&object, "s").map(|selector| selector.to_string())
    }

    #[test]
    fn npn7_labels_and_expressions_are_one_list_of_requirements() {
        let all = r#"{"matchLabels":{"b":"1"},"matchExpressions":[
            {"key":"a","operator":"In","values":["y","x"]},{"key":"c","operator":"NotIn","values":["z"]},
            {"key":"d","operator":"Exists"},{"key":"e","operator":"DoesNotExist","values":[]}]}"#;
        assert_eq!(read(all).unwrap(), "a in (x,y),b=1,c!=z,d,!e");
        for everything in ["{}", r#"{"matchLabels":null,"matchExpressions":null}"#] {
            assert_eq!(read(everything).unwrap(), "*");
        }
    }

    #[test]
    fn a_requirement_that_means_nothing_is_named() {
        let cases = [
            (r#"{"key":"a","operator":"In","values":[]}"#, "s.matchExpressions[0].values"),
            (r#"{"key":"a","operator":"NotIn"}"#, "s.matchExpressions[0].values"),
            (r#"{"key":"a","operator":"Exists","values":["x"]}"#, "s.matchExpressions[0].values"),
            (r#"{"key":"a","operator":"Near"}"#, "s.matchExpressions[0].operator"),
            (r#"{"key":"a","operator":"Exists","weight":1}"#, "s"),
        ];
        for (requirement, field) in cases {
            let error = read(&format!(r#"{{"matchExpressions":[{requirement}]}}"#)).unwrap_err();
            assert_eq!(error.field, field, "{requirement}");
        }
        assert!(read(r#"{"matchFields":{}}"#).unwrap_err().reason.contains("matchFields"));
    }
}
