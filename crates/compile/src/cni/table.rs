//! The containers of this node, as a table that prints.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Attachment, AttachmentKey, IfName, PortMapping};
use plan::PodLink;

/// Container → how it is joined to the network.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Attachments {
    /// The rows.
    pub rows: BTreeMap<AttachmentKey, Joined>,
}

/// How one container is joined to the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// What was asked for.
    pub attachment: Arc<Attachment>,
    /// Name of the host end of its veth pair.
    pub host_link: IfName,
    /// The pair, and everything inside of the container.
    pub link: PodLink,
    /// Its addresses.
    pub addrs: Vec<IpAddr>,
    /// Ports of the node that lead to it.
    pub ports: Vec<PortMapping>,
}

impl fmt::Display for Attachments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, joined) in &self.rows {
            write!(f, "{key}")?;
            if let Some(pod) = &joined.attachment.pod {
                write!(f, " pod {pod}")?;
            }
            joined.addrs.iter().try_for_each(|addr| write!(f, " {addr}"))?;
            write!(f, " dev {} mtu {}", joined.host_link, joined.link.mtu)?;
            for port in &joined.ports {
                let at = port.host_ip.map(|ip| format!("{ip}/")).unwrap_or_default();
                let PortMapping { host_port, container_port, protocol, .. } = port;
                write!(f, " {at}{host_port}/{protocol}->{container_port}")?;
            }
            if let Some(search) = &joined.attachment.search {
                write!(f, " search {search}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
