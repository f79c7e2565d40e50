//! [`ServiceTable`] → elements of few maps, and the constant rules that look there.
//!
//! The first packet of a flow finds its frontend in one map, which leads to a chain for all frontends
//! like it; that draws a slot, and frontend and slot together lead to the backend. So the rules know
//! no Service: there is a chain for each number of backends that is in use, and a Service is its own
//! elements. `nat` chains see first packets only, which makes all of it a matter of new flows.
//! See docs/decisions/0018.

mod base;
mod chains;
mod elements;
mod names;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use ipnet::IpNet;
use model::{Family, ServiceName};
use plan::nft::{Chain, Key, Row, TableFamily};
use plan::{Table, diff};

use super::{Resolved, ServiceTable};
use crate::counted::Counted;
use chains::Needs;
use elements::Elements;
use names::{Map, Names, Place};
use shape::Shape;

/// The nftables rows of a node, and what it takes to make the next ones from them.
///
/// That costs what differs: a Service that has not changed is neither looked at nor lowered again,
/// and rows that stay are shared with the table before.
#[derive(Debug, Clone, Default)]
pub struct Lowered {
    services: ServiceTable,
    others: Table<Key, Row>,
    rows: Table<Key, Row>,
    /// How many frontends have each shape.
    shapes: Counted<Shape>,
    /// How many Services have each address.
    ips: Counted<Key>,
    names: Names,
}

impl Lowered {
    /// The rows of `services` and those of `others`, who have the node's table and the sets of its
    /// pods. There are none for Services while there is neither a Service nor a range of cluster IPs.
    pub fn update(&mut self, services: &ServiceTable, others: &Table<Key, Row>) -> Table<Key, Row> {
        self.rows.patch(&diff(&self.others, others));
        self.others = others.clone();
        let shapes = self.shapes.clone();
        let old = std::mem::replace(&mut self.services, services.clone());
        // All out before any in: a frontend may have gone from one Service to another.
        for change in old.services.diff(&services.services) {
            if let DiffItem::Remove(name, old) | DiffItem::Update { old: (name, old), .. } = change
            {
                self.remove(name, old);
            }
        }
        let mut rows = Vec::new();
        for change in old.services.diff(&services.services) {
            if let DiffItem::Add(name, new) | DiffItem::Update { new: (name, new), .. } = change {
                self.put(name, new, &mut rows);
            }
        }
        self.rows.extend(rows);
        let elements = [&old, services].map(|table| around(table, &mut self.names));
        if elements[0] != elements[1] {
            self.replace(elements);
        }
        let [was_empty, is_empty] = [&old, services].map(is_empty);
        if was_empty != is_empty || !shapes.iter().eq(self.shapes.iter()) {
            let had = if was_empty { Vec::new() } else { rules(shapes.iter(), &mut self.names) };
            let shapes = self.shapes.clone();
            let want = if is_empty { Vec::new() } else { rules(shapes.iter(), &mut self.names) };
            self.replace([had, want]);
        }
        self.rows.clone()
    }

    fn replace(&mut self, [had, want]: [Vec<(Key, Row)>; 2]) {
        for (key, _) in &had {
            self.rows.remove(key);
        }
        self.rows.extend(want);
    }

    /// Takes a Service in, whose elements are put into `rows`.
    fn put(&mut self, name: &ServiceName, resolved: &Arc<Resolved>, rows: &mut Vec<(Key, Row)>) {
        let elements = Elements::of(name, resolved, &mut self.names);
        rows.extend(elements.rows);
        for shape in elements.shapes {
            self.shapes.add(shape);
        }
        for key in elements.ips {
            if self.ips.add(key.clone()) {
                rows.push((key, Row::Element(None)));
            }
        }
    }

    fn remove(&mut self, name: &ServiceName, resolved: &Arc<Resolved>) {
        let elements = Elements::of(name, resolved, &mut self.names);
        for (key, _) in &elements.rows {
            self.rows.remove(key);
        }
        for shape in elements.shapes {
            self.shapes.take(&shape);
        }
        for key in elements.ips {
            if self.ips.take(&key) {
                self.rows.remove(&key);
            }
        }
    }
}

fn is_empty(table: &ServiceTable) -> bool {
    table.services.is_empty() && table.cidrs.is_empty()
}

/// Elements that are no Service's: the node's addresses and the ranges of cluster IPs.
fn around(table: &ServiceTable, names: &mut Names) -> Vec<(Key, Row)> {
    if is_empty(table) {
        return Vec::new();
    }
    let mut rows = Vec::new();
    let mut put = |set, value| {
        rows.push((Key::Element(TableFamily::Inet, set, [value].into()), Row::Element(None)));
    };
    for addr in &table.node_port_addrs {
        let family = Family::of(*addr);
        put(names.of(Map::NodeAddrs, Place::Address, family), (*addr).into());
    }
    // In order, a range stands before everything inside of it.
    let mut last: Option<IpNet> = None;
    for cidr in &table.cidrs {
        if last.is_none_or(|outer| !outer.contains(cidr)) {
            let family = Family::of(cidr.addr());
            put(names.of(Map::Cidrs, Place::Address, family), (*cidr).into());
            last = Some(*cidr);
        }
    }
    rows
}

/// Sets and chains for frontends of these shapes.
fn rules<'a>(shapes: impl Iterator<Item = &'a Shape>, names: &mut Names) -> Vec<(Key, Row)> {
    let inet = TableFamily::Inet;
    let mut sets = chains::constant_sets(names);
    let mut chains = base::chains(names);
    for shape in shapes {
        let needs = Needs::of(*shape, names);
        sets.extend(needs.sets);
        chains.extend(
            needs.chains.into_iter().map(|(name, rules)| (name, Chain { hook: None, rules })),
        );
    }
    let sets = sets.into_iter().map(|(name, set)| (Key::Set(inet, name), Row::Set(set.into())));
    let chains = chains.into_iter().map(|(name, row)| (Key::Chain(inet, name), Row::Chain(row)));
    sets.chain(chains).collect()
}
