//! Containers joined to the network.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::net::fnv1a;
use crate::{IfName, Mac, Protocol, SearchList};

/// What CNI calls an attachment: one interface of one container.
///
/// Source: CNI spec 1.1.0 §2, `CNI_CONTAINERID` and `CNI_IFNAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachmentKey {
    /// The runtime's id of the sandbox.
    pub container_id: Arc<str>,
    /// Name of the interface inside the container.
    pub ifname: IfName,
}

impl AttachmentKey {
    /// Name of the host end of this attachment's veth pair: `sw` and 12 hex digits that follow from
    /// the key alone, so it can be found again without any record.
    ///
    /// # Panics
    /// Never: the name is 14 plain bytes.
    pub fn host_link(&self) -> IfName {
        let hash = fnv1a(format!("{}/{}", self.container_id, self.ifname).as_bytes());
        IfName::new(format!("sw{:012x}", hash >> 16)).expect("14 hex bytes are a valid name")
    }

    /// Whether `name` is one that [`AttachmentKey::host_link`] gives.
    pub fn names_host_link(name: &IfName) -> bool {
        let digits = name.as_str().strip_prefix("sw").filter(|digits| digits.len() == 12);
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container_id, self.ifname)
    }
}

/// A container joined to the network by a CNI ADD that has not been followed by a DEL.
///
/// It is also the lease of its addresses: they are this attachment's until it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Container and interface.
    pub key: AttachmentKey,
    /// Name of the CNI network that asked (`name` in its configuration); GC works per network.
    pub network: String,
    /// Path of the container's network namespace, in the runtime's mount namespace.
    pub netns: PathBuf,
    /// The pod, when the runtime said which.
    pub pod: Option<PodRef>,
    /// Leased addresses, at most one per family, primary first.
    pub addrs: Vec<IpAddr>,
    /// Hardware address of the interface inside the container.
    pub mac: Mac,
    /// Ports of the node that lead to this container (`portMappings` capability, hostPort).
    pub port_mappings: Vec<PortMapping>,
    /// Where the container looks for names, when the runtime said so and the pod wants help with it.
    pub search: Option<Arc<SearchList>>,
}

/// A pod as the runtime names it.
///
/// Source: CNI_ARGS `K8S_POD_NAMESPACE`, `K8S_POD_NAME`, `K8S_POD_UID`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodRef {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`, empty when the runtime left it out.
    pub uid: String,
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One `hostPort`: a port of the node that leads to a port of the container.
///
/// Source: CNI conventions, capability `portMappings`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortMapping {
    /// Port on the node.
    pub host_port: u16,
    /// Port in the container.
    pub container_port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Only this address of the node; all of them when `None`.
    pub host_ip: Option<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_link_name_follows_from_the_key_and_fits() {
        let key =
            |id: &str| AttachmentKey { container_id: id.into(), ifname: "eth0".parse().unwrap() };
        assert_eq!(key("a").host_link(), key("a").host_link());
        assert_ne!(key("a").host_link(), key("b").host_link());
        assert!(key("a").host_link().as_str().starts_with("sw"));
        assert_eq!(key("a").host_link().as_str().len(), 14);
        assert!(AttachmentKey::names_host_link(&key("a").host_link()));
        for other in ["sw-vxlan", "seaway0", "eth0", "sw0123456789ag"] {
            assert!(!AttachmentKey::names_host_link(&other.parse().unwrap()), "{other}");
        }
    }
}
