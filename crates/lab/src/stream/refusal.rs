//! Why a request about a pod is not done: a code and a sentence, which the API server passes on.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};

use super::Body;

/// Header in which a client learns which protocols it could have spoken.
const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// A request's failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: StatusCode,
    pub(super) why: String,
    accepted: Vec<&'static str>,
}

impl Refusal {
    pub(super) fn new(code: StatusCode, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), accepted: Vec::new() }
    }

    /// The request can't be understood, or not be done to this container.
    pub(super) fn bad_request(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    /// There is no such pod, container or path.
    pub(super) fn not_found(why: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, why)
    }

    /// The client speaks none of the protocols that are `accepted` here.
    ///
    /// Source: k8s.io/streaming `httpstream.Handshake`.
    pub(super) fn no_protocol(offered: &str, accepted: &[&'static str]) -> Self {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{offered}], server \
             accepts [{}]",
            accepted.join(" ")
        );
        Self { accepted: accepted.to_vec(), ..Self::new(StatusCode::FORBIDDEN, why) }
    }

    pub(super) fn response(&self) -> Response<Body> {
        let body = Full::new(Bytes::from(self.why.clone() + "\n"));
        let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = self.code;
        for protocol in &self.accepted {
            response.headers_mut().append(ACCEPTED, HeaderValue::from_static(protocol));
        }
        response
    }
}
