//! The pools of all nodes, as a table that prints.

use std::collections::BTreeMap;
use std::fmt;

use model::{Family, NodeName};

use super::Pool;

/// Node → its usable pod CIDRs, in the order of the Node's `spec.podCIDRs`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pools {
    nodes: BTreeMap<NodeName, Vec<Pool>>,
}

impl Pools {
    pub(super) fn insert(&mut self, node: NodeName, pool: Pool) {
        self.nodes.entry(node).or_default().push(pool);
    }

    /// The pools of `node`, primary family first; empty for a node without a usable CIDR.
    pub fn of(&self, node: &NodeName) -> &[Pool] {
        self.nodes.get(node).map_or(&[], Vec::as_slice)
    }

    /// The pool of `node` in `family`.
    pub fn pool(&self, node: &NodeName, family: Family) -> Option<&Pool> {
        self.of(node).iter().find(|pool| pool.family() == family)
    }

    /// Every node's pools, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeName, &Pool)> {
        self.nodes.iter().flat_map(|(node, pools)| pools.iter().map(move |pool| (node, pool)))
    }
}

impl fmt::Display for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(node, pool)| writeln!(f, "{pool} node {node}"))
    }
}
