//! Subresources of a pod that its node answers: logs, commands, terminals, ports. The API server
//! says who may ask, which container is meant and which node it is on; the bytes pass through it.
//!
//! Source: Kubernetes `registry/core/pod` (`LogLocation`, `streamLocation`, `validateContainer`).
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tracing::debug;

use super::request::{Target, header, pairs};
use super::respond::{self, Body};
use super::{Answer, Api};
use crate::access::{Question, User};
use crate::refusal::{Cause, Refusal};
use crate::resource::{Resource, Subresource};
use crate::server::signalled;
use crate::store::Key;

/// Longest explanation of a node that is passed on, in bytes.
const EXPLANATION: usize = 64 * 1024;

/// What a node is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Log,
    Exec,
    Attach,
    PortForward,
}

type Query = [(String, String)];

impl Stream {
    /// The stream that a subresource is, if it is one.
    pub(super) fn of(subresource: Subresource) -> Option<Self> {
        match subresource {
            Subresource::Log => Some(Self::Log),
            Subresource::Exec => Some(Self::Exec),
            Subresource::Attach => Some(Self::Attach),
            Subresource::PortForward => Some(Self::PortForward),
            Subresource::Status
            | Subresource::Scale
            | Subresource::EphemeralContainers
            | Subresource::Binding
            | Subresource::Eviction
            | Subresource::Finalize
            | Subresource::Token => None,
        }
    }

    /// Whether a request with this method can be one.
    fn allows(self, method: &Method) -> bool {
        match self {
            Self::Log => method == Method::GET,
            Self::Exec | Self::Attach | Self::PortForward => {
                method == Method::GET || method == Method::POST
            }
        }
    }

    /// The kubelet's path for it.
    fn path(self, namespace: &str, pod: &str, container: &str) -> String {
        match self {
            Self::Log => format!("/containerLogs/{namespace}/{pod}/{container}"),
            Self::Exec => format!("/exec/{namespace}/{pod}/{container}"),
            Self::Attach => format!("/attach/{namespace}/{pod}/{container}"),
            Self::PortForward => format!("/portForward/{namespace}/{pod}"),
        }
    }
}

impl Api {
    /// Whether `user` may open a stream. A WebSocket is opened with GET, but who may run commands may
    /// do more than read: all that isn't a log takes `create`, whatever the method.
    ///
    /// # Errors
    /// The refusal if not.
    ///
    /// Source: Kubernetes `AuthorizePodWebsocketUpgradeCreatePermission`.
    pub(super) fn permit_stream(
        &self,
        stream: Stream,
        target: &Target,
        user: &User,
    ) -> Result<(), Refusal> {
        let what = match stream {
            Stream::Log => return Ok(()),
            Stream::Exec => "exec",
            Stream::Attach => "attach",
            Stream::PortForward => "portforward",
        };
        let name = target.name.as_deref().unwrap_or_default();
        let of = (target.resource.plural.as_str(), what);
        self.permit(user, &Question::resource("create", "", of, &target.namespace, name))
    }

    /// Passes a request about a pod on to the pod's node.
    pub(super) async fn stream(
        self: &Arc<Self>,
        stream: Stream,
        target: &Target,
        parts: Parts,
    ) -> Answer {
        let resource = &target.resource;
        let name = target.name.as_deref().ok_or_else(Refusal::no_such_path)?;
        if target.namespace.is_empty() {
            return Err(Refusal::no_such_path());
        }
        if !stream.allows(&parts.method) {
            return Err(Refusal::method_not_allowed());
        }
        let query = pairs(parts.uri.query().unwrap_or(""));
        if stream == Stream::Log {
            check_log_options(resource, name, &query)?;
        }
        let key = Key::new(&target.namespace, name);
        let pod = self.store.get(&resource.shelf, &key);
        let pod = pod.ok_or_else(|| Refusal::not_found(resource, name))?;
        let container = match stream {
            Stream::PortForward => String::new(),
            Stream::Log | Stream::Exec | Stream::Attach => container(&pod.value, name, &query)?,
        };
        let node = pod.value["spec"]["nodeName"].as_str().unwrap_or("");
        if node.is_empty() {
            return match stream {
                Stream::Log => Ok(respond::text(StatusCode::OK, "")),
                Stream::Exec | Stream::Attach | Stream::PortForward => {
                    Err(Refusal::bad_request(format!("pod {name} does not have a host assigned")))
                }
            };
        }
        let path = stream.path(&target.namespace, name, &container);
        let asked = match parts.uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        if stream == Stream::Log {
            return self.log(node, &asked, resource, name).await;
        }
        self.upgrade(node, &asked, parts).await
    }

