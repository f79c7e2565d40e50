//! The API server's side of the World: objects listed and watched, decoded by `model::decode`, and
//! shown as the newest level. Whoever reads them sees a complete list or none. What is told in return
//! is a node's condition, events, in a Lease what a node does by now and, by the one that leads, the
//! conditions of policies, pod CIDRs of Nodes, and the Service of DNS with its endpoints. All of it is taken
//! back when Seaway goes.

mod chain;
mod client;
mod condition;
mod connection;
mod dns_service;
mod election;
mod event;
pub mod kind;
mod level;
mod node_cidrs;
pub mod node_lease;
mod object;
pub mod question;
mod servers;
mod status;
mod uninstall;
mod watch;

pub use chain::chain;
pub use client::{Access, ConnectError, connect};
pub use condition::{
    ConditionError, NETWORK_PRESSURE, NETWORK_UNAVAILABLE, NodeCondition, tell_condition,
};
pub use dns_service::{DnsServiceError, SliceError, delete_slice, make_dns_service, put_slice};
pub use election::{Election, Leadership};
pub use event::{Event, Events, EventsWaiting, Regarding, write_events};
pub use kind::Kind;
pub use kube_rs::Client;
pub use level::Listed;
pub use node_cidrs::{CidrsError, Seat, controller_managers, give_cidrs};
pub use servers::{Found, Kubelet, NoServerUrl, Origin, Server, ServerUrl, Servers, find};
pub use status::{StatusError, tell_policy};
pub use uninstall::{UninstallError, Uninstalled, uninstall};
pub use watch::watch;
