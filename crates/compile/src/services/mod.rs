//! Services: what this node does with packets to addresses and ports that stand for endpoints.
//!
//! [`ServiceTable`] says it in the API's terms, whatever makes it so: for every frontend that is open
//! here, what becomes of a new flow, and the backends it may go to.
//!
//! Sources: Service and EndpointSlice API; KEP-1669, KEP-1672, KEP-2086, KEP-2433, KEP-3015, KEP-4444;
//! S-1 to S-57, S-78. Page: docs/services.md.

mod table;

pub use table::{
    Action, At, Backend, Frontend, FrontendKind, HealthCheck, PortEntry, Resolved, Row,
    ServiceTable, Source,
};
