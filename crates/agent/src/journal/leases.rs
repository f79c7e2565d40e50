//! What the ledger amounts to: the entries, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{Attachment, AttachmentKey};

use super::Entry;

/// Released addresses that are remembered. Older ones count as never used, which only matters to
/// pools so large that they are never used up.
const REMEMBERED: usize = 4096;

/// Who has which address, and which addresses rest.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Leases {
    /// Attachments; each owns its addresses.
    pub attachments: BTreeMap<AttachmentKey, Arc<Attachment>>,
    /// Released addresses and when, in seconds since 1970.
    pub resting: BTreeMap<IpAddr, u64>,
}

/// An entry that no healthy ledger holds.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{addr} is leased to {owner} and again to {other}")]
pub struct Doubled {
    addr: IpAddr,
    owner: AttachmentKey,
    other: AttachmentKey,
}

impl Leases {
    /// Takes `entry` in.
    ///
    /// # Errors
    /// [`Doubled`] when an address would have two owners; nothing has changed then.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Doubled> {
        match entry {
            Entry::Lease(attachment) => self.lease(attachment)?,
            Entry::Release { key, at } => {
                if let Some(gone) = self.attachments.remove(key) {
                    self.resting.extend(gone.addrs.iter().map(|addr| (*addr, *at)));
                }
            }
            Entry::Resting { addr, at } => {
                self.resting.insert(*addr, *at);
            }
        }
        Ok(())
    }

    fn lease(&mut self, attachment: &Arc<Attachment>) -> Result<(), Doubled> {
        let others = self.attachments.values().filter(|a| a.key != attachment.key);
        let wanted: BTreeSet<IpAddr> = attachment.addrs.iter().copied().collect();
        for other in others {
            if let Some(addr) = other.addrs.iter().find(|addr| wanted.contains(addr)) {
                let owner = other.key.clone();
                return Err(Doubled { addr: *addr, owner, other: attachment.key.clone() });
            }
        }
        for addr in &attachment.addrs {
            self.resting.remove(addr);
        }
        self.attachments.insert(attachment.key.clone(), Arc::clone(attachment));
        Ok(())
    }

    /// The shortest list of entries that leads here from nothing. Forgets the oldest released
    /// addresses beyond [`REMEMBERED`].
    pub(super) fn entries(&mut self) -> Vec<Entry> {
        if self.resting.len() > REMEMBERED {
            let mut times: Vec<u64> = self.resting.values().copied().collect();
            times.sort_unstable();
            let oldest = times[times.len() - REMEMBERED];
            self.resting.retain(|_, at| *at >= oldest);
        }
        let resting = self.resting.iter().map(|(addr, at)| Entry::Resting { addr: *addr, at: *at });
        let leases = self.attachments.values().map(|a| Entry::Lease(Arc::clone(a)));
        resting.chain(leases).collect()
    }

    /// Bytes that the release of every attachment may take in the ledger.
    pub(super) fn release_bytes(&self) -> u64 {
        let line = |key: &AttachmentKey| 160 + key.container_id.len() as u64;
        self.attachments.keys().map(line).sum()
    }
}
