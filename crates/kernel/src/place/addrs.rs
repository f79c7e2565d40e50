//! `Plan.addrs`: addresses of the node's own links, marked by `IFA_PROTO`.

use std::collections::BTreeSet;

use ipnet::IpNet;
use model::IfName;
use plan::{Changes, Failure, Mechanism, ObserveError, PROTOCOL, Table};

use super::{LinkNames, NoLink, Write, all_failed, failure, send};
use crate::netlink::{Error, Netlink, Request};
use crate::netns::Netns;
use crate::sysctl;

type Key = (IfName, IpNet);

/// Addresses of links.
pub struct Addrs {
    netlink: Netlink,
    home: Netns,
}

impl Addrs {
    /// Opens the place in the calling thread's namespace.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn open() -> Result<Self, Error> {
        Ok(Addrs { netlink: Netlink::open()?, home: Netns::current()? })
    }

    /// Lets other addresses of a subnet survive when its first one is removed: the kernel's default
    /// is to remove them with it.
    fn keep_secondaries(&self, names: BTreeSet<&IfName>) {
        let keep = || {
            for name in names {
                let key = format!("net/ipv4/conf/{name}/promote_secondaries");
                if let Err(error) = sysctl::write(&key, "1") {
                    tracing::debug!(%error, "addresses of the same subnet may go with the first");
                }
            }
        };
        if let Err(error) = self.home.run(keep) {
            tracing::debug!(%error, "addresses of the same subnet may go with the first");
        }
    }
}

impl Mechanism for Addrs {
    type Key = Key;
    type Row = ();

    fn observe(&mut self) -> Result<Table<Key, ()>, ObserveError> {
        let links = LinkNames::read(&mut self.netlink)?;
        let addrs = self.netlink.addrs(None)?;
        let ours = addrs.into_iter().filter(|addr| addr.protocol == PROTOCOL);
        Ok(ours.filter_map(|addr| Some(((links.name(addr.index)?, addr.net), ()))).collect())
    }

    fn apply(&mut self, changes: &Changes<Key, ()>) -> Vec<Failure<Key>> {
        let devs = changes.keys().map(|key| &key.0);
        let links = match LinkNames::of(&mut self.netlink, devs) {
            Ok(links) => links,
            Err(error) => return all_failed(changes, |key| words("write", key), error),
        };
        let (mut failures, mut writes) = (Vec::new(), Vec::new());
        for key in changes.puts.keys() {
            let attempt = words("put", key);
            match links.index(&key.0) {
                Some(index) => {
                    let request = Request::put_addr(index, key.1, PROTOCOL);
                    writes.push(Write { key: key.clone(), attempt, request });
                }
                None => failures.push(failure(key.clone(), attempt, NoLink(key.0.clone()))),
            }
        }
        failures.extend(send(&mut self.netlink, writes, |_| false));

        self.keep_secondaries(changes.deletes.iter().map(|(name, _)| name).collect());
        let gone = |key: &Key| {
            let request = Request::delete_addr(links.index(&key.0)?, key.1);
            Some(Write { key: key.clone(), attempt: words("delete", key), request })
        };
        let writes = changes.deletes.iter().rev().filter_map(gone).collect();
        failures.extend(send(&mut self.netlink, writes, Error::is_gone));
        failures
    }
}

fn words(verb: &str, (name, net): &Key) -> String {
    format!("{verb} addr {net} dev {name}")
}
