//! Conditions of a status.

use serde_json::{Value, json};

use crate::Condition;

/// A condition. Its moment is told to the second.
pub fn condition(condition: &Condition) -> Value {
    json!({
        "type": condition.kind,
        "status": if condition.is_true { "True" } else { "False" },
        "reason": condition.reason,
        "message": condition.message,
        "observedGeneration": condition.generation,
        "lastTransitionTime": condition.since.to_the_second(),
    })
}
