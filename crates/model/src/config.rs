//! The agent's settings, resolved: every field has its meaning and no field is optional by accident.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use crate::NodeName;

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
}

impl Default for Config {
    fn default() -> Self {
        Config {
            node: NodeName(String::new()),
            pod_link: PodLinkMode::Routed,
            routing: Routing::Auto,
            vxlan: Vxlan { vni: 77, port: 8472 },
            mtu: None,
            masquerade: true,
            non_masquerade_cidrs: Vec::new(),
            node_port_addrs: vec![NodePortAddrs::Primary],
            external_ips: Vec::new(),
            masquerade_all: false,
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
