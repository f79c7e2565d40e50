//! One node of the lab: a process that is PID 1 of its own PID namespace and has its own network,
//! mounts, host name and `/run`. It runs the pods bound to it and keeps the agent alive.

mod context;

pub use context::Context;
