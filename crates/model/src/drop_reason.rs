//! Why policies drop packets.

use std::fmt;

/// Why policies drop a packet: one list for the rules in the kernel and for everything that explains them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// NetworkPolicies select the pod, and no rule of theirs allows the connection.
    NotAllowed,
    /// A rule of a cluster's policy denies the connection.
    Denied,
    /// The pod is not known yet, and policies may be about it.
    UnknownPod,
    /// The packet belongs to no connection, and policies are about the pod that it is from or for.
    NoConnection,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [DropReason; 4] = [
        DropReason::NotAllowed,
        DropReason::Denied,
        DropReason::UnknownPod,
        DropReason::NoConnection,
    ];

    /// Its name, which stays the same in later releases.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::NotAllowed => "not-allowed",
            DropReason::Denied => "denied",
            DropReason::UnknownPod => "unknown-pod",
            DropReason::NoConnection => "no-connection",
        }
    }
}

/// In words.
impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DropReason::NotAllowed => "no NetworkPolicy allows it",
            DropReason::Denied => "a rule denies it",
            DropReason::UnknownPod => "its pod is not known yet",
            DropReason::NoConnection => "of no connection, at a pod with policies",
        })
    }
}
