//! Bytes to frames.

use std::fmt;

use super::headers::Reader;
use super::{Error, FIN, Frame, LONGEST_DATA, StreamId, kind};

/// Longest control frame that is read, in bytes.
const LONGEST_CONTROL: usize = 64 * 1024;
/// Bytes before what a frame is about.
const HEAD: usize = 8;

/// Reads the frames of one direction. It holds what was pushed and not yet taken, so whoever pushes
/// no more than fits and takes all frames before pushing again bounds its memory.
pub struct Decoder {
    buffer: Vec<u8>,
    /// How much of the buffer has been taken.
    taken: usize,
    /// The data frame that is being taken in parts: its stream, its last word, what is left.
    data: Option<(StreamId, bool, usize)>,
    headers: Reader,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { buffer: Vec::new(), taken: 0, data: None, headers: Reader::new() }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("buffered", &(self.buffer.len() - self.taken)).finish()
    }
}

impl Decoder {
    /// Takes more of what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, or `None` until more is pushed.
    ///
    /// # Errors
    /// See [`Error`]; the connection is of no use then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        if let Some((id, fin, left)) = self.data.take() {
            return Ok(self.part(id, fin, left));
        }
        let rest = &self.buffer[self.taken..];
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [a, b, c, d, flags, e, f, g] = *head;
        let length = usize::try_from(u32::from_be_bytes([0, e, f, g])).unwrap_or(usize::MAX);
        let fin = flags & FIN != 0;
        if a & 0x80 == 0 {
            let id = stream(u32::from_be_bytes([a, b, c, d]))?;
            self.taken += HEAD;
            return Ok(self.part(id, fin, length));
        }
        let version = u16::from_be_bytes([a & 0x7f, b]);
        if version != 3 {
            return Err(Error::Version(version));
        }
        if length > LONGEST_CONTROL {
            return Err(Error::TooLong(length));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        self.taken += HEAD + length;
        control(u16::from_be_bytes([c, d]), fin, body, &mut self.headers).map(Some)
    }

    /// As much of a data frame as there is.
    fn part(&mut self, id: StreamId, fin: bool, left: usize) -> Option<Frame> {
        let there = &self.buffer[self.taken..];
        let length = left.min(there.len()).min(LONGEST_DATA);
        if length == 0 && left > 0 {
            self.data = Some((id, fin, left));
            return None;
        }
        let bytes = there[..length].to_vec();
        self.taken += length;
        if length < left {
            self.data = Some((id, fin, left - length));
        }
        Some(Frame::Data { id, fin: fin && length == left, bytes })
    }
}

fn control(kind: u16, fin: bool, body: &[u8], reader: &mut Reader) -> Result<Frame, Error> {
    let word = |at: usize| {
        let word = body.get(at..at + 4).and_then(|word| <[u8; 4]>::try_from(word).ok());
        word.map(u32::from_be_bytes).ok_or(Error::TooShort(kind))
    };
    let block = |at: usize| body.get(at..).ok_or(Error::TooShort(kind));
    Ok(match kind {
        kind::SYN_STREAM => {
            let id = stream(word(0)?)?;
            // After the stream it is associated with, its priority and its slot.
            Frame::SynStream { id, fin, headers: reader.read(block(10)?)? }
        }
        kind::SYN_REPLY => {
            Frame::SynReply { id: stream(word(0)?)?, fin, headers: reader.read(block(4)?)? }
        }
        kind::HEADERS => {
            Frame::Headers { id: stream(word(0)?)?, fin, headers: reader.read(block(4)?)? }
        }
        kind::RST_STREAM => Frame::RstStream { id: stream(word(0)?)?, status: word(4)? },
        kind::PING => Frame::Ping(word(0)?),
        kind::GOAWAY => Frame::GoAway(word(0)? & 0x7fff_ffff),
        _ => Frame::Other,
    })
}

/// The number of a stream, whose first bit means nothing.
fn stream(word: u32) -> Result<StreamId, Error> {
    match word & 0x7fff_ffff {
        0 => Err(Error::NoStream),
        id => Ok(id),
    }
}
