//! How the pods of other nodes are reached, as a table that prints.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use model::{IfName, Mac, NodeName};

use super::mtu::LEAST;

/// How this node reaches the pods of every other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers {
    /// MTU of pods and of the VXLAN device, in bytes.
    pub mtu: u32,
    /// Why a new container can't be given that MTU honestly: too little fits through the uplink.
    pub mtu_too_small: Option<super::MtuTooSmall>,
    /// Address of this node that tunnel packets leave from, when any peer is behind the overlay.
    pub tunnel: Option<IpAddr>,
    /// Peers whose pods can be reached.
    pub rows: BTreeMap<NodeName, Peer>,
}

/// Another node whose pods can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its addresses.
    pub addrs: Vec<IpAddr>,
    /// Where tunnel packets to it go, when any of its pods are behind the overlay.
    pub vtep: Option<Vtep>,
    /// Its pod CIDRs, each with the way to it.
    pub pods: Vec<(IpNet, Reach)>,
}

/// The tunnel endpoint of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vtep {
    /// Hardware address of its VXLAN device; follows from the node's name.
    pub mac: Mac,
    /// Its address on the underlay.
    pub addr: IpAddr,
}

impl Vtep {
    /// The next hop that stands for this endpoint on the way to `cidr`; a static neighbor leads on.
    ///
    /// In IPv4 it is the CIDR's network address, as no pod has it. In IPv6 it is the link-local
    /// address of the endpoint's hardware address (RFC 4291 appendix A): the kernel looks a global
    /// next hop up in the main table and refuses one that another link leads to, which is so while
    /// a peer moves from a direct route into the tunnel.
    pub fn next_hop(&self, cidr: IpNet) -> IpAddr {
        if cidr.addr().is_ipv4() {
            return cidr.network();
        }
        let [a, b, c, d, e, f] = self.mac.0;
        let word = |high, low| u16::from_be_bytes([high, low]);
        let ends = [word(a ^ 0x02, b), word(c, 0xff), word(0xfe, d), word(e, f)];
        Ipv6Addr::new(0xfe80, 0, 0, 0, ends[0], ends[1], ends[2], ends[3]).into()
    }
}

/// The way to a pod CIDR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Over the underlay as it is: the node is on one of our subnets.
    Direct {
        /// The node's address.
        via: IpAddr,
        /// The uplink.
        dev: IfName,
    },
    /// Inside VXLAN.
    Overlay,
    /// As the route says that another network has there, until it is gone.
    Other,
}

impl Default for Peers {
    fn default() -> Self {
        Peers { mtu: LEAST, mtu_too_small: None, tunnel: None, rows: BTreeMap::new() }
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, peer) in &self.rows {
            for (cidr, reach) in &peer.pods {
                write!(f, "{cidr} node {name} ")?;
                match (reach, &peer.vtep) {
                    (Reach::Direct { via, dev }, _) => writeln!(f, "direct via {via} dev {dev}")?,
                    (Reach::Overlay, Some(Vtep { mac, addr })) => {
                        writeln!(f, "vxlan to {addr} vtep {mac}")?;
                    }
                    (Reach::Overlay, None) => writeln!(f, "vxlan")?,
                    (Reach::Other, _) => writeln!(f, "by another network's route")?,
                }
            }
        }
        writeln!(f, "pod mtu {}", self.mtu)
    }
}
