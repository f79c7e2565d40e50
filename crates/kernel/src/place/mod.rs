//! The places a plan's tables describe, one [`plan::Mechanism`] each.
//!
//! Every place reads back only what carries Seaway's mark and writes one row at a time, so a row
//! that cannot be written is a [`Failure`] of its own. Puts succeed on what is there, deletes on what
//! is gone. Each opens its socket in the namespace of the thread that makes it and works there,
//! whichever thread calls later.
//!
//! A row says what is wanted, and a link that is there but down, or set up in a way no plan asks
//! for, must not look like it: its MTU is observed as 0, for it carries nothing as it should.

mod addrs;
mod fdb;
mod links;
mod neighbors;
mod pods;
mod proxies;
mod routes;
mod rules;
mod settings;
mod sysctls;

pub use addrs::Addrs;
pub use fdb::ForwardingEntries;
pub use links::Links;
pub use neighbors::Neighbors;
pub use pods::Pods;
pub use proxies::Proxies;
pub use routes::Routes;
pub use rules::Rules;
pub use sysctls::Sysctls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::IfName;
use plan::{Changes, Failure, ObserveError};

use crate::netlink::{Error, LinkRow, Netlink, Request};

/// A request that writes or removes one row.
struct Write<K> {
    key: K,
    attempt: String,
    request: Request,
}

/// Sends `writes` in one go; what `forgive` accepts counts as done.
fn send<K>(
    netlink: &mut Netlink,
    writes: Vec<Write<K>>,
    forgive: impl Fn(&Error) -> bool,
) -> Vec<Failure<K>> {
    let (rows, requests): (Vec<_>, Vec<_>) =
        writes.into_iter().map(|write| ((write.key, write.attempt), write.request)).unzip();
    let answers = netlink.batch(requests);
    let refused = |((key, attempt), answer): ((K, String), Result<(), Error>)| match answer {
        Err(error) if !forgive(&error) => Some(failure(key, attempt, error)),
        _ => None,
    };
    rows.into_iter().zip(answers).filter_map(refused).collect()
}

/// Every row of `changes` failed for one reason.
fn all_failed<K: Ord + Clone, R>(
    changes: &Changes<K, R>,
    attempt: impl Fn(&K) -> String,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> Vec<Failure<K>> {
    let cause = Arc::new(cause);
    let keys = changes.puts.keys().chain(changes.deletes.iter().rev());
    keys.map(|key| failure(key.clone(), attempt(key), Arc::clone(&cause))).collect()
}

/// What is reported for a row that could not be written.
fn failure<K>(
    key: K,
    attempt: String,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Failure<K> {
    Failure { key, attempt, cause: cause.into() }
}

impl From<Error> for ObserveError {
    fn from(error: Error) -> Self {
        let (attempt, cause) = error.into_parts();
        ObserveError { attempt, cause: cause.into() }
    }
}

/// Whether a link is one of Seaway's: of the node itself, or a pod's host end.
pub(crate) fn is_seaways(link: &LinkRow) -> bool {
    links::is_ours(link) || pods::AliasedKey::parse(link).is_some()
}

/// Links of the namespace by index and by name, at one moment.
struct LinkNames {
    by_index: BTreeMap<u32, LinkRow>,
    by_name: BTreeMap<IfName, u32>,
}

/// Up to how many links are asked for one by one. Listing costs some microseconds a link, and a
/// change is mostly about one link of hundreds.
const FEW: usize = 8;

impl LinkNames {
    /// All links.
    fn read(netlink: &mut Netlink) -> Result<Self, Error> {
        Ok(Self::new(netlink.links()?))
    }

    /// Those of `names` that exist, and perhaps others.
    fn of<'a>(
        netlink: &mut Netlink,
        names: impl IntoIterator<Item = &'a IfName>,
    ) -> Result<Self, Error> {
        let names: BTreeSet<&IfName> = names.into_iter().collect();
        if names.len() > FEW {
            return Self::read(netlink);
        }
        let links: Result<Vec<_>, _> = names.into_iter().map(|name| netlink.link(name)).collect();
        Ok(Self::new(links?.into_iter().flatten().collect()))
    }

    fn new(links: Vec<LinkRow>) -> Self {
        let by_name = links.iter().map(|link| (link.name.clone(), link.index)).collect();
        let by_index = links.into_iter().map(|link| (link.index, link)).collect();
        LinkNames { by_index, by_name }
    }

    /// The link with `index`.
    fn get(&self, index: u32) -> Option<&LinkRow> {
        self.by_index.get(&index)
    }

    fn name(&self, index: u32) -> Option<IfName> {
        self.get(index).map(|link| link.name.clone())
    }

    fn index(&self, name: &IfName) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    fn find(&self, name: &IfName) -> Option<&LinkRow> {
        self.get(self.index(name)?)
    }
}

/// A row names a link that is not there.
#[derive(Debug, thiserror::Error)]
#[error("there is no link {0}")]
struct NoLink(IfName);

/// The key is taken by something that Seaway did not make, so it is left alone.
#[derive(Debug, thiserror::Error)]
#[error("{0} is there already and not Seaway's; remove it or let Seaway use another name")]
struct Foreign(String);
