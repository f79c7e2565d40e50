//! DNS: what the cluster's Services, endpoints and pods are called.
//!
//! [`Zones`] says it; what is answered to a question follows from them alone (`plan::zone`).
//!
//! - A Service is called `NAME.NAMESPACE.svc.ZONE`. The name stands for its cluster IPs, for its ready
//!   endpoints (headless), or for another name (ExternalName).
//! - Each endpoint has a name under its Service's: its hostname, or its address with dashes.
//! - Ready is what its slice says, or any endpoint under `publishNotReadyAddresses` (DNS-12).
//!
//! The plan's listeners say where the node answers: at addresses that every node has for itself, by
//! routes of its table `local`, and at its own, where other nodes ask. While it answers, nothing tracks the
//! packets to the former ([`untracked()`]); when it does not, they are the Service's, and go to other nodes
//! (docs/decisions/0025).
//!
//! Sources: the DNS specification of Kubernetes 1.1.0; DNS-1 to DNS-45.

mod entry;
mod memo;
mod place;
mod pods;
mod untracked;

pub use memo::Memo;
pub use untracked::untracked;

pub(crate) use place::{everywhere, node};
pub use plan::zone::Zones;
pub(crate) use pods::pods;
