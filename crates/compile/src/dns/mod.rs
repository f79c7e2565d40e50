//! DNS: what the cluster's Services, endpoints and pods are called.
//!
//! [`Zones`] says it; what is answered to a question follows from them alone (`plan::zone`).
//!
//! - A Service is called `NAME.NAMESPACE.svc.ZONE`. The name stands for its cluster IPs, for its ready
//!   endpoints (headless), or for another name (ExternalName).
//! - Each endpoint has a name under its Service's: its hostname, or its address with dashes.
//! - Ready is what its slice says, or any endpoint under `publishNotReadyAddresses` (DNS-12).
//!
//! Sources: the DNS specification of Kubernetes 1.1.0; DNS-1 to DNS-45.

mod entry;
mod memo;

pub use memo::Memo;
pub use plan::zone::Zones;
