//! The Container Network Interface, as text: what a runtime asks (environment and stdin of a plugin
//! process), what it is answered (JSON on stdout), and how Seaway's plugin hands both to the agent.
//!
//! Parsing is total: any bytes give a [`Request`] or an [`Error`] that the runtime can be told.
//! DEL is parsed leniently, because a runtime must be able to clean up whatever became of its
//! configuration; everything else is checked before anything is touched.
//!
//! Source: CNI spec 1.1.0 and its predecessors back to 0.3.0; CNI conventions (CONVENTIONS.md).

mod args;
mod conf;
mod conflist;
mod environment;
mod error;
mod field;
mod message;
mod request;
mod result;
mod version;

pub use conflist::Conflist;
pub use environment::{Command, Environment};
pub use error::{Code, Error};
pub use message::{InvalidMessage, Reply, decode_call, encode_call};
pub use request::{Add, Check, Operation, Paths, Request, parse};
pub use result::{AddResult, Dns, Interface, Ip, Route};
pub use version::{Version, answer_version};

/// Largest configuration that is read from stdin and largest message on the agent's socket, in
/// bytes. A GC keep-list of 1,000 attachments takes about 100 KiB.
pub const MAX_MESSAGE: usize = 1 << 20;
