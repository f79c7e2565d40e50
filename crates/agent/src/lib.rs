//! The agent of one node: the loop that keeps the node's network equal to its plan, the journal of
//! its leases, and the sockets it answers on.

pub mod admin;
mod answers;
mod capability;
mod cleanup;
pub mod cni;
mod condition;
mod dns;
mod drain;
mod drops;
mod duties;
#[cfg(test)]
mod fake;
mod features;
pub mod found;
mod handle;
mod handover;
mod health;
pub mod install;
pub mod journal;
mod lease;
mod monitor;
mod observe;
mod places;
mod pressure;
mod realised;
mod rebuild;
mod reconcile;
mod run;
#[cfg(test)]
mod scratch;
mod shown;
mod snapshot;
mod sockets;
mod sources;
mod tenure;
mod vanished;
mod watchdog;

pub use capability::MissingCapability;
pub use cleanup::{Cleanup, cleanup};
pub use duties::{InvalidPodCidrs, PodCidrs};
pub use features::{Feature, features};
pub use handle::{Attach, Attached, Handle, RequestError, Status};
pub use handover::HandoverError;
pub use observe::Metrics;
pub use places::{PlaceError, rules};
pub use proxy::dns::end_with_other_panics;
pub use reconcile::{FailureRow, Report, StepReport, Subject};
pub use run::{RunError, Settings, run, wait_for_the_end};
pub use shown::{Shown, View};
pub use sources::Basis;
