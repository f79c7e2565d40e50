//! Policies: who may speak with the pods of a node.
//!
//! [`PolicyTable`] says it, as far as it follows from objects. For each direction a pod has a [`Group`]: the
//! rules of the Admin tier in order, what NetworkPolicies allow, the rules of the Baseline tier in order.
//! Pods with the same rules share one, so there are about as many as there are workloads. Rules name sets of
//! addresses by what selects them ([`SetKey`]); members stand beside them. A pod that comes, goes or changes
//! its labels is a member more or less and touches no rule.
//!
//! The cluster's DNS is among the pods that rules select, although nodes answer in its place ([`Places`]).
//!
//! Not in the table, because it is the same for every pod: what is established or related, discovery of
//! neighbors, a pod's own node and what comes back to its own pod (NP-N19, NP-N20, NP-N24, NP-U4).
//!
//! Sources: the NetworkPolicy API; ClusterNetworkPolicy, network-policy-api v0.2.0; NP-D3 to NP-D7.

mod blocks;
mod change;
mod dns;
mod endings;
mod ends;
mod facing;
mod judge;
mod marks;
mod memo;
mod named;
mod nft;
mod party;
mod port_set;
mod ports;
mod reach;
mod resolve;
mod resolver;
mod runs;
mod sets;
mod show;
mod table;

pub use change::{Change, Changes, Reason};
pub use dns::Places;
pub use endings::{Ending, LOG_GROUP, Way};
pub use ends::{End, Who};
pub use judge::{By, Connection, Exemption, Judge, Learned, Step, Verdict, Verdicts};
pub use memo::Memo;
pub use named::Patterns;
pub use nft::{Around, Counted, GENERATION, generation, lower, name_set};
pub use party::{Party, both_parties, parties};
pub use port_set::PortSet;
pub use reach::{Cell, Matrix};
pub use resolver::{resolve, resolve_all};
pub use show::{Explained, ExplainedPeers, ExplainedRule, ExplainedTarget, ExplainedWay, explain};
pub use table::{
    Destination, Group, Members, Peers, PodPolicy, PolicyRule, PolicyTable, Ports, RuleName,
    SetKey, Target,
};
