//! Questions for which others have to be asked: on the asynchronous runtime, so many at one time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use model::Family;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use wire::dns::Transport;

use super::counts::Counts;
use super::log::Exchange;
use super::respond::{Open, Outcome, Responder};
use super::share::Shares;
use super::udp::{Ear, Lane};

/// Asks others, within limits.
pub(super) struct Asking {
    pub(super) runtime: Handle,
    pub(super) responder: Arc<Responder>,
    pub(super) shares: Arc<Shares>,
    /// Dropped with the last question that is open: nothing is sent.
    pub(super) _alive: mpsc::Sender<Infallible>,
}

/// Where the answer to a datagram goes, and where it is counted.
pub(super) struct Path {
    pub(super) ear: Ear,
    pub(super) client: SocketAddr,
    pub(super) lane: Arc<Lane>,
}

impl Asking {
    /// Has the question of a datagram answered, which came at `start`.
    pub(super) fn answer_later(self: &Arc<Self>, open: Open, path: Path, start: Instant) {
        let asking = Arc::clone(self);
        self.runtime.spawn(async move {
            let mut out = Vec::new();
            let outcome = asking.ask(&open, &path.lane.counts, &mut out).await;
            let Outcome::Told(told) = outcome else { return };
            let (counts, client) = (&path.lane.counts, path.client);
            let (question, transport) = (open.bytes(), Transport::Udp);
            counts.add(told, transport, Family::of(client.ip()), [question.len(), out.len()]);
            if path.ear.socket.send_to(&out, path.client).is_err() {
                Counts::add_one(&counts.unsent); // The client asks again.
            }
            let took = start.elapsed();
            counts.add_took(told.zone, took, 1);
            if let Some(log) = &*asking.responder.known.log.load() {
                let exchange = Exchange { client, transport, question, answer: &out };
                log.say(&exchange, told, took);
            }
        });
    }

    /// Writes the answer to an open question to `out`. A client that has too many of them, or one too
    /// many for all, is told so (DNS-96).
    pub(super) async fn ask(&self, open: &Open, counts: &Counts, out: &mut Vec<u8>) -> Outcome {
        let Some(_share) = self.shares.take(open.client) else {
            Counts::add_one(&counts.shed);
            return open.shed(out);
        };
        self.responder.ask(open, counts, out).await
    }
}
