//! The agent's settings, resolved: every field has its meaning and no field is optional by accident.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::{Dns, NodeName};

/// Settings of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The node this agent serves.
    pub node: NodeName,
    /// How pods are joined to the node.
    pub pod_link: PodLinkMode,
    /// How packets reach pods of other nodes.
    pub routing: Routing,
    /// Parameters of the overlay.
    pub vxlan: Vxlan,
    /// MTU of pods, in bytes; derived from the uplink when `None`.
    pub mtu: Option<u32>,
    /// Whether packets from pods to outside the cluster take the node's address.
    pub masquerade: bool,
    /// Destinations that see the pod's own address although they are outside the cluster.
    pub non_masquerade_cidrs: Vec<IpNet>,
    /// At which of the node's addresses node ports of Services are open. Never on loopback.
    pub node_port_addrs: Vec<NodePortAddrs>,
    /// Which `spec.externalIPs` of Services are honored; none when empty (CVE-2020-8554, KEP-5707).
    pub external_ips: Vec<IpNet>,
    /// Whether every packet to a cluster IP takes the node's address on its way to an endpoint.
    pub masquerade_all: bool,
    /// How connections are tracked.
    pub conntrack: Conntrack,
    /// What objects are called.
    pub dns: Dns,
    /// Whether the kernel can show packets that it drops: `log group` of nft. It is no setting, but tried.
    pub has_log: bool,
}

/// How connections are tracked on a node. What is `None` is left as it is.
///
/// Source: kube-proxy's flags `--conntrack-…`, and their defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conntrack {
    /// How many there may be at least.
    pub max: Option<u64>,
    /// How long an established TCP connection may be silent.
    pub tcp_established: Option<Duration>,
    /// How long one may be that its client has not closed yet.
    pub tcp_close_wait: Option<Duration>,
    /// Whether TCP segments outside of the window are translated like the others.
    pub tcp_be_liberal: bool,
    /// Whether a TCP connection is what began with a SYN, and nothing else.
    pub tcp_strict: bool,
}

impl Conntrack {
    /// What `max` is on a machine with so many processors: `per_core` for each, `min` at least, and no
    /// more than kube-proxy takes. `None` when `per_core` is 0.
    pub fn max_of(processors: u64, per_core: u32, min: u32) -> Option<u64> {
        const MOST: u64 = 1 << 20;
        let scaled = processors.saturating_mul(per_core.into());
        (per_core > 0).then(|| if scaled > MOST { MOST } else { scaled.max(min.into()) })
    }
}

impl Default for Conntrack {
    fn default() -> Self {
        Conntrack {
            max: None,
            tcp_established: Some(Duration::from_secs(24 * 3600)),
            tcp_close_wait: Some(Duration::from_secs(3600)),
            tcp_be_liberal: true,
            tcp_strict: true,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            node: NodeName::from(""),
            pod_link: PodLinkMode::Routed,
            routing: Routing::Auto,
            vxlan: Vxlan { vni: 77, port: 8472 },
            mtu: None,
            masquerade: true,
            non_masquerade_cidrs: Vec::new(),
            node_port_addrs: vec![NodePortAddrs::Primary],
            external_ips: Vec::new(),
            masquerade_all: false,
            conntrack: Conntrack::default(),
            dns: Dns::default(),
            has_log: true,
        }
    }
}

/// How pods are joined to their node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodLinkMode {
    /// A veth with a host prefix and a link-local gateway; no shared L2.
    Routed,
    /// A veth into the node's bridge `seaway0`; pods of a node share one subnet.
    Bridge,
}

/// How packets cross between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// Direct where the peer is on the same subnet, VXLAN elsewhere.
    Auto,
    /// Plain routes only; a peer on another subnet is reported as unreachable.
    Direct,
    /// VXLAN to every peer.
    Vxlan,
}

/// Some of a node's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodePortAddrs {
    /// The Node's first InternalIP of each family.
    Primary,
    /// All of them.
    All,
    /// Those inside of this prefix.
    Cidr(IpNet),
}

impl fmt::Display for NodePortAddrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodePortAddrs::Primary => f.write_str("primary"),
            NodePortAddrs::All => f.write_str("all"),
            NodePortAddrs::Cidr(cidr) => cidr.fmt(f),
        }
    }
}

impl FromStr for NodePortAddrs {
    type Err = UnknownValue;

    fn from_str(value: &str) -> Result<Self, UnknownValue> {
        match value {
            "primary" => Ok(NodePortAddrs::Primary),
            "all" => Ok(NodePortAddrs::All),
            cidr => cidr.parse().map(NodePortAddrs::Cidr).map_err(|_| UnknownValue {
                value: value.to_owned(),
                allowed: "primary, all or a CIDR like 192.0.2.0/24",
            }),
        }
    }
}

/// Parameters of the VXLAN overlay (RFC 7348).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vxlan {
    /// Network identifier, 24 bits.
    pub vni: u32,
    /// UDP port. 8472, the Linux default, as flannel and Cilium: 4789 clashes with VMware NSX.
    pub port: u16,
}

/// Text that names no value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not one of {allowed}")]
pub struct UnknownValue {
    value: String,
    allowed: &'static str,
}

macro_rules! named {
    ($type:ident, $allowed:literal, $($name:literal => $variant:ident),+) => {
        impl FromStr for $type {
            type Err = UnknownValue;

            fn from_str(value: &str) -> Result<Self, UnknownValue> {
                match value {
                    $($name => Ok($type::$variant),)+
                    _ => Err(UnknownValue { value: value.to_owned(), allowed: $allowed }),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($type::$variant => $name),+ })
            }
        }
    };
}

named!(PodLinkMode, "routed, bridge", "routed" => Routed, "bridge" => Bridge);
named!(Routing, "auto, direct, vxlan", "auto" => Auto, "direct" => Direct, "vxlan" => Vxlan);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s72_as_many_connections_as_kube_proxy_would_have_tracked() {
        for (processors, per_core, min, max) in [
            (1, 32768, 131_072, Some(131_072)),
            (4, 32768, 131_072, Some(131_072)),
            (8, 32768, 131_072, Some(262_144)),
            (64, 32768, 131_072, Some(1_048_576)),
            (8, 0, 131_072, None),
            (8, 1000, 0, Some(8000)),
        ] {
            assert_eq!(Conntrack::max_of(processors, per_core, min), max, "{processors}");
        }
    }
}
