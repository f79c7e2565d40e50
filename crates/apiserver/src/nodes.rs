//! How the API server reaches the servers of nodes, which know what their containers do.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tracing::debug;

use crate::http::Body;

/// The servers of a cluster's nodes, each behind a Unix socket: HTTP/1.1 as the kubelet speaks it.
///
/// The default knows no nodes: logs and commands are refused then.
#[derive(Clone, Default)]
pub struct Nodes(Option<Arc<Sockets>>);

/// Says where the socket of a node is, given its name.
type Sockets = dyn Fn(&str) -> PathBuf + Send + Sync;

impl Nodes {
    /// Nodes whose sockets are where `socket` says, given a node's name.
    pub fn at(socket: impl Fn(&str) -> PathBuf + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(socket)))
    }

    /// A connection to the server of `node`, for one request and what it may become, and what drives
    /// it: it ends with the answer, or hands the stream over to what the answer became.
    ///
    /// # Errors
    /// Nobody listens there, or this server has no nodes.
    pub(crate) async fn dial(
        &self,
        node: &str,
    ) -> io::Result<(SendRequest<Body>, impl Future<Output = ()> + Send + use<>)> {
        let Some(socket) = &self.0 else {
            return Err(io::Error::other("this API server has no way to its nodes"));
        };
        let stream = UnixStream::connect(socket(node)).await?;
        let (requests, connection) =
            handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let driven = async {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "the connection to a node's server ended");
            }
        };
        Ok((requests, driven))
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nodes").field(&self.0.is_some()).finish()
    }
}
