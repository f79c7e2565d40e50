//! Services: what this node does with packets to addresses and ports that stand for endpoints.
//!
//! [`ServiceTable`] says it in the API's terms, whatever makes it so: for every frontend that is open
//! here, what becomes of a new flow, and the backends it may go to.
//!
//! - Which Services: those with a cluster IP that no other proxy serves (S-1, S-2).
//! - Which backends: `endpoints.rs`; where they are open and for whom: `frontends.rs`.
//! - A cluster IP is its Service's own. What others wish for besides, they get as far as it is
//!   nobody's: an external address that is a pod's, a node's or another Service's is refused
//!   (CVE-2020-8554). Endpoints that mean something else on every node are left out (CVE-2021-25737).
//! - Only what changed is resolved again: `memo.rs`.
//!
//! Sources: Service and EndpointSlice API; KEP-1669, KEP-1672, KEP-2086, KEP-2433, KEP-3015, KEP-4444;
//! S-1 to S-57, S-78, S-99; T02, T03. Page: docs/services.md.

mod context;
mod endpoints;
mod explain;
mod frontends;
mod memo;
mod nft;
mod resolve;
mod table;

pub use endpoints::{Excluded, Topology};
pub use explain::{ExplainedEndpoint, ExplainedPort, Explanation, explain};
pub(crate) use memo::Memo;
pub use nft::Lowered;
pub use table::{
    Action, At, Backend, Frontend, FrontendKind, HealthCheck, PortEntry, Resolved, Row,
    ServiceTable, Source,
};
