//! SPDY/3.1, as far as Kubernetes uses it to carry streams: frames in, frames out.
//!
//! Clients of exec, attach and port-forward open streams whose headers say what each is for. They
//! keep no account of windows and send no `WINDOW_UPDATE` (github.com/moby/spdystream never has), so
//! neither does this side: what is too much waits in the connection beneath.
//!
//! Source: SPDY Protocol, Draft 3.1.

mod decode;
mod dictionary;
mod encode;
mod headers;

use std::collections::BTreeMap;

pub use decode::Decoder;
pub use encode::Encoder;

/// Number of a stream. A client's are odd.
pub type StreamId = u32;

/// A stream's headers, by name in lower case. Several values of a name are joined with NUL.
pub type Headers = BTreeMap<String, String>;

/// Most data one frame brings out of the decoder, in bytes; a longer frame comes in parts.
pub const LONGEST_DATA: usize = 32 * 1024;

/// `RST_STREAM`: the peer did what the protocol does not allow.
pub const PROTOCOL_ERROR: u32 = 1;
/// `RST_STREAM`: the stream was not accepted.
pub const REFUSED_STREAM: u32 = 3;
/// `RST_STREAM`: the stream is no longer wanted.
pub const CANCEL: u32 = 5;

/// What one side tells the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream. With `fin` its sender will say nothing on it.
    SynStream {
        /// The stream.
        id: StreamId,
        /// Whether the sender is done with it.
        fin: bool,
        /// What it is for.
        headers: Headers,
    },
    /// Accepts a stream.
    SynReply {
        /// The stream.
        id: StreamId,
        /// Whether the sender is done with it.
        fin: bool,
        /// More about it.
        headers: Headers,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        id: StreamId,
        /// Whether the sender is done with it.
        fin: bool,
        /// More about it.
        headers: Headers,
    },
    /// Bytes of a stream.
    Data {
        /// The stream.
        id: StreamId,
        /// Whether the sender is done with it.
        fin: bool,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Ends a stream at once, in both directions.
    RstStream {
        /// The stream.
        id: StreamId,
        /// Why.
        status: u32,
    },
    /// Asks for the same frame back; a client's numbers are odd.
    Ping(u32),
    /// The sender takes no new streams, and had taken those up to this one.
    GoAway(StreamId),
    /// Settings and windows, which nobody here keeps, and frames of kinds to come.
    Other,
}

/// Why bytes are not SPDY. The connection can't go on: what follows can't be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another version of the protocol, or another protocol.
    #[error("a SPDY control frame of version {0}, not 3")]
    Version(u16),
    /// A control frame that is longer than any that is used.
    #[error("a SPDY control frame of {0} bytes")]
    TooLong(usize),
    /// A frame without what its kind must have.
    #[error("a SPDY frame of kind {0} is too short")]
    TooShort(u16),
    /// A stream that has no number.
    #[error("a SPDY frame about stream 0")]
    NoStream,
    /// Headers that don't decompress, or are longer than anybody's.
    #[error("a SPDY header block can't be read")]
    Headers,
}

/// Kinds of control frames.
mod kind {
    pub(super) const SYN_STREAM: u16 = 1;
    pub(super) const SYN_REPLY: u16 = 2;
    pub(super) const RST_STREAM: u16 = 3;
    pub(super) const PING: u16 = 6;
    pub(super) const GOAWAY: u16 = 7;
    pub(super) const HEADERS: u16 = 8;
}

/// The flag of a sender that is done with a stream.
const FIN: u8 = 1;
