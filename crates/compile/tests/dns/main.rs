//! Names of the cluster: from objects to messages, and what the specifications say.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agreement;
mod limits;
mod vectors;
mod world;

use plan::zone::{Question, Zones, answer, write};
use wire::dns::{Reply, Transport, read};

/// What a server with `zones` says to `query`; `None` when the name is in none of them.
fn respond(zones: &Zones, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let query = read(query).expect("a question");
    let question = Question { name: &query.name, kind: query.kind, turn: 0 };
    let mut out = Vec::new();
    write(&answer(zones, &question)?, Reply::new(&query, transport, &mut out));
    Some(out)
}
