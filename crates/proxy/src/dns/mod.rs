//! The DNS server of a node.

mod others;

pub use others::{Found, FoundRecord, Others, Prior, Sought};
