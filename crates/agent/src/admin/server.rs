//! HTTP/1 around the desk.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{AbortHandle, JoinSet};

use super::{Answer, Desk, Visitor, WEIGHT};
use crate::sockets::Sockets;

/// Most connections at a time of all sockets that share their [`Seats`].
const MOST: usize = 128;

/// Time a client has to say what it wants.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// Time a whole connection may last.
const LEAVE_WITHIN: Duration = Duration::from_secs(60);

/// A listening socket for questions.
#[derive(Debug)]
pub enum Server {
    /// `agent.sock`, for root.
    Socket(Arc<UnixListener>),
    /// An address of the node.
    Address(Arc<TcpListener>),
}

/// A socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The unix socket.
    #[error("listen on {path}")]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// An address of the node.
    #[error("listen on {addr}")]
    Address {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

impl Server {
    /// The unix socket at `path`, mode 0600: that of the agent before, or a new one in its place.
    /// Must be called inside a tokio runtime, as [`Server::address`].
    ///
    /// # Errors
    /// [`AdminError::Socket`].
    pub(crate) fn socket(path: &Path, sockets: &Sockets) -> Result<Self, AdminError> {
        let listener = sockets.unix("agent.sock", path).map(Server::Socket);
        listener.map_err(|cause| AdminError::Socket { path: path.to_owned(), cause })
    }

    /// The TCP socket at `addr`. One at all addresses of both families is at those of IPv4 where the
    /// kernel has no IPv6.
    ///
    /// # Errors
    /// [`AdminError::Address`].
    pub(crate) async fn address(addr: SocketAddr, sockets: &Sockets) -> Result<Self, AdminError> {
        let mut listener = sockets.tcp(addr).await;
        if let Err(error) = &listener
            && addr.ip() == Ipv6Addr::UNSPECIFIED
            && error.raw_os_error() == Some(libc::EAFNOSUPPORT)
        {
            listener = sockets.tcp((Ipv4Addr::UNSPECIFIED, addr.port()).into()).await;
        }
        listener.map(Server::Address).map_err(|cause| AdminError::Address { addr, cause })
    }

    /// Where the TCP socket listens.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Server::Socket(_) => None,
            Server::Address(listener) => listener.local_addr().ok(),
        }
    }

    /// Answers `visitor` until it is dropped, and its connections with it.
    pub async fn serve(self, desk: Desk, visitor: Visitor, seats: Seats) {
        let mut talks = JoinSet::new();
        loop {
            let accepted =
                match &self {
                    Server::Socket(listener) => listener.accept().await.map(|(stream, _)| {
                        talks.spawn(talk(stream, desk.clone(), visitor.clone()))
                    }),
                    Server::Address(listener) => listener.accept().await.map(|(stream, _)| {
                        talks.spawn(talk(stream, desk.clone(), visitor.clone()))
                    }),
                };
            match accepted {
                Ok(talk) => seats.take(talk),
                Err(error) => {
                    tracing::warn!("accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            while talks.try_join_next().is_some() {}
        }
    }
}

/// The connections of sockets that anybody can reach, oldest first. When there are too many, the oldest
/// ends: who opens many of them and says nothing keeps nobody else out.
#[derive(Debug, Default, Clone)]
pub struct Seats(Arc<Mutex<VecDeque<AbortHandle>>>);

impl Seats {
    fn take(&self, talk: AbortHandle) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() == MOST {
            taken.retain(|talk| !talk.is_finished());
        }
        if taken.len() == MOST
            && let Some(oldest) = taken.pop_front()
        {
            oldest.abort();
        }
        taken.push_back(talk);
    }
}

/// One connection.
async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, desk: Desk, visitor: Visitor) {
    let (desk, visitor) = (&desk, &visitor);
    let service = service_fn(|request: Request<Incoming>| async move {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let answer = desk.answer(request.method(), path, visitor).await;
        let accept = request.headers().get(header::ACCEPT);
        let is_open = accept.is_some_and(|value| {
            value.to_str().is_ok_and(|kinds| kinds.contains("application/openmetrics-text"))
        });
        let answer = if is_open { answer } else { answer.classic() };
        Ok::<_, std::convert::Infallible>(response(answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASK_WITHIN)
        .max_buf_size(8192)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(LEAVE_WITHIN, connection).await {
        tracing::debug!("admin connection: {error}");
    }
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let content_type = HeaderValue::from_static(answer.content_type);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(weight) = answer.weight {
        headers.insert(WEIGHT, HeaderValue::from(weight));
    }
    response
}
