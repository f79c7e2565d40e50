//! The pods of a node, as servers on it know their clients: by address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::{PodRef, SearchList};

/// The pods of a node by their addresses. A pod can't send with another one's, so who a packet is from is
/// beyond doubt. Cheap to clone.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LocalPods(Arc<BTreeMap<IpAddr, LocalPod>>);

/// A pod of the node.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LocalPod {
    /// Which one, when its runtime said so.
    pub pod: Option<Arc<PodRef>>,
    /// Where it looks for names, when they are to be looked for in its place.
    pub search: Option<Arc<SearchList>>,
}

impl LocalPods {
    /// The pod at `ip`.
    pub fn at(&self, ip: IpAddr) -> Option<&LocalPod> {
        self.0.get(&ip)
    }
}

impl FromIterator<(IpAddr, LocalPod)> for LocalPods {
    fn from_iter<I: IntoIterator<Item = (IpAddr, LocalPod)>>(pods: I) -> Self {
        LocalPods(Arc::new(pods.into_iter().collect()))
    }
}
