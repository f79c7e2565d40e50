//! The API over HTTP: from a request to its answer.
mod account;
pub(crate) mod admit;
mod apply;
mod body;
mod compress;
mod delete;
pub(crate) mod deletion;
mod evict;
pub(crate) mod flight;
mod gate;
mod health;
mod kept;
mod page;
mod pieces;
mod read;
mod request;
pub(crate) mod respond;
mod review;
mod scale;
mod stream;
mod subresource;
mod watch;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::Semaphore;

use crate::access::{Tokens, User};
use crate::admission::Hooks;
use crate::discovery;
use crate::nodes::Nodes;
use crate::openapi::OpenApi;
use crate::refusal::Refusal;
use crate::resource::{Registry, Resource};
use crate::store::{Memory, Store};
pub(crate) use body::BrokenOff;
use flight::Flights;
use health::Health;
use request::{Call, Target};
pub(crate) use respond::Body;

/// What each kind remembers for watches and paged lists.
pub(crate) const MEMORY: Memory =
    Memory { events: 8192, bytes: 32 * 1024 * 1024, total: 256 * 1024 * 1024 };

/// Everything requests are answered from.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) tokens: Tokens,
    /// The certificate authority, for `kube-root-ca.crt`.
    pub(crate) ca_pem: String,
    pub(crate) admission: Hooks,
    registry: tokio::sync::watch::Sender<Arc<Registry>>,
    nodes: Nodes,
    openapi: OpenApi,
    /// The bodies that may be under way together, in KiB.
    uploads: Semaphore,
    /// How long a body may take.
    patience: Duration,
    pub(crate) flights: Flights,
    /// Turns true when the server stops, so that watches end.
    stopped: tokio::sync::watch::Sender<bool>,
}

type Answer = Result<Response<Body>, Refusal>;

/// The body of a request, wherever it comes from.
pub(crate) type Upload = UnsyncBoxBody<Bytes, BrokenOff>;

impl Api {
    pub(crate) fn new(
        store: Store,
        tokens: Tokens,
        ca_pem: String,
        admission: Hooks,
        nodes: Nodes,
        patience: Option<Duration>,
    ) -> Self {
        Self {
            store,
            tokens,
            ca_pem,
            admission,
            registry: tokio::sync::watch::Sender::new(Arc::new(Registry::builtin())),
            nodes,
            openapi: OpenApi::default(),
            uploads: Semaphore::new(body::UNDER_WAY),
            patience: patience.unwrap_or(body::PATIENCE),
            flights: Flights::new(),
            stopped: tokio::sync::watch::Sender::new(false),
        }
    }

