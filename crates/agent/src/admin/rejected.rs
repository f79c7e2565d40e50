//! Everything of the cluster's objects that is not honored, and why.

use std::fmt;

use model::decode::DecodeError;
use serde_json::{Value, json};

use crate::shown::View;

/// An object, or a part of one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    object: String,
    field: String,
    why: String,
}

/// What could not be honored of objects that could be read, rules of policies that are closed, and objects of
/// which the newest version is `unreadable`.
pub(super) fn rows(view: &View, unreadable: Vec<DecodeError>) -> Vec<Row> {
    let rows = view.compiled.rejected.iter().map(|row| Row {
        object: row.object.clone(),
        field: row.field.clone(),
        why: row.why.clone(),
    });
    let world = &view.world;
    let namespaced = world.policies.values().flat_map(|policy| &policy.faults);
    let cluster = world.cluster_policies.values().flat_map(|policy| &policy.faults);
    let closed = namespaced.chain(cluster).map(|fault| Row::of(fault, "the rule is closed"));
    let audits: Vec<DecodeError> = world.audit_faults().collect();
    let audits = audits.iter().map(|fault| Row::of(fault, "it is enforced"));
    let unreadable = unreadable.iter().map(|error| Row::of(error, "this version is left out"));
    let mut all: Vec<Row> = rows.chain(closed).chain(audits).chain(unreadable).collect();
    all.sort();
    all
}

impl Row {
    /// What is wrong, and what follows.
    fn of(error: &DecodeError, follows: &str) -> Self {
        let DecodeError { object, field, reason } = error.clone();
        Row { object, field, why: format!("{reason}; {follows}") }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "object": self.object, "field": self.field, "why": self.why })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.field {
            "" => write!(f, "{}: {}", self.object, self.why),
            field => write!(f, "{}: {field}: {}", self.object, self.why),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use compile::{Compiled, Fault, Rejected};
    use model::{World, decode};

    use super::*;

    #[test]
    fn npc8_rules_that_are_closed_and_objects_that_are_unreadable_are_named_with_their_fields() {
        let json = br#"{"metadata":{"namespace":"a","name":"p"},"spec":{"podSelector":{},"ingress":[{"x":1}]}}"#;
        let policy = decode::network_policy(json).unwrap();
        let mut world = World::default();
        world.policies.insert(policy.name.clone(), Arc::new(policy));
        let rejected = Rejected {
            object: "Service a/s".to_owned(),
            field: "spec.ports".to_owned(),
            why: "is taken".to_owned(),
            fault: Fault::Taken,
        };
        let compiled = Arc::new(Compiled { rejected: vec![rejected], ..Compiled::default() });
        let view = View { world, compiled, ..View::default() };
        let json =
            br#"{"metadata":{"namespace":"a","name":"q"},"spec":{"policyTypes":["Sideways"]}}"#;
        let unreadable = decode::network_policy(json).unwrap_err();
        let said: Vec<String> = rows(&view, vec![unreadable]).iter().map(Row::to_string).collect();
        assert_eq!(
            said,
            [
                "NetworkPolicy a/p: spec.ingress[0]: unknown field \"x\"; the rule is closed",
                "NetworkPolicy a/q: spec.policyTypes[0]: \"Sideways\" is none of Ingress, Egress; \
                 this version is left out",
                "Service a/s: spec.ports: is taken",
            ]
        );
    }
}
