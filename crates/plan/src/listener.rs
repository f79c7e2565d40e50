//! Where DNS is answered, and whom.

use std::fmt;
use std::net::SocketAddr;

use ipnet::IpNet;

/// A fact about where a node answers DNS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    /// At an address that every node has for itself. Packets to it are not tracked while somebody
    /// answers.
    Local(SocketAddr),
    /// At an address of the node's own, where only [`Listener::Client`]s are answered: others hear
    /// nothing.
    Node(SocketAddr),
    /// Who comes from here is a client there.
    Client(IpNet),
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Local(place) => write!(f, "{place} untracked"),
            Listener::Node(place) => write!(f, "{place} for clients"),
            Listener::Client(net) => write!(f, "client {net}"),
        }
    }
}
