//! The server as its owner sees it: made from options, run until told to stop.
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::AsyncBufReadExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::access::{Tokens, User, rbac, secrets};
use crate::admission::{Admission, Hooks};
use crate::crd;
use crate::credentials::{self, Credentials};
use crate::http::{Api, BrokenOff, MEMORY, Upload};
use crate::keys::Keys;
use crate::lifecycle;
use crate::nodes::Nodes;
use crate::store::{Mark, StateError, Store};

/// Connections at once; who comes then waits until one ends.
const CONNECTIONS: usize = 4096;
/// Requests at once on a connection that carries several.
const STREAMS: u32 = 250;
/// How much of an answer is held for a client that does not take it, in bytes: for each request.
const HELD: usize = 64 * 1024;
/// How often a connection that carries several requests is asked whether it is still there, and how
/// long it may take to say so.
const PULSE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));
/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take for a request's head.
const HEAD: Duration = Duration::from_secs(30);
/// How long open requests may go on once the server stops. Watches end at once.
const DRAIN: Duration = Duration::from_secs(2);

/// What a server is made from.
#[derive(Debug, Default)]
pub struct Options {
    /// Bound sockets, in any network namespace; all serve the same API over TLS.
    pub listeners: Vec<TcpListener>,
    /// Names and addresses the certificate is for, besides `localhost`, the loopback addresses and
    /// `kubernetes.default.svc`.
    pub sans: Vec<String>,
    /// What has a say in writes, in this order.
    pub admission: Vec<Box<dyn Admission>>,
    /// How to reach the servers of nodes, for logs and commands in containers.
    pub nodes: Nodes,
    /// How long a client may take to send a request's body; a minute if nothing is said.
    pub patience: Option<Duration>,
    /// Where objects, the certificate authority and the keys of tokens are kept, by one server at a
    /// time; a server without one starts empty and forgets.
    pub state_dir: Option<PathBuf>,
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The objects that are kept can't be read, or no more be written.
    #[error("use the API server's state directory")]
    State(#[from] StateError),
    /// No certificate.
    #[error("prepare the API server's credentials")]
    Credentials(#[from] credentials::Error),
    /// What every cluster has can't be written.
    #[error("make what every cluster has")]
    Unsettled(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A listener can't be used.
    #[error("listen for the API server")]
    Listen(#[source] io::Error),
}

/// An API server with its objects, credentials and sockets.
#[derive(Debug)]
pub struct Server {
    api: Arc<Api>,
    credentials: Credentials,
    listeners: Vec<TcpListener>,
    /// Before anything was written.
    mark: Mark,
}

impl Server {
    /// A server with the cluster that is kept in its state directory. A new cluster has the four
    /// namespaces every cluster has, and nothing in them.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(options: Options) -> Result<Self, Error> {
        let state = options.state_dir.as_deref();
        // Locks the directory: what else is in it is looked at after this.
        let store = match state {
            Some(directory) => Store::open(directory, MEMORY)?,
            None => Store::new(MEMORY),
        };
        let keys = Keys::new(state);
        let credentials = Credentials::new(&credentials::all_names(&options.sans), &keys)?;
        let api = Arc::new(Api::new(
            store,
            Tokens::new(&keys)?,
            credentials.ca_pem.clone(),
            Hooks::new(options.admission),
            options.nodes,
            options.patience,
        ));
        // Before the first request, and for hooks to be told of objects of custom kinds, too.
        crd::publish(&api);
        api.admit_kept();
        let mark = api.store.mark();
        lifecycle::populate(&api);
        Ok(Self { api, credentials, listeners: options.listeners, mark })
    }

    /// The certificate authority that clients must trust, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.credentials.ca_pem
    }

    /// The administrator's bearer token.
    pub fn token(&self) -> &str {
        self.api.tokens.admin()
    }

    /// A kubeconfig for the administrator, for a client that reaches the server at `server_url`.
    pub fn kubeconfig(&self, server_url: &str) -> String {
        self.kubeconfig_for("kubernetes-admin", self.token(), server_url)
    }

    /// A kubeconfig for the agent of `node` (user `system:node:<node>`), with a new token.
    pub fn node_kubeconfig(&self, node: &str, server_url: &str) -> String {
        let token = self.api.tokens.issue_node(node);
        self.kubeconfig_for(&format!("system:node:{node}"), &token, server_url)
    }

    /// A certificate for `user` in `group` (empty: in none), by the authority, and its key: both
    /// PEM, as a kubeconfig's `client-certificate-data` and `client-key-data` encode them.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn client_certificate(&self, user: &str, group: &str) -> Result<(String, String), Error> {
        Ok(self.credentials.client(user, group)?)
    }

    fn kubeconfig_for(&self, user: &str, token: &str, server_url: &str) -> String {
        let ca = base64::engine::general_purpose::STANDARD.encode(self.ca_pem());
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: seaway-lab\n\
             \x20 cluster:\n\
             \x20   server: {server_url}\n\
             \x20   certificate-authority-data: {ca}\n\
             users:\n\
             - name: {user}\n\
             \x20 user:\n\
             \x20   token: {token}\n\
             contexts:\n\
             - name: seaway-lab\n\
             \x20 context:\n\
             \x20   cluster: seaway-lab\n\
             \x20   user: {user}\n\
             current-context: seaway-lab\n"
        )
    }

