//! What goes on beside the loop for as long as an agent is in charge.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use model::chain;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{self, Desk, Seats, Visitor};
use crate::handle::Status;
use crate::install;
use crate::reconcile::since_1970;
use crate::run::Settings;
use crate::shown::Shown;
use crate::sockets::Sockets;
use crate::sources::Watched;

/// Answers `visitor` at `addr`, as soon as nobody else does: a kube-proxy that still runs is no reason
/// for pods to be without a network.
pub(super) async fn answer_at(addr: SocketAddr, desk: Desk, visitor: Visitor, sockets: Sockets) {
    let mut said = None;
    loop {
        match admin::Server::address(addr, &sockets).await {
            Ok(server) => return server.serve(desk, visitor, Seats::default()).await,
            Err(error) => {
                let why = chain(&error);
                if said.as_ref() != Some(&why) {
                    tracing::error!("{why}; does kube-proxy still run here? Trying again");
                    said = Some(why);
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Wakes the loop whenever a watch has a new level.
pub(super) async fn pass_on(mut watched: Watched, desk: Desk) {
    loop {
        if !watched.changed().await {
            return;
        }
        watched.count(&desk.metrics);
        desk.due.queue(Instant::now());
        desk.metrics.proxy.queued(since_1970());
        desk.handle.wake();
    }
}

/// How often it is looked whether another network's configuration has come before ours.
const LOOK: Duration = Duration::from_secs(10);

/// Writes the network configuration once ADDs can be served, and says so when runtimes take another's.
pub(super) async fn announce(paths: wire::cni::Paths, dir: PathBuf, shown: Arc<Shown>) {
    let mut status = shown.status();
    let ready = status.wait_for(|status| matches!(status, Status::Ready { .. }));
    if ready.await.is_err() {
        return;
    }
    while let Err(error) = install::conflist(&paths, &dir) {
        tracing::error!("{}; trying again", chain(&error));
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let mut said = None;
    loop {
        let preferred = install::preferred_to_ours(&dir);
        if preferred != said {
            match &preferred {
                Some(why) => tracing::warn!("{why}"),
                None => tracing::info!("the container runtime takes Seaway's configuration"),
            }
            said = preferred;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Follows the cluster's objects from now on.
pub(super) fn watch_cluster(
    tasks: &mut JoinSet<()>,
    settings: &Settings,
    client: &Client,
) -> (Watched, watch::Sender<()>) {
    let (watching, watched) = Watched::new();
    let (moved, moves) = watch::channel(());
    watching.start(tasks, (client, &settings.access), &moves);
    (watched, moved)
}
