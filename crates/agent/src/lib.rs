//! The agent of one node: the loop that keeps the node's network equal to its plan, the journal of
//! its leases, and the sockets it answers on.

mod handle;
pub mod journal;
#[cfg(test)]
mod scratch;

pub use handle::{Attach, Attached, Handle, RequestError, Status};
