//! What one node should hold: [`Plan`], a handful of sorted, keyed tables that print in the field's
//! own notation. A plan is so specific that applying it takes no decisions.
//!
//! Each table is one kind of place in the kernel. `compile` fills them, `kernel` makes each place
//! equal to its table through the one [`Mechanism`] contract.

mod flow;
mod link;
mod listener;
mod local_pods;
mod mechanism;
mod named;
pub mod nft;
mod pod;
mod route;
mod sysctl;
mod table;
pub mod zone;

pub use flow::{Flow, FlowFilter, FlowKey, Serving, Suspect, suspects};
pub use link::{Link, LinkKind};
pub use listener::Listener;
pub use local_pods::{LocalPod, LocalPods};
pub use mechanism::{Failure, Mechanism, ObserveError, converge};
pub use named::{NamedSets, Stay, Unwritten};
pub use pod::PodLink;
pub use route::{
    AROUND_OVERLAY, Fdb, FdbKey, LOOPBACK, Neighbor, NeighborKey, PROTOCOL, Route, RouteKey,
    RouteTable, Rule, RuleKey,
};
pub use sysctl::{Setting, SysctlKey};
pub use table::{Changes, Put, Table, diff};

use ipnet::IpNet;
use model::{AttachmentKey, IfName};

/// Everything one node should hold. The order of the fields is the order in which they are applied.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Links of the node that belong to no pod: the bridge and the VXLAN device.
    pub links: Table<IfName, Link>,
    /// Addresses of those links.
    pub addrs: Table<(IfName, IpNet), ()>,
    /// Pods' veth pairs, with everything inside the pod.
    pub pods: Table<AttachmentKey, PodLink>,
    /// Kernel settings.
    pub sysctls: Table<SysctlKey, Setting>,
    /// Static neighbors on Seaway's links.
    pub neighbors: Table<NeighborKey, Neighbor>,
    /// Addresses that the node answers for on a link of others: it knows the way to them.
    pub proxies: Table<NeighborKey, ()>,
    /// Static forwarding entries of the VXLAN device and the bridge.
    pub fdb: Table<FdbKey, Fdb>,
    /// Routes.
    pub routes: Table<RouteKey, Route>,
    /// Policy rules that choose a routing table.
    pub rules: Table<RuleKey, Rule>,
    /// The nftables tables.
    pub nft: Table<nft::Key, nft::Row>,
    /// Which flows may live that connection tracking knows.
    pub flows: Table<FlowKey, Serving>,
    /// Where DNS is answered, and whom.
    pub listeners: Table<Listener, ()>,
}