    /// The kinds served now.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.borrow().clone()
    }

    /// Serves other kinds from now on; watches of those that are gone or changed end.
    pub(crate) fn serve_kinds(&self, registry: Registry) {
        self.registry.send_replace(Arc::new(registry));
    }

    /// A kind from the table of built-in ones.
    pub(crate) fn builtin(&self, group: &str, plural: &str) -> Arc<Resource> {
        self.registry().get(group, "v1", plural).expect("the table lists this kind").clone()
    }

    /// Ends all watches.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Answers one request; what goes wrong is a `Status` object.
    /// `peer` is whom the connection's certificate is for.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        request: Request<Upload>,
        peer: Option<&User>,
    ) -> Response<Body> {
        let answer = self.answer(request, peer).await;
        answer.unwrap_or_else(|refusal| respond::refusal(&refusal))
    }

    async fn answer(self: &Arc<Self>, request: Request<Upload>, peer: Option<&User>) -> Answer {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let reads = parts.method == Method::GET || parts.method == Method::HEAD;
        let health = Health::of(path).filter(|_| reads);
        let query = parts.uri.query().unwrap_or("");
        // Whether the server is well, everyone may know.
        if let Some(health) = health.filter(|health| health.is_open()) {
            return self.health(health, query);
        }
        let user = self.admit(&parts, peer)?;
        if let Some(health) = health {
            return self.health(health, query);
        }
        let takes_gzip = compress::is_taken(&parts.headers);
        let flight = self.flights.board(&self.registry(), &parts, &user).await?;
        let answer = self.answer_to(user, parts, body).await?;
        let answer = if takes_gzip { compress::large(answer) } else { answer };
        Ok(self.flights.carry(flight, answer))
    }

    /// Answers what `user` may ask.
    async fn answer_to(self: &Arc<Self>, user: User, parts: Parts, body: Upload) -> Answer {
        let path = parts.uri.path();
        let reads = parts.method == Method::GET || parts.method == Method::HEAD;
        match path.trim_end_matches('/') {
            "/version" => return Ok(respond::json(StatusCode::OK, &discovery::version())),
            "/openid/v1/jwks" => {
                return Ok(respond::json(StatusCode::OK, &self.tokens.key_set()));
            }
            "/.well-known/openid-configuration" => {
                return Ok(respond::json(StatusCode::OK, &discovery::issuer()));
            }
            _ => {}
        }
        let registry = self.registry();
        if reads {
            let accept = request::header(&parts.headers, http::header::ACCEPT);
            let known = request::header(&parts.headers, http::header::IF_NONE_MATCH);
            if let Some(answer) = self.openapi.answer(&registry, path, accept, known) {
                return Ok(answer);
            }
            if let Some(document) = discovery::document(&registry, path, accept) {
                return Ok(respond::document(&document));
            }
        }
        let target = Target::parse(&registry, path)?;
        if let Some(stream) = target.subresource.and_then(stream::Stream::of) {
            self.permit_stream(stream, &target, &user)?;
            // Nothing that clients send along is read: what they say, they say on the upgraded stream.
            return self.stream(stream, &target, parts).await;
        }
        let body = self.upload(body).await?;
        let call = Call::parse(target, parts, body, user)?;
        let resource = call.target.resource.clone();
        let answer = self.dispatch_settled(call).await?;
        let warning = resource.custom.as_ref().and_then(|custom| custom.warning.clone());
        Ok(respond::warn(answer, warning.as_slice()))
    }

    /// Hands the call on; what it may have written has settled when it is answered. So has what
    /// a refusal was based on.
    async fn dispatch_settled(self: &Arc<Self>, call: Call) -> Answer {
        if matches!(call.method, Method::GET | Method::HEAD) {
            return self.dispatch(call);
        }
        self.admit_undone();
        let mark = self.store.mark();
        let answer = self.dispatch(call);
        match self.store.settle(mark).await {
            Ok(()) => answer,
            Err(unsettled) => {
                self.admit_undone();
                Err(Refusal::not_stored(&unsettled))
            }
        }
    }

    /// Hands the call to what its method means on its target.
    fn dispatch(self: &Arc<Self>, call: Call) -> Answer {
        if call.target.subresource.is_some() {
            return self.subresource(&call);
        }
        if call.target.resource.rules == crate::resource::Rules::Review {
            return self.review(&call);
        }
        let Target { resource, namespace, name, .. } = &call.target;
        // Only lists and watches may span namespaces.
        let placed = !resource.is_namespaced() || !namespace.is_empty();
        match (call.method.as_str(), name) {
            ("GET", _) if call.wants_watch() => self.watch(&call),
            ("GET" | "HEAD", Some(name)) if placed => self.get(&call, name),
            ("GET" | "HEAD", None) => self.list(&call),
            ("POST", None) if placed => self.create(&call),
            ("PUT", Some(name)) if placed => self.update(&call, name),
            ("PATCH", Some(name)) if placed => self.patch(&call, name),
            ("DELETE", Some(name)) if placed => self.delete(&call, name),
            ("DELETE", None) if placed => self.delete_collection(&call),
            _ => Err(Refusal::method_not_allowed()),
        }
    }
}
