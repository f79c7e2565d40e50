//! What a batch of requests means for the ledger: decided on a copy of the World, one request after
//! the other, so that the whole batch is one commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use compile::Compiled;
use compile::cni::{self, AttachError};
use compile::ipam::{IpamError, Released};
use model::{Attachment, AttachmentKey, World};

use crate::handle::{Attach, Attached, Reply, RequestError};
use crate::journal::{Entry, Leases};

/// The World and the resting addresses as they will be when the batch is recorded.
#[derive(Debug)]
pub(super) struct Draft {
    world: World,
    /// Made from the World before.
    compiled: Arc<Compiled>,
    released: Released,
    /// Seconds since 1970.
    now: u64,
}

impl Draft {
    /// As `world`, with what was `compiled` from it, and `leases` are at `now`.
    pub(super) fn new(world: &World, compiled: &Arc<Compiled>, leases: &Leases, now: u64) -> Self {
        let (world, compiled) = (world.clone(), Arc::clone(compiled));
        Draft { world, compiled, released: leases.resting.clone(), now }
    }

    /// The attachment under `key`.
    pub(super) fn get(&self, key: &AttachmentKey) -> Option<&Arc<Attachment>> {
        self.world.attachments.get(key)
    }
}

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
    pub(super) cut_short: usize,
    /// ADDs that found a pool exhausted.
    pub(super) exhausted: usize,
}

impl Batch {
    /// Gives an ADD its addresses, or its error.
    pub(super) fn attach(&mut self, attach: &Attach, reply: Reply<Attached>, draft: &mut Draft) {
        if attach.netns.to_str().is_none() {
            let why = format!("network namespace {}: not UTF-8", attach.netns.display());
            answer(reply, Err(RequestError::Conflict(why)));
            return;
        }
        match cni::attach(attach, &draft.world, &draft.compiled, &draft.released, draft.now) {
            Ok(attaching) => {
                self.cut_short += attaching.early.len();
                let attachment = self.lease(attaching.attachment, draft);
                self.attaches.push((attachment, reply));
            }
            Err(error) => {
                let error = refused(&error);
                self.exhausted += usize::from(matches!(error, RequestError::Exhausted(_)));
                answer(reply, Err(error));
            }
        }
    }

    fn lease(&mut self, attachment: Attachment, draft: &mut Draft) -> Arc<Attachment> {
        let attachment = Arc::new(attachment);
        for addr in &attachment.addrs {
            draft.released.remove(addr);
        }
        draft.world.attachments.insert(attachment.key.clone(), Arc::clone(&attachment));
        self.entries.push(Entry::Lease(Arc::clone(&attachment)));
        attachment
    }

    /// Releases what a DEL names; nothing to do when it is gone.
    pub(super) fn detach(&mut self, key: AttachmentKey, reply: Reply<()>, draft: &mut Draft) {
        self.release(&key, draft);
        self.detaches.push((key, reply));
    }

    /// Releases every attachment of `network` that is not in `keep`.
    pub(super) fn gc(
        &mut self,
        network: &str,
        keep: &BTreeSet<AttachmentKey>,
        reply: Reply<Vec<AttachmentKey>>,
        draft: &mut Draft,
    ) {
        let all = draft.world.attachments.values();
        let stale = all.filter(|known| known.network == network && !keep.contains(&known.key));
        let stale: Vec<AttachmentKey> = stale.map(|known| known.key.clone()).collect();
        stale.iter().for_each(|key| self.release(key, draft));
        self.gcs.push((stale, reply));
    }

    /// Releases `key` if it is leased.
    pub(super) fn release(&mut self, key: &AttachmentKey, draft: &mut Draft) {
        if let Some(gone) = draft.world.attachments.remove(key) {
            draft.released.extend(gone.addrs.iter().map(|addr| (*addr, draft.now)));
            self.entries.push(Entry::Release { key: key.clone(), at: draft.now });
        }
    }
}

/// Answers. Returns whether somebody was still waiting.
pub(super) fn answer<T>(reply: Reply<T>, result: Result<T, RequestError>) -> bool {
    reply.send(result).is_ok()
}

fn refused(error: &AttachError) -> RequestError {
    let text = error.to_string();
    match error {
        AttachError::NoPool { .. } | AttachError::Mtu { .. } | AttachError::Shared { .. } => {
            RequestError::NotReady(text)
        }
        AttachError::Ipam(IpamError::Exhausted { .. }) => RequestError::Exhausted(text),
        AttachError::Ipam(
            IpamError::OutsidePool { .. } | IpamError::Reserved { .. } | IpamError::InUse { .. },
        )
        | AttachError::Addr { .. }
        | AttachError::Mac(_)
        | AttachError::Port(_)
        | AttachError::Exists { .. }
        | AttachError::TooLong(_) => RequestError::Conflict(text),
    }
}
