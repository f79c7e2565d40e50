//! The DNS server of a node.
//!
//! Datagrams are answered by threads of their own, from the tables of `plan`, without waiting and
//! without allocating; connections, and questions for which others have to be asked, are tasks of an
//! asynchronous runtime. The agent says where it [listens](Server::listen) and replaces what it
//! [answers by](Known).

mod asking;
mod bind;
mod contained;
mod cookie;
mod counts;
mod forward;
mod log;
mod lookup;
mod named;
mod others;
mod path;
mod random;
mod respond;
mod server;
mod share;
mod sources;
mod tcp;
mod udp;

pub use bind::{Admits, Listen, ListenError};
pub use contained::end_with_other_panics;
pub use counts::{Classes, Counts, DURATIONS, KINDS, Origin, SIZES, Told, Zone};
pub use forward::{CacheTally, Connections, Forwarder, Tally, UpstreamTally};
pub use log::{Asked, Log};
pub use named::{AddrSets, Around, Named, NamedTally};
pub use others::{Found, FoundRecord, Others, Prior, Sought};
pub use respond::Known;
pub use server::{Limits, Server, StartError};
pub use sources::Sources;
