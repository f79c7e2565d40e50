//! Which names rules ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    ClusterPolicy, ClusterPolicyName, Direction, DomainPattern, Family, OrdMap, Peer, World,
};
use plan::nft::{Key, Row, SetName, TableFamily};
use plan::{NamedSets, Table};

use super::name_set;

/// The patterns of one World's policies after another's.
#[derive(Debug, Default, Clone)]
pub struct Patterns {
    seen: OrdMap<ClusterPolicyName, Arc<ClusterPolicy>>,
    all: BTreeSet<DomainPattern>,
}

impl Patterns {
    /// The sets that `rows` have for the names in policies of `world`: those that some pod's rules ask for.
    pub(crate) fn sets(&mut self, world: &World, rows: &Table<Key, Row>) -> NamedSets {
        if self.seen != world.cluster_policies {
            self.seen = world.cluster_policies.clone();
            self.all = self.seen.values().flat_map(|policy| patterns(policy)).cloned().collect();
        }
        let there = |set: &SetName| rows.get(&Key::Set(TableFamily::Inet, set.clone())).is_some();
        let sets = |pattern: &DomainPattern| -> BTreeMap<Family, SetName> {
            let all = Family::ALL.map(|family| (family, name_set(pattern, family)));
            all.into_iter().filter(|(_, set)| there(set)).collect()
        };
        let all = self.all.iter().map(|pattern| (pattern.clone(), sets(pattern)));
        all.filter(|(_, sets)| !sets.is_empty()).collect()
    }
}

fn patterns(policy: &ClusterPolicy) -> impl Iterator<Item = &DomainPattern> {
    let rules = policy.rules(Direction::Egress).iter();
    let peers = rules.flat_map(|rule| rule.rule.peers.iter().flatten());
    peers.filter_map(|peer| match peer {
        Peer::Names(pattern) => Some(pattern),
        Peer::Pods(_) | Peer::Nodes(_) | Peer::Block(_) => None,
    })
}
