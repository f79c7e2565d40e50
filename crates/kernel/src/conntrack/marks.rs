//! Marks of connections.

use super::abi::{self, CTA_MARK, CTA_MARK_MASK, CTA_TUPLE_ORIG, CTA_ZONE};
use super::{BATCH, Entries, Error};
use crate::nft::wire::{Attrs, PREFIX, Writer};

/// One entry, as it is named.
struct Marked {
    family: u8,
    /// `CTA_TUPLE_ORIG`, as the kernel wrote it: entries of every protocol have marks.
    there: Vec<u8>,
}

impl Entries {
    /// Takes the bits of `mask` out of the marks of all connections, and returns how many had any of them.
    /// Those of other zones than the first are left alone.
    ///
    /// # Errors
    /// When the entries cannot be listed or one cannot be written; the rest is left as it is.
    pub fn unmark(&mut self, mask: u32) -> Result<usize, Error> {
        let failed = |attempt| move |cause| Error { attempt, cause };
        let mut marked = Vec::new();
        let listed = self.dump(0, |_| {}, |message| marked.extend(Marked::read(message, mask)));
        listed.map_err(failed("list the entries of conntrack"))?;
        let write = |entry: &Marked, body: &mut Writer| entry.write_without(mask, body);
        let mut changed = 0;
        for batch in marked.chunks(BATCH) {
            let sent = self.each(abi::NEW, batch, |entry| entry.family, write);
            changed += sent.map_err(failed("change the mark of an entry of conntrack"))?;
        }
        Ok(changed)
    }
}

impl Marked {
    /// Reads a message of the kernel's, header included; `None` where no bit of `mask` is set.
    fn read(message: &[u8], mask: u32) -> Option<Self> {
        let (head, attrs) = message.split_at_checked(PREFIX)?;
        let attrs = Attrs(attrs);
        if attrs.get(CTA_ZONE).is_some() || attrs.be32(CTA_MARK)? & mask == 0 {
            return None;
        }
        // Of `struct nfgenmsg`, which ends the header, the family is the first byte.
        let family = *head.get(PREFIX.checked_sub(4)?)?;
        Some(Marked { family, there: attrs.get(CTA_TUPLE_ORIG)?.to_vec() })
    }

    fn write_without(&self, mask: u32, body: &mut Writer) {
        body.attr(CTA_TUPLE_ORIG, &self.there);
        body.be32(CTA_MARK, 0);
        body.be32(CTA_MARK_MASK, mask);
    }
}
