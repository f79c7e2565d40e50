//! Kubernetes' wire shapes → model. Private serde structs of just the fields Seaway reads; the only
//! place where those shapes appear.
//!
//! Decoding is lenient where Kubernetes is (unknown fields are skipped) and strict where a wrong
//! value would mislead: the error names the object and the field, and the object alone is left out.

mod node;

pub use node::node;

/// Why an object could not be taken into the World.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {field}: {reason}")]
pub struct DecodeError {
    /// Kind and name, like `Node worker-1`.
    pub object: String,
    /// Path of the field, like `spec.podCIDRs[1]`; empty when the whole object is unreadable.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}