    /// A log, as the node sends it.
    async fn log(&self, node: &str, asked: &str, resource: &Resource, pod: &str) -> Answer {
        let answer = self.ask(node, asked, Method::GET, HeaderMap::new()).await?;
        if answer.status() != StatusCode::OK {
            let (code, said) = explanation(answer).await;
            return Err(Refusal::of_node(resource, pod, code, &said));
        }
        let mut response = Response::new(until_error(answer.into_body()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(response)
    }

    /// Lets the client and its pod's node speak with each other in what they agree on.
    async fn upgrade(self: &Arc<Self>, node: &str, asked: &str, mut parts: Parts) -> Answer {
        if header(&parts.headers, UPGRADE).is_empty() {
            return Err(Refusal::bad_request("Upgrade request required"));
        }
        let client = parts.extensions.remove::<OnUpgrade>();
        let Some(client) = client else {
            return Err(Refusal::bad_request("this connection can't be upgraded: use HTTP/1.1"));
        };
        for name in [AUTHORIZATION, HOST] {
            parts.headers.remove(name);
        }
        let mut answer = self.ask(node, asked, parts.method, parts.headers).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let headers = answer.headers().clone();
            let (code, said) = explanation(answer).await;
            let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = respond::bytes(code, "text/plain; charset=utf-8", said.into());
            keep_protocols(&headers, response.headers_mut());
            return Ok(response);
        }
        let node = hyper::upgrade::on(&mut answer);
        let mut stopped = self.stopped.subscribe();
        self.flights.run(async move {
            tokio::select! {
                () = join(client, node) => {}
                () = signalled(&mut stopped) => {}
            }
        });
        let mut response = Response::new(Empty::new().boxed_unsync());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }

    /// Asks the server of `node`.
    async fn ask(
        &self,
        node: &str,
        asked: &str,
        method: Method,
        headers: HeaderMap,
    ) -> Result<Response<Incoming>, Refusal> {
        let failed = |error: &dyn std::fmt::Display| {
            Refusal::internal(&format!("error dialing backend: node {node}: {error}"))
        };
        let dialed = self.nodes.dial(node).await.map_err(|error| failed(&error))?;
        let (mut requests, driven) = dialed;
        self.flights.run(driven);
        let mut request = Request::new(Empty::new().boxed_unsync());
        *request.method_mut() = method;
        *request.uri_mut() = asked.parse().map_err(|error| failed(&error))?;
        *request.headers_mut() = headers;
        let host = HeaderValue::from_str(node).map_err(|error| failed(&error))?;
        request.headers_mut().insert(HOST, host);
        requests.send_request(request).await.map_err(|error| failed(&error))
    }
}

/// The container that is meant, which must be one of the pod's.
fn container(pod: &Value, name: &str, query: &Query) -> Result<String, Refusal> {
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|one| one["name"].as_str()).map(str::to_owned).collect()
    };
    let containers = names("containers");
    let all =
        || [names("initContainers"), containers.clone(), names("ephemeralContainers")].concat();
    let asked = query.iter().find(|(key, _)| key == "container");
    match (asked.map_or("", |(_, value)| value), containers.as_slice()) {
        ("", [only]) => Ok(only.clone()),
        ("", _) => Err(Refusal::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            all().join(" ")
        ))),
        (asked, _) if all().iter().any(|known| known == asked) => Ok(asked.to_owned()),
        (asked, _) => {
            Err(Refusal::bad_request(format!("container {asked} is not valid for pod {name}")))
        }
    }
}

