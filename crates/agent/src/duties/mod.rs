//! What is done once for the whole cluster, by the one agent that leads.
//!
//! ```text
//!  agents ── contend for the Lease kube-system/seaway ──► one leads, until it does not renew in time
//!                                                         ├─► policies: what their status says
//!                                                         ├─► Nodes: they have pod CIDRs
//!                                                         └─► Service of DNS: there is one, with its endpoints
//! ```
//!
//! A duty is a future that goes on until it is dropped. Before each write it asks whether this agent still
//! leads; all it writes follows from what is there, so what one leader began another one finishes.

mod conditions;
mod dns_endpoints;
mod dns_service;
mod node_cidrs;
mod policies;
#[cfg(test)]
pub(crate) mod served;

use std::sync::Arc;
use std::time::Duration;

use kube::{Access, Client, Election, Kind, Leadership, Listed, kind};
use model::Dns;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::observe::{Metrics, Teller};
use crate::sources::Watched;

pub use node_cidrs::{InvalidPodCidrs, PodCidrs};

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
    pub(crate) teller: Teller,
    /// Settings of DNS, if nodes serve it.
    pub(crate) dns: Option<Dns>,
    /// Whether a Service is made for that where there is none.
    pub(crate) makes_dns_service: bool,
    /// What Nodes are given pod CIDRs from.
    pub(crate) pod_cidrs: PodCidrs,
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
            () = lead(&context) => false,
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

/// Does all of it, and never ends.
async fn lead(context: &Context) {
    let Ok(client) = kube::connect(&context.access).await else {
        // The election has a connection by the same settings.
        return std::future::pending().await;
    };
    let mut tasks = JoinSet::new();
    let states = watch(&mut tasks, context, &client, kind::node_states());
    let told = watch(&mut tasks, context, &client, kind::node_leases());
    let seen = dns_endpoints::Seen {
        made: watch(&mut tasks, context, &client, kind::made_services()),
        states: states.clone(),
        told: told.clone(),
        slices: context.watched.slices.clone(),
    };
    tokio::join!(
        policies::keep(context, &client, told),
        node_cidrs::keep(context, &client, states),
        dns_service::keep(context),
        dns_endpoints::keep(context, &client, seen),
    );
}

/// Follows a kind of objects that nobody but who leads needs.
fn watch<K, V>(
    tasks: &mut JoinSet<()>,
    context: &Context,
    client: &Client,
    kind: Kind<K, V>,
) -> watch::Receiver<Listed<K, V>>
where
    K: Ord + Clone + std::fmt::Debug + Send + Sync + 'static,
    V: PartialEq + Clone + Send + Sync + 'static,
{
    let Context { access, moves, .. } = context;
    let (out, seen) = watch::channel(Listed::default());
    tasks.spawn(kube::watch(kind, client.clone(), access.clone(), out, moves.clone()));
    seen
}
