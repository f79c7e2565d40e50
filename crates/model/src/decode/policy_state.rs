//! The status of policies of `policy.networking.k8s.io`.

use serde::Deserialize;
use serde_json::Value;

use super::cluster_policy::{admin_policy, baseline_policy, cluster_policy};
use super::{DecodeError, Meta, read};
use crate::{ClusterPolicyKind, ClusterPolicyName, Condition, PolicyState, Rfc3339};

#[derive(Deserialize)]
struct WireState {
    metadata: Meta,
    #[serde(default)]
    status: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    observed_generation: i64,
    last_transition_time: String,
}

/// Reads what the status of a policy of the cluster should be about, and what it says now.
///
/// # Errors
/// [`DecodeError`] when the JSON is no object with a name. What is wrong with the policy itself is in
/// [`PolicyState::read`].
///
/// Source: `metav1.Condition`.
pub fn policy_state(kind: ClusterPolicyKind, json: &[u8]) -> Result<PolicyState, DecodeError> {
    let WireState { metadata, status } = read(kind.as_str(), json)?;
    let policy = match kind {
        ClusterPolicyKind::ClusterNetworkPolicy => cluster_policy(json),
        ClusterPolicyKind::AdminNetworkPolicy => admin_policy(json),
        ClusterPolicyKind::BaselineAdminNetworkPolicy => baseline_policy(json),
    };
    let conditions = status["conditions"].as_array().into_iter().flatten();
    Ok(PolicyState {
        name: ClusterPolicyName { name: metadata.name.as_str().into(), kind },
        edition: metadata.edition(),
        read: policy.map(|policy| policy.faults),
        conditions: conditions.filter_map(condition).collect(),
    })
}

/// `None` for what is none: whoever has written it has to write it again.
fn condition(wire: &Value) -> Option<Condition> {
    let wire = WireCondition::deserialize(wire).ok()?;
    let is_true = match wire.status.as_str() {
        "True" => true,
        "False" => false,
        _ => return None,
    };
    Some(Condition {
        kind: wire.kind,
        is_true,
        reason: wire.reason,
        message: wire.message,
        generation: wire.observed_generation,
        since: Rfc3339::parse(&wire.last_transition_time)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(kind: ClusterPolicyKind, object: &Value) -> PolicyState {
        policy_state(kind, object.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn npc12_a_state_has_its_edition_and_what_is_wrong_with_it() {
        let kind = ClusterPolicyKind::AdminNetworkPolicy;
        let policy = |spec: Value| json!({"metadata": {"name": "p", "uid": "u", "generation": 7}, "spec": spec});
        let subject = json!({"namespaces": {}});
        let cases = [
            (json!({"priority": 1, "subject": subject}), "[]"),
            (
                json!({"priority": 1, "subject": subject, "egress": [{"action": "Deny", "to": [{"planets": []}]}]}),
                "spec.egress[0].to[0]: unknown field",
            ),
            (json!({"priority": 1001, "subject": subject}), "spec.priority: 1001 is not between"),
            (json!({}), "missing field `subject`"),
        ];
        for (spec, said) in cases {
            let state = state(kind, &policy(spec));
            assert_eq!((&*state.edition.uid, state.edition.generation), ("u", 7));
            let text = match &state.read {
                Ok(faults) if faults.is_empty() => "[]".to_owned(),
                Ok(faults) => faults[0].to_string(),
                Err(error) => error.to_string(),
            };
            assert!(text.contains(said), "{text}");
            let errors = state.read.unwrap_or_else(|error| vec![error]);
            let is_unheard_of = errors.iter().any(DecodeError::is_unheard_of);
            assert_eq!(is_unheard_of, said.contains("unknown field"), "{text}");
        }
        assert!(policy_state(kind, b"{}").is_err());
    }

    #[test]
    fn npc12_conditions_are_read_and_what_is_none_is_not_there() {
        let kind = ClusterPolicyKind::ClusterNetworkPolicy;
        let whole = json!({"type": "Accepted", "status": "True", "reason": "Accepted", "message": "m",
            "observedGeneration": 3, "lastTransitionTime": "2026-05-01T12:30:00Z"});
        let with = |field: &str, value: Value| {
            let mut other = whole.clone();
            other[field] = value;
            other
        };
        let conditions = json!([
            whole,
            with("status", json!("Unknown")),
            with("lastTransitionTime", json!("soon")),
            with("type", json!("Theirs")),
            "nothing",
        ]);
        let object =
            json!({"metadata": {"name": "p"}, "spec": {}, "status": {"conditions": conditions}});
        let read = state(kind, &object).conditions;
        let kinds: Vec<&str> = read.iter().map(|condition| &*condition.kind).collect();
        assert_eq!(kinds, ["Accepted", "Theirs"]);
        assert_eq!((read[0].generation, read[0].is_true), (3, true));
        for status in [json!(null), json!({}), json!({"conditions": {}}), json!("x")] {
            let object = json!({"metadata": {"name": "p"}, "spec": {}, "status": status});
            assert!(state(kind, &object).conditions.is_empty());
        }
    }
}
