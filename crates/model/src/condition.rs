//! What is said of an object in its status.

use crate::Rfc3339;
use crate::decode::DecodeError;
use crate::{ClusterPolicyName, Edition};

/// One thing that is so of an object, or is not.
///
/// Source: `metav1.Condition`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its type: one word.
    pub kind: String,
    /// Whether it is so.
    pub is_true: bool,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// `observedGeneration`: the generation of the object that it is about.
    pub generation: i64,
    /// `lastTransitionTime`: since when it is so, or is not.
    pub since: Rfc3339,
}

/// A policy of the cluster as its status should tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyState {
    /// Kind and name.
    pub name: ClusterPolicyName,
    /// What it is about.
    pub edition: Edition,
    /// Why rules of it are closed, or why nothing of this version can be read.
    pub read: Result<Vec<DecodeError>, DecodeError>,
    /// What its status says now, everybody's conditions together. Those that are none are left out.
    pub conditions: Vec<Condition>,
}