    /// Serves until `shutdown` completes, then ends watches and lets other requests finish.
    ///
    /// # Errors
    /// [`Error::Listen`] if a listener can't be used, [`Error::Unsettled`] if a new cluster's first
    /// objects can't be written; nothing was served then.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let settled = self.api.store.settle(self.mark).await;
        settled.map_err(|unsettled| Error::Unsettled(unsettled.into()))?;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut tasks = JoinSet::new();
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        for listener in &self.listeners {
            let listener = self.listener(listener).map_err(Error::Listen)?;
            let acceptor = TlsAcceptor::from(self.credentials.tls.clone());
            let door = Door { acceptor, places: places.clone(), api: self.api.clone() };
            tasks.spawn(accept(listener, door, stopped.clone()));
        }
        let api = self.api.clone();
        let watched = stopped.clone();
        tasks.spawn(async move { api.flights.watch_over(watched).await });
        tasks.spawn(lifecycle::run(self.api.clone(), stopped.clone()));
        tasks.spawn(crd::run(self.api.clone(), stopped.clone()));
        tasks.spawn(rbac::run(self.api.clone(), stopped.clone()));
        tasks.spawn(secrets::run(self.api.clone(), stopped.clone()));
        shutdown.await;
        self.api.stop();
        stop.send_replace(true);
        while tasks.join_next().await.is_some() {}
        self.api.store.close();
        Ok(())
    }

    /// Answers a request of this process, as one that came over a connection without a client
    /// certificate.
    pub async fn answer<B>(
        &self,
        request: Request<B>,
    ) -> Response<impl Body<Data = Bytes, Error = std::convert::Infallible> + use<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.api.serve(request.map(upload), None).await
    }

    fn listener(&self, listener: &TcpListener) -> io::Result<tokio::net::TcpListener> {
        let listener = listener.try_clone()?;
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    }
}

fn upload<B>(body: B) -> Upload
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    body.map_err(BrokenOff::by).boxed_unsync()
}

pub(crate) type Stopped = tokio::sync::watch::Receiver<bool>;

/// Returns once the server stops.
pub(crate) async fn signalled(stopped: &mut Stopped) {
    // An error means the server is gone, which is stopped enough.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// What a connection needs to be served.
#[derive(Clone)]
struct Door {
    acceptor: TlsAcceptor,
    places: Arc<Semaphore>,
    api: Arc<Api>,
}

/// Takes connections from one listener until told to stop, then waits for those it has.
async fn accept(listener: tokio::net::TcpListener, door: Door, mut stopped: Stopped) {
    let mut connections = JoinSet::new();
    loop {
        let taken = async {
            let place = door.places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            (place, accepted) = taken => match accepted {
                Ok((stream, peer)) => {
                    let served = serve(stream, peer, door.clone(), stopped.clone());
                    connections.spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                // Out of descriptors, or the peer went away: neither is helped by haste.
                Err(error) => {
                    debug!(%error, "accept a connection");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = signalled(&mut stopped) => break,
        }
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        debug!("requests were still open when the API server stopped");
    }
}

/// Serves one connection.
async fn serve(stream: tokio::net::TcpStream, peer: SocketAddr, door: Door, mut stopped: Stopped) {
    let nodelay = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(HANDSHAKE, door.acceptor.accept(stream)).await;
    let (Ok(()), Ok(Ok(mut stream))) = (nodelay, handshake) else {
        debug!(%peer, "no TLS handshake");
        return;
    };
    // Who has nothing to say is not waited for.
    if !matches!(tokio::time::timeout(HEAD, stream.fill_buf()).await, Ok(Ok([_, ..]))) {
        debug!(%peer, "no request");
        return;
    }
    let session = stream.get_ref().1;
    let user: Arc<Option<User>> = Arc::new(credentials::peer(session));
    // What is agreed on need not be guessed from the first bytes.
    let several = session.alpn_protocol() == Some(b"h2");
    let api = door.api;
    let service = hyper::service::service_fn(move |request| {
        let (api, user) = (api.clone(), user.clone());
        async move {
            let request = Request::map(request, upload);
            let answer = api.serve(request, Option::as_ref(&user)).await;
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HELD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(HELD);
    builder.http2().keep_alive_interval(PULSE.0).keep_alive_timeout(PULSE.1);
    let builder = if several { builder.http2_only() } else { builder.http1_only() };
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = signalled(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%peer, %error, "connection ended");
    }
}
