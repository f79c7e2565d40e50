//! What is done once for the whole cluster, by the one agent that leads.
//!
//! ```text
//!  agents ── contend for the Lease kube-system/seaway ──► one leads, until it does not renew in time
//!                                                         ├─► policies: what their status says
//!                                                         └─► Service of DNS: there is one
//! ```
//!
//! A duty is a future that goes on until it is dropped. Before each write it asks whether this agent still
//! leads; all it writes follows from what is there, so what one leader began another one finishes.

mod conditions;
mod dns_service;
mod policies;

use std::sync::Arc;
use std::time::Duration;

use kube::{Access, Election, Leadership};
use model::Dns;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::observe::Metrics;
use crate::sources::Watched;

/// How long an agent that ends takes to leave the Lease to others.
const RESIGN_WITHIN: Duration = Duration::from_secs(2);

/// What duties go by.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) access: Access,
    pub(crate) watched: Watched,
    /// Told when the machine's addresses have become others.
    pub(crate) moves: watch::Receiver<()>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) metrics: Arc<Metrics>,
    /// Settings of the DNS that has a Service made for it, if there is to be one.
    pub(crate) dns: Option<Dns>,
}

/// An agent's contest for the duties, and the duties while it leads.
#[derive(Debug)]
pub(crate) struct Duties {
    close: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Duties {
    /// Contends from now on.
    pub(crate) fn start(election: Election, context: Context) -> Duties {
        let (close, closing) = oneshot::channel();
        Duties { close, task: tokio::spawn(contend(election, context, closing)) }
    }

    /// Ends them. If this agent led, another one may at once.
    pub(crate) async fn end(self) {
        drop(self.close);
        let mut task = self.task;
        if tokio::time::timeout(RESIGN_WITHIN, &mut task).await.is_err() {
            task.abort();
        }
    }
}

async fn contend(mut election: Election, context: Context, mut closing: oneshot::Receiver<()>) {
    let nodes = || context.watched.nodes.borrow().listed.as_ref().map_or(0, |nodes| nodes.len());
    loop {
        tokio::select! {
            () = election.won(nodes) => {}
            _ = &mut closing => return,
        }
        tracing::info!("this agent leads: it does what is done once for the whole cluster");
        context.metrics.duties.leads(true);
        let is_closing = tokio::select! {
            () = election.lost() => false,
            () = policies::keep(&context) => false,
            () = dns_service::keep(&context) => false,
            _ = &mut closing => true,
        };
        context.metrics.duties.leads(false);
        if is_closing {
            return election.resign().await;
        }
        tracing::warn!(
            "this agent leads no more: it could not renew its Lease in time, or another one has it"
        );
    }
}
