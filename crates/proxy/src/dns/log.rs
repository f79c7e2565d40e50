//! A line for each question, or for some of them.

use std::net::IpAddr;
use std::num::NonZero;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use model::DomainName;
use wire::dns::{Rcode, RecordType, Transport};

use super::counts::{Origin, Told};

/// A question and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Who wanted to know.
    pub client: IpAddr,
    /// How the question came.
    pub transport: Transport,
    /// The name, in lower case.
    pub name: DomainName,
    /// The type.
    pub kind: RecordType,
    /// How it fared.
    pub rcode: Rcode,
    /// Where the answer is from.
    pub origin: Origin,
    /// How long it took until it was answered.
    pub took: Duration,
}

/// Which questions are told of, and to whom.
#[derive(Debug)]
pub struct Log {
    /// One of so many, at each thread: all of them, if it is one.
    pub every: NonZero<u32>,
    /// Where they go. What there is no room for is lost: nobody waits for a log.
    pub to: SyncSender<Asked>,
}

impl Log {
    /// Tells of the question `bytes`, the `turn`th of its thread, if it is one of those to be told of.
    /// What is no question is not.
    pub(super) fn say(
        &self,
        turn: u32,
        (client, transport): (IpAddr, Transport),
        bytes: &[u8],
        told: Told,
        took: Duration,
    ) {
        if !turn.is_multiple_of(self.every.get()) {
            return;
        }
        if let Ok(query) = wire::dns::read(bytes) {
            let (name, kind) = (query.name, query.kind);
            let Told { rcode, origin, .. } = told;
            let asked = Asked { client, transport, name, kind, rcode, origin, took };
            let (Ok(()) | Err(_)) = self.to.try_send(asked);
        }
    }
}
