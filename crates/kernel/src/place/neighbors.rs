//! `Plan.neighbors`: permanent neighbors, marked by `NDA_PROTOCOL`.

use model::Mac;
use plan::{Changes, Failure, Mechanism, Neighbor, NeighborKey, ObserveError, PROTOCOL, Table};

use super::{LinkNames, NoLink, Write, all_failed, failure, send};
use crate::netlink::{Error, Netlink, Request};

/// Static neighbors.
pub struct Neighbors {
    netlink: Netlink,
}

impl Neighbors {
    /// Opens the place in the calling thread's namespace.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn open() -> Result<Self, Error> {
        Ok(Neighbors { netlink: Netlink::open()? })
    }
}

impl Mechanism for Neighbors {
    type Key = NeighborKey;
    type Row = Neighbor;

    fn observe(&mut self) -> Result<Table<NeighborKey, Neighbor>, ObserveError> {
        let links = LinkNames::read(&mut self.netlink)?;
        let rows = self.netlink.neighbors(None)?;
        let ours = rows.into_iter().filter(|row| row.protocol == PROTOCOL);
        let table = ours.filter_map(|row| {
            let key = NeighborKey { dev: links.name(row.index)?, addr: row.addr };
            // One that the kernel may forget is not what was written.
            let mac = row.mac.filter(|_| row.permanent).unwrap_or(Mac([0; 6]));
            Some((key, Neighbor { mac }))
        });
        Ok(table.collect())
    }

    fn apply(&mut self, changes: &Changes<NeighborKey, Neighbor>) -> Vec<Failure<NeighborKey>> {
        let devs = changes.keys().map(|key| &key.dev);
        let links = match LinkNames::of(&mut self.netlink, devs) {
            Ok(links) => links,
            Err(error) => return all_failed(changes, |key| format!("write neighbor {key}"), error),
        };
        let (mut failures, mut writes) = (Vec::new(), Vec::new());
        for (key, put) in &changes.puts {
            let attempt = format!("put neighbor {key} {}", put.row);
            match links.index(&key.dev) {
                Some(index) => {
                    let request = Request::put_neighbor(index, key.addr, put.row.mac, PROTOCOL);
                    writes.push(Write { key: key.clone(), attempt, request });
                }
                None => failures.push(failure(key.clone(), attempt, NoLink(key.dev.clone()))),
            }
        }
        failures.extend(send(&mut self.netlink, writes, |_| false));
        let gone = |key: &NeighborKey| {
            let request = Request::delete_neighbor(links.index(&key.dev)?, key.addr);
            let attempt = format!("delete neighbor {key}");
            Some(Write { key: key.clone(), attempt, request })
        };
        let writes = changes.deletes.iter().rev().filter_map(gone).collect();
        failures.extend(send(&mut self.netlink, writes, Error::is_gone));
        failures
    }
}
