//! What a batch of requests means for the ledger: decided on a copy of the leases, one request after
//! the other, so that the whole batch is one commit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use compile::ipam::{self, IpamError, Pool};
use model::{Attachment, AttachmentKey, Family, Mac};

use crate::handle::{Attach, Attached, Reply, RequestError};
use crate::journal::{Entry, Leases};

/// Requests that wait for their pass, and what the ledger must record for them first.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// For the ledger, in order.
    pub(super) entries: Vec<Entry>,
    /// ADDs that were given addresses.
    pub(super) attaches: Vec<(Arc<Attachment>, Reply<Attached>)>,
    /// DELs.
    pub(super) detaches: Vec<(AttachmentKey, Reply<()>)>,
    /// GCs, with what each removes.
    pub(super) gcs: Vec<(Vec<AttachmentKey>, Reply<Vec<AttachmentKey>>)>,
    /// Addresses that were leased again before they had rested.
    pub(super) cut_short: u64,
    /// ADDs that found a pool exhausted.
    pub(super) exhausted: u64,
}

impl Batch {
    /// Gives an ADD its addresses, or its error. Asking again for what is leased changes nothing.
    pub(super) fn attach(
        &mut self,
        attach: Attach,
        reply: Reply<Attached>,
        leases: &mut Leases,
        pools: &[Pool],
        now: u64,
    ) {
        if let Some(known) = leases.attachments.get(&attach.key) {
            if known.netns == attach.netns && known.network == attach.network {
                self.attaches.push((Arc::clone(known), reply));
            } else {
                answer(reply, Err(RequestError::Conflict(other_netns(known, &attach))));
            }
            return;
        }
        match allocate(&attach, leases, pools, now) {
            Ok((addrs, early)) => {
                self.cut_short += early;
                let attachment = Arc::new(attached(attach, addrs));
                let entry = Entry::Lease(Arc::clone(&attachment));
                leases.apply(&entry).expect("allocate gives addresses that nobody in leases has");
                self.entries.push(entry);
                self.attaches.push((attachment, reply));
            }
            Err(error) => {
                self.exhausted += u64::from(matches!(error, RequestError::Exhausted(_)));
                answer(reply, Err(error));
            }
        }
    }

    /// Releases what a DEL names; nothing to do when it is gone.
    pub(super) fn detach(
        &mut self,
        key: AttachmentKey,
        reply: Reply<()>,
        leases: &mut Leases,
        now: u64,
    ) {
        self.release(&key, leases, now);
        self.detaches.push((key, reply));
    }

    /// Releases every attachment of `network` that is not in `keep`.
    pub(super) fn gc(
        &mut self,
        network: &str,
        keep: &BTreeSet<AttachmentKey>,
        reply: Reply<Vec<AttachmentKey>>,
        leases: &mut Leases,
        now: u64,
    ) {
        let all = leases.attachments.values();
        let stale = all.filter(|known| known.network == network && !keep.contains(&known.key));
        let stale: Vec<AttachmentKey> = stale.map(|known| known.key.clone()).collect();
        stale.iter().for_each(|key| self.release(key, leases, now));
        self.gcs.push((stale, reply));
    }

    /// Releases `key` if it is leased.
    pub(super) fn release(&mut self, key: &AttachmentKey, leases: &mut Leases, now: u64) {
        if leases.attachments.contains_key(key) {
            let entry = Entry::Release { key: key.clone(), at: now };
            leases.apply(&entry).expect("a release doubles nothing");
            self.entries.push(entry);
        }
    }
}

/// Answers; who does not wait any more misses nothing that the next DEL would not clear up.
pub(super) fn answer<T>(reply: Reply<T>, result: Result<T, RequestError>) -> bool {
    reply.send(result).is_ok()
}

fn other_netns(known: &Attachment, attach: &Attach) -> String {
    format!(
        "attachment {} exists already, in {} of network {:?}, not in {} of network {:?}",
        known.key,
        known.netns.display(),
        known.network,
        attach.netns.display(),
        attach.network,
    )
}

/// An address of every pool, requested ones first, and how many of them had not rested.
fn allocate(
    attach: &Attach,
    leases: &Leases,
    pools: &[Pool],
    now: u64,
) -> Result<(Vec<IpAddr>, u64), RequestError> {
    if attach.netns.to_str().is_none() {
        let path = attach.netns.display();
        return Err(RequestError::Conflict(format!("network namespace path {path}: not UTF-8")));
    }
    let mut requested: BTreeMap<Family, IpAddr> = BTreeMap::new();
    for addr in &attach.addrs {
        let family = Family::of(*addr);
        if let Some(other) = requested.insert(family, *addr) {
            let why = format!("{other} and {addr} were requested: one address per family");
            return Err(RequestError::Conflict(why));
        }
        if !pools.iter().any(|pool| pool.family() == family) {
            let why = format!("{addr} was requested, and this node has no {family} pod CIDR");
            return Err(RequestError::Conflict(why));
        }
    }
    let owners = leases.attachments.values();
    let leased: BTreeMap<IpAddr, String> =
        owners.flat_map(|a| a.addrs.iter().map(|addr| (*addr, a.key.to_string()))).collect();
    let mut addrs = Vec::new();
    let mut early = 0;
    for pool in pools {
        let wish = requested.get(&pool.family()).copied();
        let given = ipam::allocate(pool, &leased, &leases.resting, now, wish).map_err(refused)?;
        early += u64::from(given.early);
        addrs.push(given.addr);
    }
    Ok((addrs, early))
}

fn refused(error: IpamError) -> RequestError {
    match error {
        IpamError::Exhausted { .. } => RequestError::Exhausted(error.to_string()),
        IpamError::TooSmall(_)
        | IpamError::OutsidePool { .. }
        | IpamError::Reserved { .. }
        | IpamError::InUse { .. } => RequestError::Conflict(error.to_string()),
    }
}

fn attached(attach: Attach, addrs: Vec<IpAddr>) -> Attachment {
    let mac = attach.mac.unwrap_or_else(|| Mac::derive(&format!("pod/{}", attach.key)));
    Attachment {
        key: attach.key,
        network: attach.network,
        netns: attach.netns,
        pod: attach.pod,
        addrs,
        mac,
        port_mappings: attach.port_mappings,
    }
}
