//! Policies that are tried out: what they would drop is told, and they drop nothing.

use std::sync::Arc;

use crate::decode::DecodeError;
use crate::{ClusterPolicy, NetworkPolicy, World};

/// The annotation of a policy that says whether it is audited, and the label of a namespace that says it of all
/// its NetworkPolicies: `true` or `false`.
pub const AUDIT: &str = "seaway.io/policy-audit";

/// What a policy says of its own audit.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Audit {
    /// Nothing.
    #[default]
    Unsaid,
    /// It is audited.
    On,
    /// It is enforced, whatever its namespace says.
    Off,
    /// Nobody can tell what this stands for, so it is enforced.
    Unclear(Arc<str>),
}

impl Audit {
    /// What this value of [`AUDIT`] says, or none.
    pub fn of(value: Option<&str>) -> Self {
        match value {
            None => Audit::Unsaid,
            Some("true") => Audit::On,
            Some("false") => Audit::Off,
            Some(other) => Audit::Unclear(other.into()),
        }
    }

    /// The value of [`AUDIT`] that says it.
    pub fn value(&self) -> Option<&str> {
        match self {
            Audit::Unsaid => None,
            Audit::On => Some("true"),
            Audit::Off => Some("false"),
            Audit::Unclear(other) => Some(other),
        }
    }

    /// What is wrong with it at this `object`, in its `field`.
    fn fault(&self, object: String, field: &str) -> Option<DecodeError> {
        let Audit::Unclear(value) = self else { return None };
        let field = format!("metadata.{field}[{AUDIT}]");
        let reason = format!("{value:?} is none of \"true\", \"false\"");
        Some(DecodeError { object, field, reason })
    }
}

impl NetworkPolicy {
    /// What is wrong with what it says of its audit.
    pub fn audit_fault(&self) -> Option<DecodeError> {
        self.audit.fault(format!("NetworkPolicy {}", self.name), "annotations")
    }
}

impl ClusterPolicy {
    /// What is wrong with what it says of its audit.
    pub fn audit_fault(&self) -> Option<DecodeError> {
        self.audit.fault(self.name.to_string(), "annotations")
    }
}

impl World {
    /// Whether a NetworkPolicy drops nothing, and what it would drop is told: as it says itself, else as its
    /// namespace does.
    pub fn is_audited(&self, policy: &NetworkPolicy) -> bool {
        let of_space = || {
            let space = self.namespaces.get(&policy.name.namespace);
            space.is_some_and(|space| Audit::of(space.labels.get(AUDIT)) == Audit::On)
        };
        match policy.audit {
            Audit::On => true,
            Audit::Unsaid => of_space(),
            Audit::Off | Audit::Unclear(_) => false,
        }
    }

    /// What is wrong with what policies and namespaces say of audits.
    pub fn audit_faults(&self) -> impl Iterator<Item = DecodeError> {
        let namespaced = self.policies.values().filter_map(|policy| policy.audit_fault());
        let cluster = self.cluster_policies.values().filter_map(|policy| policy.audit_fault());
        let spaces = self.namespaces.values().filter_map(|space| {
            let audit = Audit::of(space.labels.get(AUDIT));
            audit.fault(format!("Namespace {}", space.name), "labels")
        });
        namespaced.chain(cluster).chain(spaces)
    }
}
