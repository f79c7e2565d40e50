//! The API server's side of the World: objects listed and watched, decoded by `model::decode`, and
//! shown as the newest level. Whoever reads them sees a complete list or none. What is told in return
//! is a node's condition, events and, where that is asked for, which endpoints a node has let go.

mod client;
mod condition;
mod connection;
pub mod drain;
mod event;
pub mod kind;
mod level;
mod servers;
mod watch;

pub use client::{Access, ConnectError, connect};
pub use condition::{
    ConditionError, NETWORK_PRESSURE, NETWORK_UNAVAILABLE, NodeCondition, tell_condition,
};
pub use event::{Event, Events, EventsWaiting, Regarding, write_events};
pub use kind::Kind;
pub use kube_rs::Client;
pub use level::Listed;
pub use servers::{Found, Kubelet, NoServerUrl, Origin, Server, ServerUrl, Servers, find};
pub use watch::watch;
