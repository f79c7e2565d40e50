//! Routes, policy rules, neighbors and forwarding entries.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{IfName, Mac};

/// `rtm_protocol`, `FRA_PROTOCOL` and `NDA_PROTOCOL` of everything Seaway writes: the mark of its
/// owner. Not taken in iproute2's `rt_protos`.
pub const PROTOCOL: u8 = 83;

/// The bit of a packet's mark that says: routed by the main table, around the overlay. The mark's
/// highest byte is Seaway's, the others are left as they are.
pub const AROUND_OVERLAY: u32 = 0x0100_0000;

/// The link of what stays on the machine.
pub const LOOPBACK: &str = "lo";

/// A routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteTable {
    /// The kernel's main table, 254.
    Main,
    /// Seaway's own: reached by its own rules only.
    Overlay,
    /// The kernel's table of what is delivered here, 255: its routes are of type `local`.
    Local,
}

impl RouteTable {
    /// The kernel's number of the table.
    pub fn id(self) -> u32 {
        match self {
            RouteTable::Main => 254,
            RouteTable::Overlay => 8377,
            RouteTable::Local => 255,
        }
    }
}

/// What identifies a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// The table it stands in.
    pub table: RouteTable,
    /// Destination prefix.
    pub dst: IpNet,
}

/// Where packets to the destination go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Next hop; `None` when the destination is on the link itself.
    pub via: Option<IpAddr>,
    /// Link they leave by; `None` where senders are told that nobody is there (`unreachable`).
    pub dev: Option<IfName>,
    /// The next hop is on the link although no address of the link says so.
    pub onlink: bool,
    /// Source address of packets that the node itself sends this way.
    pub src: Option<IpAddr>,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.table {
            RouteTable::Main => self.dst.fmt(f),
            RouteTable::Overlay => write!(f, "{} table {}", self.dst, self.table.id()),
            RouteTable::Local => write!(f, "local {}", self.dst),
        }
    }
}

/// As after `ip route add PREFIX`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        match &self.dev {
            None => words.push("unreachable".to_owned()),
            Some(dev) => {
                words.extend(self.via.map(|via| format!("via {via}")));
                words.push(format!("dev {dev}"));
            }
        }
        if let (None, Some(dev)) = (self.via, &self.dev) {
            let scope = if dev.as_str() == LOOPBACK { "host" } else { "link" };
            words.push(format!("scope {scope}"));
        }
        words.extend(self.src.map(|src| format!("src {src}")));
        words.extend(self.onlink.then(|| "onlink".to_owned()));
        f.write_str(&words.join(" "))
    }
}

/// What identifies a policy rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleKey {
    /// Order among all rules of the node, lowest first.
    pub priority: u32,
    /// Source prefix it applies to.
    pub from: IpNet,
    /// Bits of the mark that all have to be set; 0 when the mark does not matter.
    pub mark: u32,
}

/// Which table packets of the rule are routed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The table looked up; the next rule follows when it has no route.
    pub table: RouteTable,
}

impl fmt::Display for RuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: from {}", self.priority, self.from)?;
        match self.mark {
            0 => Ok(()),
            bits => write!(f, " fwmark {bits:#x}/{bits:#x}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.table {
            RouteTable::Main => f.write_str("lookup main"),
            RouteTable::Overlay | RouteTable::Local => write!(f, "lookup {}", self.table.id()),
        }
    }
}

/// What identifies a neighbor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeighborKey {
    /// Link it is on.
    pub dev: IfName,
    /// Its address.
    pub addr: IpAddr,
}

/// A permanent neighbor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// Its hardware address.
    pub mac: Mac,
}

impl fmt::Display for NeighborKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.addr, self.dev)
    }
}

impl fmt::Display for Neighbor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lladdr {} PERMANENT", self.mac)
    }
}

/// What identifies a forwarding entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FdbKey {
    /// Device: the VXLAN device, or a port of the bridge.
    pub dev: IfName,
    /// Destination hardware address.
    pub mac: Mac,
}

/// Where frames to that address go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fdb {
    /// To the VTEP at this underlay address (`self permanent`).
    Vtep(IpAddr),
    /// Out of the bridge port that the key names (`master static`).
    Port,
}

impl fmt::Display for FdbKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.mac, self.dev)
    }
}

impl fmt::Display for Fdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fdb::Vtep(addr) => write!(f, "dst {addr} self permanent"),
            Fdb::Port => f.write_str("master static"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_print_as_ip_route_does() {
        let dev = || Some("eth0".parse().unwrap());
        let via = Some("192.0.2.7".parse().unwrap());
        let cases = [
            (Route { via, dev: dev(), onlink: false, src: None }, "via 192.0.2.7 dev eth0"),
            (Route { via: None, dev: dev(), onlink: false, src: None }, "dev eth0 scope link"),
            (
                Route { via, dev: dev(), onlink: true, src: via },
                "via 192.0.2.7 dev eth0 src 192.0.2.7 onlink",
            ),
            (Route { via: None, dev: None, onlink: false, src: None }, "unreachable"),
            (
                Route { via: None, dev: Some("lo".parse().unwrap()), onlink: false, src: via },
                "dev lo scope host src 192.0.2.7",
            ),
        ];
        for (route, text) in cases {
            assert_eq!(route.to_string(), text);
        }
    }
}
