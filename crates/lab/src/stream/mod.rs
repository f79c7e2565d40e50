//! A node's server for what clients want from its containers: logs, commands, terminals, ports.
//!
//! It speaks HTTP/1.1 on a Unix socket, with the kubelet's paths. Only the lab's API server reaches
//! it, which has asked who the client is and which container is meant; the protocols beyond HTTP
//! end here: `channels` and `numbered` for WebSocket, `spdy` with `remote` and `forward` for SPDY, and `tunnel` for SPDY
//! in WebSocket.
//!
//! Source: Kubernetes `pkg/kubelet/server`, `k8s.io/cri-streaming`.

mod asked;
mod attach;
mod channels;
mod client;
mod exec;
mod forward;
mod log;
mod numbered;
mod refusal;
mod remote;
mod session;
mod spdy;
mod tunnel;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::pod::Runner;
use asked::{Asked, What};
use refusal::Refusal;

/// How long a client may take to close a connection on which everything has been said.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(5);

/// What is answered: text, or a log that goes on.
type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What a connection becomes once it is upgraded.
type Session = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An answer, and what follows it.
type Answer = Result<(Response<Body>, Option<Session>), Refusal>;

/// Serves requests about the pods of this node until it is dropped, and then ends what they started.
pub(crate) async fn serve(listener: UnixListener, pods: Arc<Runner>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, pods.clone()));
                }
                Err(error) => {
                    // Out of descriptors or memory: others may free some in a moment.
                    tracing::warn!("accept a request about pods: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection, and what it becomes.
async fn converse(stream: UnixStream, pods: Arc<Runner>) {
    let (becomes, mut session) = mpsc::channel::<Session>(1);
    let service = service_fn(move |request| {
        let (pods, becomes) = (pods.clone(), becomes.clone());
        async move {
            let (response, session) =
                answer(request, pods).await.unwrap_or_else(|refusal| (refusal.response(), None));
            if let Some(session) = session {
                // There is room for one, and an upgraded connection takes no second request.
                drop(becomes.try_send(session));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!("a request about pods broke off: {error}");
    }
    if let Some(session) = session.recv().await {
        session.await;
    }
}

async fn answer(request: Request<Incoming>, pods: Arc<Runner>) -> Answer {
    let asked = Asked::parse(request.uri())?;
    match asked.what {
        What::Log => Ok((log::answer(&asked, pods).await?, None)),
        What::Exec => exec::answer(&asked, request, pods).await,
        What::PortForward => forward::answer(&asked, request, pods).await,
        What::Attach => attach::answer(&asked, request, pods).await,
    }
}
