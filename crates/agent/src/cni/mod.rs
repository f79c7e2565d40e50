//! CNI: the plugin process a runtime starts ([`plugin`]), and the socket on which the agent answers
//! it ([`Server`]); and [`loopback`], the other plugin older runtimes insist on.
//!
//! The plugin is thin. It checks the request, hands it to the agent together with the container's
//! network namespace, and prints the reply; all knowledge and all state are the agent's. While the
//! agent is down, ADD, CHECK and GC fail with code 11 (try again later), STATUS with 50, and a DEL
//! is put on disk (`pending`) so that pods can go away in the meantime.
//!
//! Source: `docs/cni.md`; CNI spec 1.1.0.

mod answer;
mod check;
pub mod loopback;
mod pending;
pub mod plugin;
mod server;
#[cfg(test)]
mod tests;

pub use server::{ServeError, Server};
