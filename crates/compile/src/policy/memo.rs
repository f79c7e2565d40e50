//! The policies of one World after another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;

use model::{
    Attachment, ClusterPolicy, ClusterPolicyName, Namespace, NetworkPolicy, Node, NodeName,
    ObjectName, OrdMap, Pod, World,
};
use plan::nft::{Key, Row, TableFamily};
use plan::{Table, diff};

use super::nft::{Around, generation, lower, numbered};
use super::{PolicyTable, resolve};

/// What policies ask of a node and the rows that enforce it, made from a World when anything in it is new
/// that policies go by.
///
/// It keeps the number that allowed connections bear (see docs/decisions/0031): rows that ask for anything
/// else than those before have the next one.
#[derive(Debug, Clone, Default)]
pub struct Memo {
    seen: Option<Seen>,
    table: Arc<PolicyTable>,
    /// What a kernel had at the start, until there are rows of our own.
    found: Option<Table<Key, Row>>,
    number: Option<NonZero<u8>>,
    own: Table<Key, Row>,
    others: Table<Key, Row>,
    rows: Table<Key, Row>,
}

/// What of a World policies go by. A copy shares it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    pods: OrdMap<ObjectName, Arc<Pod>>,
    namespaces: OrdMap<Arc<str>, Arc<Namespace>>,
    policies: OrdMap<ObjectName, Arc<NetworkPolicy>>,
    cluster_policies: OrdMap<ClusterPolicyName, Arc<ClusterPolicy>>,
    nodes: OrdMap<NodeName, Arc<Node>>,
    around: Around,
}

impl Memo {
    /// Goes on from the rows that an agent before has left in the kernel: what is as it was keeps its number.
    pub fn after(found: Table<Key, Row>) -> Self {
        let number = generation(&found);
        Memo { found: Some(found), number, ..Memo::default() }
    }

    /// What policies ask of `me`, and the rows of that and of `others`.
    pub(crate) fn update(
        &mut self,
        world: &World,
        me: &NodeName,
        others: &Table<Key, Row>,
    ) -> (Arc<PolicyTable>, Table<Key, Row>) {
        let seen = Seen::of(world, me);
        if self.seen.as_ref() != Some(&seen) {
            self.table = Arc::new(resolve(world, me));
            self.number_rows(&seen.around);
            self.seen = Some(seen);
        }
        self.rows.patch(&diff(&self.others, others));
        self.others = others.clone();
        self.keep_tables();
        (Arc::clone(&self.table), self.rows.clone())
    }

    /// A table is of all who have rows in it, and stays when some of them leave.
    fn keep_tables(&mut self) {
        for key in [TableFamily::Inet, TableFamily::Bridge].map(Key::Table) {
            if [&self.own, &self.others].iter().any(|rows| rows.get(&key).is_some()) {
                self.rows.insert(key, Row::Table);
            }
        }
    }

    /// Makes the rows of the table, with another number if they are others.
    fn number_rows(&mut self, around: &Around) {
        let first = NonZero::<u8>::MIN;
        let mut own = lower(&self.table, around, self.number.unwrap_or(first));
        let is_as_before = match self.found.take() {
            Some(found) => holds(&found, &own),
            None => own == self.own,
        };
        if !is_as_before {
            let next = self.number.map_or(first, |number| number.checked_add(1).unwrap_or(first));
            numbered(next, &mut own);
        }
        self.number = generation(&own).or(self.number);
        self.rows.patch(&diff(&self.own, &own));
        self.own = own;
    }
}

impl Seen {
    fn of(world: &World, me: &NodeName) -> Self {
        Seen {
            pods: world.pods.clone(),
            namespaces: world.namespaces.clone(),
            policies: world.policies.clone(),
            cluster_policies: world.cluster_policies.clone(),
            nodes: world.nodes.clone(),
            around: around(world, me),
        }
    }
}

/// Whether `found` has `own`, and nothing more in the sets that are in `own`.
fn holds(found: &Table<Key, Row>, own: &Table<Key, Row>) -> bool {
    let is_more = |key: &Key| match key {
        Key::Element(family, set, _) => {
            own.get(&Key::Set(*family, set.clone())).is_some() && own.get(key).is_none()
        }
        Key::Table(_) | Key::Set(..) | Key::Chain(..) => false,
    };
    own.iter().all(|(key, row)| found.get(key) == Some(row))
        && !found.iter().any(|(key, _)| is_more(key))
}

/// What is around the policies of `me`.
fn around(world: &World, me: &NodeName) -> Around {
    let node = world.nodes.get(me).into_iter().flat_map(|node| node.ips());
    let uplinks = world.host.uplinks.iter().flat_map(|uplink| &uplink.addrs);
    let node = node.chain(uplinks.map(ipnet::IpNet::addr)).collect();
    Around { pods: pods(world, me), node }
}

/// The addresses of the pods of `me`, as they were leased. Who was joined to the network without a name is a
/// pod if one has the address; another pod of the same name is not known.
fn pods(world: &World, me: &NodeName) -> BTreeMap<IpAddr, Option<ObjectName>> {
    let is_nameless = |attachment: &&Arc<Attachment>| attachment.pod.is_none();
    let nameless: BTreeSet<IpAddr> = world
        .attachments
        .values()
        .filter(is_nameless)
        .flat_map(|attachment| attachment.addrs.iter().copied())
        .collect();
    let own = world.pods.values().filter(|pod| pod.node.as_ref() == Some(me));
    let found = own.filter(|pod| !pod.is_host_network && !nameless.is_empty()).flat_map(|pod| {
        let known = pod.addrs.iter().filter(|addr| nameless.contains(addr));
        known.map(|addr| (*addr, Some(pod.name.clone())))
    });
    let named = world.attachments.values().filter_map(|attachment| {
        let pod = attachment.pod.as_ref()?;
        let name = ObjectName::new(&pod.namespace, &pod.name);
        let is_other = |known: &Arc<Pod>| !pod.uid.is_empty() && *known.uid != *pod.uid;
        let name = (!world.pods.get(&name).is_some_and(is_other)).then_some(name);
        Some(attachment.addrs.iter().map(move |addr| (*addr, name.clone())))
    });
    found.chain(named.flatten()).collect()
}
