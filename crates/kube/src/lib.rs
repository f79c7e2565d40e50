//! The API server's side of the World: objects listed and watched, decoded by `model::decode`, and
//! shown as the newest level. Whoever reads them sees a complete list or none.

mod client;
mod connection;
mod nodes;

pub use client::{Access, ConnectError, connect};
pub use kube_rs::Client;
pub use nodes::{Nodes, watch_nodes};
