//! A pod's link: the veth pair and everything inside the pod's network namespace.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use model::{IfName, Mac};

/// One attachment's veth pair. The host end is named by its key (`AttachmentKey::host_link`) and
/// carries an alias with key and namespace path, so the pair is known again without any record; its
/// settings are those of every [`Link`](crate::Link).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLink {
    /// Path of the pod's network namespace.
    pub netns: PathBuf,
    /// MTU of both ends, in bytes.
    pub mtu: u32,
    /// Hardware address of the host end.
    pub host_mac: Mac,
    /// Hardware address of the pod's end.
    pub mac: Mac,
    /// Addresses of the pod's end: host prefixes when routed, the node's subnet when bridged.
    /// Ascending, as they are observed.
    pub addrs: Vec<IpNet>,
    /// Where the pod's default routes lead, at most one per family. Ascending.
    pub gateways: Vec<IpAddr>,
    /// Static neighbor for the gateways: the host end, or the bridge.
    pub gateway_mac: Option<Mac>,
    /// The bridge the host end is a port of. A port has hairpin on, learning and unicast flooding off.
    pub master: Option<IfName>,
}

/// One line, as the `ip` commands that would make it.
impl fmt::Display for PodLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "netns {} mtu {} address {}", self.netns.display(), self.mtu, self.mac)?;
        write!(f, " host-address {}", self.host_mac)?;
        self.addrs.iter().try_for_each(|addr| write!(f, " addr {addr}"))?;
        self.gateways.iter().try_for_each(|gateway| write!(f, " default via {gateway}"))?;
        if let Some(mac) = self.gateway_mac {
            write!(f, " lladdr {mac}")?;
        }
        if let Some(master) = &self.master {
            write!(f, " master {master} hairpin on learning off flood off")?;
        }
        Ok(())
    }
}
