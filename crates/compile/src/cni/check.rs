//! CNI CHECK: whether an attachment is in the kernel as it should be.

use std::fmt;

use model::{AttachmentKey, World};
use plan::{Plan, PodLink, Table, nft};

use super::lower;
use crate::Compiled;

/// The rows of one attachment alone; `None` when `world`, from which `compiled` was made, does not
/// hold it.
///
/// These are what an ADD waits for, what a CHECK compares, and what a DEL removes.
pub fn rows(world: &World, compiled: &Compiled, key: &AttachmentKey) -> Option<Plan> {
    let joined = compiled.attachments.rows.get(key)?;
    let mut plan = Plan::default();
    lower(world, &world.config.node, key, joined, &mut plan);
    // The tables are the node's, with or without this attachment.
    plan.nft = plan.nft.iter().filter_map(element).collect();
    Some(plan)
}

fn element((key, row): (&nft::Key, &nft::Row)) -> Option<(nft::Key, nft::Row)> {
    matches!(row, nft::Row::Element(_)).then(|| (key.clone(), row.clone()))
}

/// A row of an attachment that is not in the kernel as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which row, in its table's notation.
    pub row: String,
    /// What is there instead.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.row, self.found)
    }
}

/// What of `want` (see [`rows`]) the kernel does not show. Rows that it shows beyond that are not
/// this attachment's business. MTU and hardware addresses of the pod's end may differ: a chained
/// plugin may have changed them (CNI-K2).
///
/// Source: CNI spec 1.1.0 §2 CHECK; CNI-K1, CNI-K2.
pub fn check(want: &Plan, have: &Plan) -> Vec<Difference> {
    let mut found = Vec::new();
    for (key, link) in &want.pods {
        match have.pods.get(key) {
            None => found.push(Difference { row: format!("link {key}"), found: MISSING.into() }),
            Some(there) => pod_link(key, link, there, &mut found),
        }
    }
    compare("neighbor", &want.neighbors, &have.neighbors, &mut found);
    for key in want.proxies.keys().filter(|key| have.proxies.get(key).is_none()) {
        found.push(Difference { row: format!("proxy {key}"), found: MISSING.into() });
    }
    compare("fdb entry", &want.fdb, &have.fdb, &mut found);
    compare("route", &want.routes, &have.routes, &mut found);
    for (key, row) in &want.nft {
        if have.nft.get(key) != Some(row) {
            found.push(Difference { row: format!("{key} {row}"), found: MISSING.into() });
        }
    }
    found
}

const MISSING: &str = "missing";

fn pod_link(key: &AttachmentKey, want: &PodLink, have: &PodLink, found: &mut Vec<Difference>) {
    let mut missing = |what: String| {
        found.push(Difference { row: format!("{what} of {key}"), found: MISSING.into() });
    };
    for addr in want.addrs.iter().filter(|addr| !have.addrs.contains(addr)) {
        missing(format!("address {addr}"));
    }
    for gateway in want.gateways.iter().filter(|gateway| !have.gateways.contains(gateway)) {
        missing(format!("default route via {gateway}"));
    }
    if want.master != have.master {
        let master = want.master.as_ref().map_or("none", |master| master.as_str());
        missing(format!("bridge {master}"));
    }
}

fn compare<K, R>(kind: &str, want: &Table<K, R>, have: &Table<K, R>, found: &mut Vec<Difference>)
where
    K: Ord + fmt::Display,
    R: Eq + fmt::Display,
{
    for (key, row) in want {
        let there = have.get(key);
        if there != Some(row) {
            found.push(Difference {
                row: format!("{kind} {key} {row}"),
                found: there.map_or(MISSING.to_owned(), |there| format!("is {there}")),
            });
        }
    }
}
