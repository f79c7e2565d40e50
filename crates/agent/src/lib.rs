//! The agent of one node: the loop that keeps the node's network equal to its plan, the journal of
//! its leases, and the sockets it answers on.

pub mod admin;
pub mod cni;
#[cfg(test)]
mod fake;
mod handle;
pub mod install;
pub mod journal;
mod observe;
mod reconcile;
#[cfg(test)]
mod scratch;
mod shown;
mod sources;

pub use handle::{Attach, Attached, Handle, RequestError, Status};
pub use observe::Metrics;
pub use reconcile::{FailureRow, Report, StepReport, Subject};
pub use shown::{Shown, View};
