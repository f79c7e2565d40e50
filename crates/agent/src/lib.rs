//! The agent of one node: the loop that keeps the node's network equal to its plan, the journal of
//! its leases, and the sockets it answers on.

pub mod cni;
#[cfg(test)]
mod fake;
mod handle;
pub mod journal;
mod reconcile;
#[cfg(test)]
mod scratch;

pub use handle::{Attach, Attached, Handle, RequestError, Status};
pub use reconcile::{FailureRow, Report, StepReport, Subject};
