//! The gRPC health check: one unary call over HTTP/2, without TLS.
//!
//! Source: grpc.health.v1.Health; "gRPC over HTTP2" (requests, length-prefixed messages, trailers);
//! kubelet `probe/grpc`.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::check::Outcome;

/// Longest answer that is read, in bytes.
const LONGEST: usize = 4096;
/// Status of a method that the server does not have.
const UNIMPLEMENTED: u32 = 12;
/// `HealthCheckResponse.ServingStatus`, by number.
const SERVING: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// Names of status codes, as client libraries print them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Asks the server at `address` how `service` is, within `limit`.
pub(super) async fn check(address: SocketAddr, service: &str, limit: Duration) -> Outcome {
    let seconds = limit.as_secs();
    let connected = tokio::time::timeout(limit, TcpStream::connect(address)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Outcome::Failure(format!(
                "error: failed to connect service at \"{address}\": {error}"
            ));
        }
        Err(_) => {
            return Outcome::Failure(format!(
                "timeout: failed to connect service \"{address}\" within {seconds}s: context deadline exceeded"
            ));
        }
    };
    match tokio::time::timeout(limit, call(stream, address, service)).await {
        Ok(Ok(reply)) => judge(&reply),
        Ok(Err(why)) => Outcome::Failure(format!("error: health rpc probe failed: {why}")),
        Err(_) => {
            Outcome::Failure(format!("timeout: health rpc did not complete within {seconds}s"))
        }
    }
}

/// What came back: the call's status and message, and the answer's message.
struct Reply {
    status: u32,
    message: String,
    body: Vec<u8>,
}

fn judge(reply: &Reply) -> Outcome {
    let message = &reply.message;
    if reply.status == UNIMPLEMENTED {
        return Outcome::Failure(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        ));
    }
    if reply.status != 0 {
        let code = usize::try_from(reply.status).ok().and_then(|code| CODES.get(code));
        let code = code.copied().unwrap_or("Unknown");
        return Outcome::Failure(format!(
            "error: health rpc probe failed: rpc error: code = {code} desc = {message}"
        ));
    }
    match serving(&reply.body) {
        Some(1) => Outcome::Success,
        status => {
            let number = status.unwrap_or(0);
            let name = usize::try_from(number).ok().and_then(|number| SERVING.get(number));
            let name = name.map_or_else(|| number.to_string(), |name| (*name).to_owned());
            Outcome::Failure(format!("service unhealthy (responded with {name:?})"))
        }
    }
}

async fn call(stream: TcpStream, address: SocketAddr, service: &str) -> Result<Reply, String> {
    let said = |error: hyper::Error| super::super::start::chain(&error);
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(said)?;
    // Ends when the sender is dropped, below.
    tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.33")
        .body(Full::new(Bytes::from(question(service))))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(said)?;
    if !response.status().is_success() {
        return Err(format!("unexpected HTTP status code {}", response.status()));
    }
    let mut headers = response.headers().clone();
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        match frame.map_err(said)?.into_data() {
            Ok(bytes) => body.extend_from_slice(&bytes),
            Err(frame) => headers.extend(frame.into_trailers().unwrap_or_default()),
        }
        if body.len() > LONGEST {
            return Err("the answer is too long".to_owned());
        }
    }
    let status = text(&headers, "grpc-status").and_then(|status| status.parse().ok());
    let status = status.ok_or("the answer has no grpc-status")?;
    Ok(Reply { status, message: text(&headers, "grpc-message").unwrap_or_default(), body })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// `HealthCheckRequest{service}`, uncompressed, with its length in front.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    framed.extend(message);
    framed
}

fn varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

/// The field `status` of a `HealthCheckResponse`; `None` if that is not one. What is missing is 0.
fn serving(body: &[u8]) -> Option<u64> {
    let message = body.get(5..)?;
    match message {
        [] => Some(0),
        [0x08, rest @ ..] => {
            let mut number = 0_u64;
            for (place, byte) in rest.iter().take(9).enumerate() {
                number |= u64::from(byte & 0x7f) << (7 * place);
                if byte & 0x80 == 0 {
                    return Some(number);
                }
            }
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_decides_whether_the_service_is_healthy() {
        let failed = |why: &str| Outcome::Failure(why.to_owned());
        let unhealthy =
            |name: &str| failed(&format!("service unhealthy (responded with {name:?})"));
        let cases = [
            (0, "", vec![0, 0, 0, 0, 2, 8, 1], Outcome::Success),
            (0, "", vec![0, 0, 0, 0, 2, 8, 2], unhealthy("NOT_SERVING")),
            (0, "", vec![0, 0, 0, 0, 0], unhealthy("UNKNOWN")),
            (0, "", vec![], unhealthy("UNKNOWN")),
            (0, "", vec![0, 0, 0, 0, 2, 8, 9], unhealthy("9")),
            (
                5,
                "unknown service",
                vec![],
                failed(
                    "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
                ),
            ),
            (
                12,
                "unknown method",
                vec![],
                failed(
                    "error: this server does not implement the grpc health protocol \
                     (grpc.health.v1.Health): unknown method",
                ),
            ),
        ];
        for (status, message, body, expected) in cases {
            let reply = Reply { status, message: message.to_owned(), body };
            assert_eq!(judge(&reply), expected, "{status} {message}");
        }
    }

    #[test]
    fn a_question_is_a_message_with_its_length_in_front() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }
}
