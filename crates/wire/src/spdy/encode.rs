//! Frames to bytes.

use super::headers::Writer;
use super::{FIN, Frame, Headers, StreamId, kind};

/// Most data one frame carries: its length is a number of 24 bits.
const MOST_DATA: usize = (1 << 24) - 1;

/// Writes the frames of one direction.
#[derive(Debug, Default)]
pub struct Encoder {
    headers: Writer,
}

impl Encoder {
    /// Appends `frame` to `out`. [`Frame::Other`] is nothing.
    pub fn write(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        match frame {
            Frame::SynStream { id, fin, headers } => {
                let mut body = id.to_be_bytes().to_vec();
                // Associated with no stream, of the highest priority, in no slot.
                body.extend_from_slice(&[0; 6]);
                self.block(kind::SYN_STREAM, *fin, body, headers, out);
            }
            Frame::SynReply { id, fin, headers } => {
                self.block(kind::SYN_REPLY, *fin, id.to_be_bytes().to_vec(), headers, out);
            }
            Frame::Headers { id, fin, headers } => {
                self.block(kind::HEADERS, *fin, id.to_be_bytes().to_vec(), headers, out);
            }
            Frame::Data { id, fin, bytes } => data(*id, *fin, bytes, out),
            Frame::RstStream { id, status } => {
                control(
                    kind::RST_STREAM,
                    0,
                    &[id.to_be_bytes(), status.to_be_bytes()].concat(),
                    out,
                );
            }
            Frame::Ping(number) => control(kind::PING, 0, &number.to_be_bytes(), out),
            Frame::GoAway(last) => {
                control(kind::GOAWAY, 0, &[last.to_be_bytes(), [0; 4]].concat(), out);
            }
            Frame::Other => {}
        }
    }

    fn block(
        &mut self,
        kind: u16,
        fin: bool,
        mut body: Vec<u8>,
        headers: &Headers,
        out: &mut Vec<u8>,
    ) {
        self.headers.write(headers, &mut body);
        control(kind, if fin { FIN } else { 0 }, &body, out);
    }
}

/// Writes data; what is too long for one frame becomes several.
fn data(id: StreamId, fin: bool, bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(MOST_DATA));
        let flags = if fin && after.is_empty() { FIN } else { 0 };
        out.extend_from_slice(&id.to_be_bytes());
        length(flags, piece.len(), out);
        out.extend_from_slice(piece);
        if after.is_empty() {
            return;
        }
        rest = after;
    }
}

fn control(kind: u16, flags: u8, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x80, 3]);
    out.extend_from_slice(&kind.to_be_bytes());
    length(flags, body.len(), out);
    out.extend_from_slice(body);
}

fn length(flags: u8, length: usize, out: &mut Vec<u8>) {
    let length = u32::try_from(length).expect("a frame's length has 24 bits");
    let [_, a, b, c] = length.to_be_bytes();
    out.extend_from_slice(&[flags, a, b, c]);
}
