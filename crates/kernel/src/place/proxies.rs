//! `Plan.proxies`: addresses that the node answers for on a link, marked by `NDA_PROTOCOL`.
//!
//! The kernel answers for one while it forwards and has a route to it by another link (`arp_process()`,
//! `ndisc_recv_ns()`).

use plan::{Changes, Failure, Mechanism, NeighborKey, ObserveError, PROTOCOL, Table};

use super::{LinkNames, NoLink, Write, all_failed, failure, send};
use crate::netlink::{Error, Netlink, Request};

/// Proxied neighbors.
pub struct Proxies {
    netlink: Netlink,
}

impl Proxies {
    /// Opens the place in the calling thread's namespace.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn open() -> Result<Self, Error> {
        Ok(Proxies { netlink: Netlink::open()? })
    }
}

impl Mechanism for Proxies {
    type Key = NeighborKey;
    type Row = ();

    fn observe(&mut self) -> Result<Table<NeighborKey, ()>, ObserveError> {
        let links = LinkNames::read(&mut self.netlink)?;
        let rows = self.netlink.proxies()?;
        let ours = rows.into_iter().filter(|row| row.protocol == PROTOCOL);
        let key = |index, addr| Some(NeighborKey { dev: links.name(index)?, addr });
        Ok(ours.filter_map(|row| Some((key(row.index, row.addr)?, ()))).collect())
    }

    fn apply(&mut self, changes: &Changes<NeighborKey, ()>) -> Vec<Failure<NeighborKey>> {
        let devs = changes.keys().map(|key| &key.dev);
        let links = match LinkNames::of(&mut self.netlink, devs) {
            Ok(links) => links,
            Err(error) => return all_failed(changes, |key| format!("write proxy {key}"), error),
        };
        let (mut failures, mut writes) = (Vec::new(), Vec::new());
        for key in changes.puts.keys() {
            let attempt = format!("put proxy {key}");
            match links.index(&key.dev) {
                Some(index) => {
                    let request = Request::put_proxy(index, key.addr, PROTOCOL);
                    writes.push(Write { key: key.clone(), attempt, request });
                }
                None => failures.push(failure(key.clone(), attempt, NoLink(key.dev.clone()))),
            }
        }
        failures.extend(send(&mut self.netlink, writes, |_| false));
        let gone = |key: &NeighborKey| {
            let request = Request::delete_proxy(links.index(&key.dev)?, key.addr);
            let attempt = format!("delete proxy {key}");
            Some(Write { key: key.clone(), attempt, request })
        };
        let writes = changes.deletes.iter().rev().filter_map(gone).collect();
        failures.extend(send(&mut self.netlink, writes, Error::is_gone));
        failures
    }
}
