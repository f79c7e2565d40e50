//! What the loop shows to everybody else in the agent: its newest view, and whether it serves.

use std::sync::Arc;
use std::time::Duration;

use compile::Compiled;
use model::World;
use plan::zone::Zones;
use tokio::sync::watch;

use crate::dns::Names;
use crate::handle::Status;
use crate::journal::Leases;
use crate::reconcile::Report;
use crate::sources::Basis;

/// Where the loop was at the end of its last turn.
#[derive(Debug, Default, Clone)]
pub struct View {
    /// The World.
    pub world: World,
    /// What it goes by.
    pub basis: Basis,
    /// The plan, and what could not be honored.
    pub compiled: Arc<Compiled>,
    /// The last pass.
    pub report: Arc<Report>,
    /// Who has which address.
    pub leases: Leases,
    /// When a pass last ended that had brought rules into the kernel: a time since 1970.
    pub programmed: Option<Duration>,
    /// What DNS answers by: the zones of the last World whose rules the kernel has.
    pub zones: Arc<Zones>,
    /// Who knows what names stand for at this moment.
    pub(crate) names: Option<Names>,
}

/// The newest view, as a level to read and to wait on. Readers never wait for the loop.
#[derive(Debug)]
pub struct Shown {
    view: watch::Sender<Arc<View>>,
    status: watch::Sender<Status>,
    drained: watch::Sender<Option<u64>>,
}

impl Default for Shown {
    fn default() -> Self {
        let status = Status::NotReady("the agent is starting".to_owned());
        Shown {
            view: watch::Sender::default(),
            status: watch::Sender::new(status),
            drained: watch::Sender::default(),
        }
    }
}

impl Shown {
    /// The newest view.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Every view from now on, as a level: one that nobody looked at is skipped.
    pub(crate) fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Whether ADD can be served, as a level to wait on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// The revision of the slices that new flows follow, whenever endpoints went by it.
    pub(crate) fn drains(&self) -> watch::Receiver<Option<u64>> {
        self.drained.subscribe()
    }

    /// New flows follow the slices of this revision.
    pub(crate) fn drained(&self, revision: u64) {
        self.drained.send_replace(Some(revision));
    }

    /// Replaces what is shown.
    pub(crate) fn put(&self, view: View, status: Status) {
        self.view.send_replace(Arc::new(view));
        self.status.send_if_modified(|shown| {
            let is_new = *shown != status;
            if is_new {
                match &status {
                    Status::Ready { .. } => tracing::info!("ready"),
                    Status::NotReady(why) | Status::Impaired(why) => {
                        tracing::warn!("not ready: {why}")
                    }
                }
                *shown = status;
            }
            is_new
        });
    }
}
