//! What this node tells load balancers and probes about itself, as kube-proxy does: whether it
//! serves Services at all (`/healthz`, `/livez`), and how many endpoints of one Service it has
//! (`spec.healthCheckNodePort`).
//!
//! All of it follows from what the loop last showed, and so from what is in the kernel: a node whose
//! rules are not what they should be says so, rather than that the process lives (S-84).
//!
//! Sources: KEP-1669, KEP-3836; kube-proxy's `pkg/proxy/healthcheck`; S-78 to S-84.

mod answers;
mod due;
mod ports;

pub(crate) use answers::{Health, service_health};
pub(crate) use due::Due;
pub(crate) use ports::keep_open;
