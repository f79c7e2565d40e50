//! The policies of one World after another.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;

use model::{Attachment, NodeName, ObjectName, Pod, World};
use plan::nft::{Key, Row, TableFamily};
use plan::{Table, diff};

use super::nft::{Around, Lowered, generation};
use super::resolver::Resolver;
use super::{Places, PolicyTable};

/// What policies ask of a node and the rows that enforce it, from one World to the next, each in the time of
/// what is new in it.
///
/// It keeps the number that allowed connections bear (see docs/decisions/0031): rows that do anything but let
/// more in than those before have the next one.
#[derive(Debug, Default, Clone)]
pub struct Memo {
    resolver: Resolver,
    lowered: Lowered,
    /// What a kernel had at the start, until there are rows of our own.
    found: Option<Table<Key, Row>>,
    number: Option<NonZero<u8>>,
    others: Table<Key, Row>,
    rows: Table<Key, Row>,
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
    ) -> (PolicyTable, Table<Key, Row>) {
        let table = self.resolver.update(world, |pod| pod.node.as_ref() == Some(me));
        self.lower(&table, &around(world, me, &table));
        self.rows.patch(&diff(&self.others, others));
        self.others = others.clone();
        self.keep_tables();
        (table, self.rows.clone())
    }

    /// A table is of all who have rows in it, and stays when some of them leave.
    fn keep_tables(&mut self) {
        for key in [TableFamily::Inet, TableFamily::Bridge].map(Key::Table) {
            if [self.lowered.rows(), &self.others].into_iter().any(|rows| rows.get(&key).is_some())
            {
                self.rows.insert(key, Row::Table);
            }
        }
    }

    /// Makes the rows of the table, with another number unless they ask for the same, or allow more.
    fn lower(&mut self, table: &PolicyTable, around: &Around) {
        let first = NonZero::<u8>::MIN;
        let before = self.lowered.rows().clone();
        self.lowered.update(table, around, self.number.unwrap_or(first));
        let keeps_number = match self.found.take() {
            Some(found) => holds(&found, self.lowered.rows()),
            None => self.lowered.only_allow(&diff(&before, self.lowered.rows())),
        };
        if !keeps_number {
            let next = self.number.map_or(first, |number| number.checked_add(1).unwrap_or(first));
            self.lowered.number(next);
        }
        self.number = generation(self.lowered.rows()).or(self.number);
        self.rows.patch(&diff(&before, self.lowered.rows()));
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

/// What is around the policies of `me`, about whose pods `table` is.
fn around(world: &World, me: &NodeName, table: &PolicyTable) -> Around {
    let node = world.nodes.get(me).into_iter().flat_map(|node| node.ips());
    let uplinks = world.host.uplinks.iter().flat_map(|uplink| &uplink.addrs);
    let node = node.chain(uplinks.map(ipnet::IpNet::addr)).collect();
    Around { pods: pods(world, table), node, has_log: world.config.has_log, dns: Places::of(world) }
}

/// The addresses of the node's pods, as they were leased, by Seaway or by another network. Who was joined to the network without a name is a
/// pod if one has the address; another pod of the same name is not known.
fn pods(world: &World, table: &PolicyTable) -> BTreeMap<IpAddr, Option<ObjectName>> {
    let is_nameless = |attachment: &&Arc<Attachment>| attachment.pod.is_none();
    let nameless: BTreeSet<IpAddr> = world
        .attachments
        .values()
        .filter(is_nameless)
        .flat_map(|attachment| attachment.addrs.iter().copied())
        .collect();
    let own = table.pods.keys().filter(|_| !nameless.is_empty());
    let found = own.filter_map(|name| world.pods.get(name)).flat_map(|pod| {
        let known = pod.addrs.iter().filter(|addr| nameless.contains(addr));
        known.map(|addr| (*addr, Some(pod.name.clone())))
    });
    let named = world.attachments.values().filter_map(|attachment| {
        let pod = attachment.pod.as_ref()?;
        let name = ObjectName::new(&pod.namespace, &pod.name);
        let is_other = |known: &Arc<Pod>| !pod.uid.is_empty() && known.uid != *pod.uid;
        let name = (!world.pods.get(&name).is_some_and(is_other)).then_some(name);
        Some(attachment.addrs.iter().map(move |addr| (*addr, name.clone())))
    });
    let others = world.others.keys().map(|(addr, name)| (*addr, Some(name.clone())));
    others.chain(found).chain(named.flatten()).collect()
}
