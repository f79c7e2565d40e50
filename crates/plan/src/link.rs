//! Links of the node itself.

use std::fmt;
use std::net::IpAddr;

use model::Mac;

/// A link that Seaway makes on the node. It is always up, and it carries the alias
/// [`Link::ALIAS`] as the mark of its owner.
///
/// Its settings (`net.ipv4.conf.LINK.*`, `net.ipv6.conf.LINK.*`) follow from what it is and need no
/// rows: it forwards, accepts and sends no redirect, accepts no router advertisement and none of the
/// node's own addresses as a source, keeps 127/8 on the machine, and filters reverse paths strictly.
///
/// Source: ip-sysctl.rst; RFC 3704 §2 (strict reverse path); P-21, P-22, T01, T04.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it is.
    pub kind: LinkKind,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// Its hardware address.
    pub mac: Mac,
}

impl Link {
    /// Alias (`IFLA_IFALIAS`) by which Seaway knows its links again.
    pub const ALIAS: &str = "seaway";
}

/// Kinds of links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// The node bridge: no STP, no multicast snooping.
    Bridge,
    /// A VXLAN device (RFC 7348) that learns nothing: every peer is a static FDB entry.
    Vxlan {
        /// Network identifier, 24 bits.
        vni: u32,
        /// UDP destination port.
        port: u16,
        /// Address of this node that tunnel packets leave from; its family is the outer family.
        local: IpAddr,
    },
}

/// As after `ip link add NAME`.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            LinkKind::Bridge => write!(f, "type bridge")?,
            LinkKind::Vxlan { vni, port, local } => {
                write!(f, "type vxlan id {vni} local {local} dstport {port} nolearning")?;
            }
        }
        write!(f, " mtu {} address {}", self.mtu, self.mac)
    }
}
