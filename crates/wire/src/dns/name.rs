//! Names inside of messages: skipped when read, compressed when written.

use model::DomainName;

/// Places of a message that names may refer to.
const REMEMBERED: usize = 32;

/// A place further back than this cannot be referred to.
const FARTHEST: usize = 0x3fff;

/// Pointers in one name. Who compresses well has one.
const MOST_HOPS: usize = 32;

/// Marks a pointer.
const POINTER: u8 = 0xc0;

/// Where the name at `at` ends. A pointer ends a name, wherever it leads to: nothing is followed.
pub(super) fn end(message: &[u8], mut at: usize) -> Option<usize> {
    let begins = at;
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            byte if byte >= POINTER => return message.get(at + 1).map(|_| at + 2),
            byte if byte > 63 => return None,
            byte => at += usize::from(byte) + 1,
        }
        if at - begins >= 255 {
            return None;
        }
    }
}

/// The name at `at`, whose parts may be anywhere before. As pointers lead backwards and are few, it
/// ends (T32).
pub(super) fn unpack(message: &[u8], mut at: usize) -> Option<DomainName> {
    let (mut wire, mut len, mut hops) = ([0; 255], 0, 0);
    loop {
        let byte = *message.get(at)?;
        if byte >= POINTER {
            let to = usize::from(super::short(message, at)? & 0x3fff);
            hops += 1;
            if to >= at || hops > MOST_HOPS {
                return None;
            }
            at = to;
            continue;
        }
        let size = usize::from(byte) + 1;
        wire.get_mut(len..len + size)?.copy_from_slice(message.get(at..at + size)?);
        (at, len) = (at + size, len + size);
        if byte == 0 {
            return DomainName::from_wire(&wire[..len]);
        }
    }
}

/// The labels that were written to a message, and where.
///
/// The first few are remembered. In answers of many names those share their ends with the first.
#[derive(Debug, Clone)]
pub(super) struct Places {
    at: [u16; REMEMBERED],
    len: usize,
}

impl Places {
    pub(super) const fn new() -> Self {
        Places { at: [0; REMEMBERED], len: 0 }
    }

    /// How many there are, to come back to.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Forgets those after the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Remembers the labels of the name at `at`, which has no pointer.
    pub(super) fn remember(&mut self, message: &[u8], mut at: usize) {
        while let Some(len) = message.get(at).filter(|len| **len != 0) {
            self.push(at);
            at += usize::from(*len) + 1;
        }
    }

    fn push(&mut self, at: usize) {
        if self.len < REMEMBERED && at <= FARTHEST {
            self.at[self.len] = u16::try_from(at).unwrap_or(u16::MAX);
            self.len += 1;
        }
    }

    /// Writes `name` at the end of `out`, with a pointer for what is in the message already: the same
    /// labels in the same case, so that no name takes on how another is written (DNS-38). The message
    /// begins at `start`.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, start: usize, name: &DomainName) {
        let known = self.len; // Its own labels are no use to it.
        let mut rest = name.as_wire();
        while rest.len() > 1 {
            let message = &out[start..];
            let same = |at: &&u16| is_at(message, usize::from(**at), rest);
            if let Some(at) = self.at[..known].iter().find(same) {
                let [high, low] = at.to_be_bytes();
                return out.extend([high | POINTER, low]);
            }
            self.push(message.len());
            let (label, after) = rest.split_at(usize::from(rest[0]) + 1);
            out.extend_from_slice(label);
            rest = after;
        }
        out.push(0);
    }
}

/// Whether the name at `at` of a message of our own is `wire`. Pointers lead backwards, so it ends.
fn is_at(message: &[u8], mut at: usize, mut wire: &[u8]) -> bool {
    loop {
        let (Some(len), Some(want)) = (message.get(at), wire.first()) else { return false };
        if *len >= POINTER {
            match super::short(message, at) {
                Some(to) if usize::from(to & 0x3fff) < at => at = usize::from(to & 0x3fff),
                Some(_) | None => return false,
            }
            continue;
        }
        if len != want {
            return false;
        }
        let size = usize::from(*len) + 1;
        if *len == 0 {
            return true;
        }
        if message.get(at..at + size) != wire.get(..size) {
            return false;
        }
        (at, wire) = (at + size, &wire[size..]);
    }
}
