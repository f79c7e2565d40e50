//! Pods, as far as policy needs them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{Interner, Labels, NodeName, Protocol, Uid};

/// Namespace and name of an object. It orders by namespace, then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl ObjectName {
    /// The object `name` of `namespace`.
    pub fn new(namespace: &str, name: &str) -> Self {
        ObjectName { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod of any node. Whether it terminates makes no difference: until its sandbox is gone it is what
/// it was (NP-N9).
///
/// Source: `v1/Pod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub name: ObjectName,
    /// Of two pods of one name, which: `metadata.uid`, and of a static pod that of its file, as runtimes
    /// call it.
    pub uid: Uid,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.nodeName`, once it is known.
    pub node: Option<NodeName>,
    /// `spec.hostNetwork`: its addresses are its node's, and so is its traffic.
    pub is_host_network: bool,
    /// `status.podIPs`. None while there are none yet, and none once the pod has succeeded or failed:
    /// what it had may be another's by then.
    pub addrs: Vec<IpAddr>,
    /// Ports of its containers that have a name.
    pub ports: Arc<[NamedPort]>,
}

impl Pod {
    /// Has what others have as well in memory once: what is the same in `neighbor`, as most is in two pods
    /// of a workload, and what `interner` knows.
    pub fn share(&mut self, neighbor: Option<&Pod>, interner: &mut Interner) {
        fn one<T: PartialEq + Clone>(own: &mut T, other: &T) {
            if own == other {
                own.clone_from(other);
            }
        }
        if let Some(neighbor) = neighbor {
            one(&mut self.labels, &neighbor.labels);
            one(&mut self.ports, &neighbor.ports);
        }
        self.labels.share(interner);
        Arc::get_mut(&mut self.ports)
            .into_iter()
            .flatten()
            .for_each(|port| interner.share(&mut port.name));
        interner.share(&mut self.name.namespace);
        interner.share_node(&mut self.node);
    }
}

/// A port of a container with a name that policies may call it by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    /// `name`.
    pub name: Arc<str>,
    /// `protocol`.
    pub protocol: Protocol,
    /// `containerPort`.
    pub port: u16,
}