/// Source: Kubernetes `validation.ValidatePodLogOptions`.
fn check_log_options(resource: &Resource, pod: &str, query: &Query) -> Result<(), Refusal> {
    let find = |wanted: &str| query.iter().find(|(key, _)| key == wanted);
    let text = |name: &str| find(name).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty());
    let number = |name: &str| {
        let number = text(name).map(str::parse::<i64>).transpose();
        number.map_err(|error| {
            Refusal::bad_request(format!("{name}: {:?}: {error}", text(name).unwrap_or("")))
        })
    };
    let mut causes = Vec::new();
    let tail = number("tailLines")?;
    if tail.is_some_and(|lines| lines < 0) {
        causes.push(Cause::invalid(
            "tailLines",
            &json!(tail),
            "must be greater than or equal to 0",
        ));
    }
    let limit = number("limitBytes")?;
    if limit.is_some_and(|bytes| bytes < 1) {
        causes.push(Cause::invalid("limitBytes", &json!(limit), "must be greater than 0"));
    }
    let since = number("sinceSeconds")?;
    if since.is_some() && text("sinceTime").is_some() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        causes.push(Cause::forbidden("", why));
    } else if since.is_some_and(|seconds| seconds < 1) {
        causes.push(Cause::invalid("sinceSeconds", &json!(since), "must be greater than 0"));
    }
    match text("stream") {
        None | Some("All") => {}
        Some("Stdout" | "Stderr") if tail.is_some() => {
            let why = "`tailLines` and specific `stream` are mutually exclusive for now";
            causes.push(Cause::forbidden("", why));
        }
        Some("Stdout" | "Stderr") => {}
        Some(other) => {
            let known = ["All", "Stderr", "Stdout"];
            causes.push(Cause::not_supported("stream", &json!(other), &known));
        }
    }
    if causes.is_empty() {
        return Ok(());
    }
    let options = Resource { kind: "PodLogOptions".to_owned(), ..resource.clone() };
    Err(Refusal::invalid(&options, pod, &causes))
}

/// What a node says instead of doing it.
async fn explanation(answer: Response<Incoming>) -> (u16, String) {
    let code = answer.status().as_u16();
    let said = Limited::new(answer.into_body(), EXPLANATION).collect().await;
    let said = said.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    (code, String::from_utf8_lossy(&said).trim_end().to_owned())
}

/// What a client that could not be understood learns of what would be.
fn keep_protocols(from: &HeaderMap, to: &mut HeaderMap) {
    const ACCEPTED: &str = "x-accepted-stream-protocol-versions";
    for value in from.get_all(ACCEPTED) {
        to.append(ACCEPTED, value.clone());
    }
    to.insert(CONNECTION, HeaderValue::from_static("close"));
}

/// A body that ends where `body` breaks off: the answer's head has been sent by then.
fn until_error(body: Incoming) -> Body {
    let frames = futures_util::stream::unfold(body, |mut body| async move {
        match body.frame().await? {
            Ok(frame) => Some((Ok(frame), body)),
            Err(error) => {
                debug!(%error, "a log broke off");
                None
            }
        }
    });
    http_body_util::StreamBody::new(frames).boxed_unsync()
}

/// Copies between the client and the node until the node has said all, or either has gone.
async fn join(client: OnUpgrade, node: OnUpgrade) {
    let (client, node) = match tokio::try_join!(client, node) {
        Ok(both) => both,
        Err(error) => return debug!(%error, "upgrade a connection"),
    };
    let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
    let (from_node, to_node) = tokio::io::split(TokioIo::new(node));
    // A client that says no more may still listen; a node that says no more is done.
    tokio::select! {
        () = copy(from_node, to_client) => {}
        () = async {
            copy(from_client, to_node).await;
            std::future::pending().await
        } => {}
    }
}

async fn copy(mut from: ReadHalf<TokioIo<Upgraded>>, mut to: WriteHalf<TokioIo<Upgraded>>) {
    if let Err(error) = tokio::io::copy(&mut from, &mut to).await {
        debug!(%error, "a stream broke off");
    }
    // Fails only if the other end has gone.
    drop(to.shutdown().await);
}
