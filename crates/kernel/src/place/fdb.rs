//! `Plan.fdb`: static forwarding entries of Seaway's VXLAN device and of the ports of its bridge.
//!
//! Entries carry no mark of their own: on Seaway's devices every static entry is Seaway's.

use plan::{Changes, Failure, Fdb, FdbKey, Link, Mechanism, ObserveError, Table};

use super::pods::AliasedKey;
use super::{LinkNames, NoLink, Write, all_failed, failure, send};
use crate::netlink::{Error, FdbRow, LinkKindRow, LinkRow, Netlink, Request};

/// Static forwarding entries.
pub struct ForwardingEntries {
    netlink: Netlink,
}

impl ForwardingEntries {
    /// Opens the place in the calling thread's namespace.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn open() -> Result<Self, Error> {
        Ok(ForwardingEntries { netlink: Netlink::open()? })
    }
}

impl Mechanism for ForwardingEntries {
    type Key = FdbKey;
    type Row = Fdb;

    fn observe(&mut self) -> Result<Table<FdbKey, Fdb>, ObserveError> {
        let links = LinkNames::read(&mut self.netlink)?;
        let entries = self.netlink.fdb()?;
        Ok(entries.iter().filter_map(|entry| row(&links, entry)).collect())
    }

    fn apply(&mut self, changes: &Changes<FdbKey, Fdb>) -> Vec<Failure<FdbKey>> {
        let devs = changes.keys().map(|key| &key.dev);
        let links = match LinkNames::of(&mut self.netlink, devs) {
            Ok(links) => links,
            Err(error) => return all_failed(changes, |key| format!("write fdb {key}"), error),
        };
        let (mut failures, mut writes) = (Vec::new(), Vec::new());
        for (key, put) in &changes.puts {
            let attempt = format!("put fdb {key} {}", put.row);
            match (links.index(&key.dev), &put.row) {
                (Some(index), Fdb::Vtep(dst)) => {
                    let request = Request::put_vtep(index, key.mac, *dst);
                    writes.push(Write { key: key.clone(), attempt, request });
                }
                (Some(index), Fdb::Port) => {
                    let request = Request::put_port_entry(index, key.mac);
                    writes.push(Write { key: key.clone(), attempt, request });
                }
                (None, _) => failures.push(failure(key.clone(), attempt, NoLink(key.dev.clone()))),
            }
        }
        failures.extend(send(&mut self.netlink, writes, |_| false));
        let gone = |key: &FdbKey| {
            let link = links.find(&key.dev)?;
            let request = match link.kind {
                LinkKindRow::Vxlan(_) => Request::delete_vtep(link.index, key.mac),
                // A link that is no port any more took its entries along.
                LinkKindRow::Veth | LinkKindRow::Bridge { .. } | LinkKindRow::Other(_) => {
                    link.master.map(|_| Request::delete_port_entry(link.index, key.mac))?
                }
            };
            Some(Write { key: key.clone(), attempt: format!("delete fdb {key}"), request })
        };
        let writes = changes.deletes.iter().rev().filter_map(gone).collect();
        failures.extend(send(&mut self.netlink, writes, Error::is_gone));
        failures
    }
}

/// The row an entry stands for; `None` when its device is not Seaway's.
fn row(links: &LinkNames, entry: &FdbRow) -> Option<(FdbKey, Fdb)> {
    let link = links.get(entry.index).filter(|_| entry.is_static)?;
    let fdb = match entry.dst {
        Some(dst) if is_tunnel(link) => Fdb::Vtep(dst),
        None if entry.master.is_some() && AliasedKey::parse(link).is_some() => Fdb::Port,
        _ => return None,
    };
    Some((FdbKey { dev: link.name.clone(), mac: entry.mac }, fdb))
}

fn is_tunnel(link: &LinkRow) -> bool {
    matches!(link.kind, LinkKindRow::Vxlan(_)) && link.alias.as_deref() == Some(Link::ALIAS)
}
