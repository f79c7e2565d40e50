//! HTTP/1 around the desk.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::{Answer, Desk, Visitor};

/// Most connections at a time, so that a scraper gone wild costs a bounded amount of memory.
const MOST: usize = 16;

/// Time a client has to say what it wants.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// Time a whole connection may last.
const LEAVE_WITHIN: Duration = Duration::from_secs(60);

/// A listening socket for questions.
#[derive(Debug)]
pub enum Server {
    /// `agent.sock`, for root.
    Socket(UnixListener),
    /// The metrics address.
    Address(TcpListener),
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
    /// The metrics address.
    #[error("listen on {addr} for metrics; another --metrics-bind may be free")]
    Address {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

impl Server {
    /// The unix socket at `path`, mode 0600. The one of an earlier agent is replaced in one step.
    /// Must be called inside a tokio runtime, as [`Server::address`].
    ///
    /// # Errors
    /// [`AdminError::Socket`].
    pub fn socket(path: &Path) -> Result<Self, AdminError> {
        let bind = || {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            let draft = path.with_extension("new");
            match fs::remove_file(&draft) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let listener = UnixListener::bind(&draft)?;
            fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
            fs::rename(&draft, path)?;
            Ok(listener)
        };
        let listener = bind().map_err(|cause| AdminError::Socket { path: path.to_owned(), cause });
        listener.map(Server::Socket)
    }

    /// The TCP socket at `addr`.
    ///
    /// # Errors
    /// [`AdminError::Address`].
    pub async fn address(addr: SocketAddr) -> Result<Self, AdminError> {
        let listener = TcpListener::bind(addr).await;
        listener.map(Server::Address).map_err(|cause| AdminError::Address { addr, cause })
    }

    /// Where the TCP socket listens.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Server::Socket(_) => None,
            Server::Address(listener) => listener.local_addr().ok(),
        }
    }

    /// Answers until it is dropped.
    pub async fn serve(self, desk: Desk) {
        let places = Arc::new(Semaphore::new(MOST));
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let talk = async {
                match &self {
                    Server::Socket(listener) => {
                        let (stream, _) = listener.accept().await?;
                        tokio::spawn(talk(stream, desk.clone(), Visitor::Root, place));
                    }
                    Server::Address(listener) => {
                        let (stream, _) = listener.accept().await?;
                        tokio::spawn(talk(stream, desk.clone(), Visitor::Anybody, place));
                    }
                }
                io::Result::Ok(())
            };
            if let Err(error) = talk.await {
                tracing::warn!("accept on the admin socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection, as long as it holds its place.
async fn talk<P>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    desk: Desk,
    visitor: Visitor,
    _place: P,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let desk = desk.clone();
        async move {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let answer = desk.answer(request.method(), path, visitor).await;
            Ok::<_, std::convert::Infallible>(response(answer))
        }
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
    let content_type = header::HeaderValue::from_static(answer.content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
