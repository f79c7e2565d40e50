//! What is taken over from the agent that ran here before.

use std::sync::Weak;

use model::chain;

use crate::dns::Answering;
use crate::handover::Predecessor;
use crate::run::RunError;
use crate::sockets::Sockets;
use crate::sources::Watched;

/// Goes on with what the agent before this one had begun.
pub(super) async fn adopt(mut predecessor: Predecessor, answering: Weak<Answering>) {
    match predecessor.receive().await {
        Ok(begun) => {
            let begun = begun.into_iter().flatten().map(|(_, fd)| fd).collect();
            if let Some(answering) = answering.upgrade() {
                answering.adopt(begun);
            }
        }
        Err(error) => tracing::warn!("{}", chain(&error)),
    }
    std::future::pending().await
}

/// What the agent that runs has open, once this one knows the cluster and can do without it; `None` when
/// it has ended instead.
pub(super) async fn inherit(
    predecessor: &mut Predecessor,
    mut watched: Watched,
) -> Result<Option<Sockets>, RunError> {
    tracing::info!("another agent runs here; taking over once everything is listed");
    tokio::select! {
        () = watched.listed() => {}
        () = predecessor.gone() => return Ok(None),
    }
    Ok(predecessor.take_over().await?.map(Sockets::inheriting))
}
