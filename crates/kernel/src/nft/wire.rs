//! Netlink messages and attributes of netfilter's subsystems as bytes, both ways.
//!
//! Integers of netfilter are big-endian, lengths and types of netlink are the host's.

use std::mem::size_of;

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// Bits of an attribute's type that are its type.
const TYPE_MASK: u16 = 0x3fff;
/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// Length of `struct nlmsghdr` and `struct nfgenmsg`.
pub(crate) const PREFIX: usize = HEADER + 4;

/// Messages one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

/// Head of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Subsystem and operation.
    pub(crate) kind: u16,
    /// `NLM_F_`.
    pub(crate) flags: u16,
    /// By which answers are told apart.
    pub(crate) seq: u32,
    /// `NFPROTO_`.
    pub(crate) family: u8,
    /// `nfgenmsg.res_id`: the subsystem, in the messages around a batch.
    pub(crate) res_id: u16,
}

impl Writer {
    /// Adds a message with what `body` writes.
    pub(crate) fn message(&mut self, head: Head, body: impl FnOnce(&mut Writer)) {
        let start = self.open(head);
        body(self);
        self.close(start);
    }

    /// Begins a message; returns where, for [`Writer::close`].
    pub(crate) fn open(&mut self, head: Head) -> usize {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(head.kind.to_ne_bytes());
        self.bytes.extend((head.flags | REQUEST).to_ne_bytes());
        self.bytes.extend(head.seq.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([head.family, 0]);
        self.bytes.extend(head.res_id.to_be_bytes());
        start
    }

    /// Ends the message that began at `start`.
    pub(crate) fn close(&mut self, start: usize) {
        let len = u32::try_from(self.bytes.len() - start).expect("batches are far below 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// Sets flags of the message that began at `start`.
    pub(crate) fn add_flags(&mut self, start: usize, flags: u16) {
        let at = start + 6;
        let old = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.bytes[at..at + 2].copy_from_slice(&(old | flags).to_ne_bytes());
    }

    /// An attribute with these bytes.
    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) {
        let start = self.open_attr(kind);
        self.bytes.extend(value);
        self.close_attr(start);
    }

    /// A big-endian number.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// Text with its zero byte.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        let start = self.open_attr(kind);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
        self.close_attr(start);
    }

    /// An attribute of attributes.
    pub(crate) fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Writer)) {
        let start = self.open_attr(kind | NESTED);
        body(self);
        self.close_attr(start);
    }

    /// Begins an attribute; returns where, for [`Writer::close_attr`].
    pub(crate) fn open_attr(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        start
    }

    /// Begins an attribute of attributes.
    pub(crate) fn open_nest(&mut self, kind: u16) -> usize {
        self.open_attr(kind | NESTED)
    }

    /// Ends the attribute that began at `start`. One too long for its own length field is left with
    /// a length that the kernel refuses.
    pub(crate) fn close_attr(&mut self, start: usize) {
        let len = u16::try_from(self.bytes.len() - start).unwrap_or(0);
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;

/// A message that came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// Subsystem and operation.
    pub(crate) kind: u16,
    /// The request it answers.
    pub(crate) seq: u32,
    /// What follows the netlink header.
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// `nfgenmsg.nfgen_family`.
    pub(crate) fn family(&self) -> u8 {
        self.payload.first().copied().unwrap_or_default()
    }

    /// The attributes after the `nfgenmsg`.
    pub(crate) fn attrs(&self) -> Attrs<'a> {
        Attrs(self.payload.get(PREFIX - HEADER..).unwrap_or_default())
    }
}

/// The messages in what one receive returned; ends at the first that is cut short.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let head = bytes.get(..HEADER)?;
        let len = usize::try_from(u32_ne(head)?).ok()?;
        let payload = bytes.get(HEADER..len)?;
        let message = Message { kind: u16_ne(&head[4..])?, seq: u32_ne(&head[8..])?, payload };
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Attributes one after the other; ends at the first that is cut short.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attrs<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(u16_ne(self.0)?);
        let kind = u16_ne(self.0.get(2..)?)? & TYPE_MASK;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

impl<'a> Attrs<'a> {
    /// Value of the attribute `kind`.
    pub(crate) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// Attributes inside the attribute `kind`.
    pub(crate) fn nested(self, kind: u16) -> Option<Attrs<'a>> {
        self.get(kind).map(Attrs)
    }

    /// A big-endian number.
    pub(crate) fn be32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// Text up to its zero byte.
    pub(crate) fn text(self, kind: u16) -> Option<&'a str> {
        let bytes = self.get(kind)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        std::str::from_utf8(&bytes[..end]).ok()
    }
}

pub(crate) fn u32_ne(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(..size_of::<u32>())?.try_into().ok()?))
}

fn u16_ne(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(..size_of::<u16>())?.try_into().ok()?))
}
