//! One HTTP request from the node, as probes and lifecycle hooks make it.
//!
//! Source: kubelet `probe/http`: no certificate is verified, redirects are followed on the same host
//! only, and no connection is kept.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::check::{Outcome, Target, dial, host, join, port};

/// How much of a body is read, in bytes.
const LONGEST_BODY: usize = 10 * 1024;
/// How many redirects are followed.
const REDIRECTS: u32 = 10;

/// A request that is ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Get {
    url: Uri,
    headers: HeaderMap,
}

impl Get {
    /// The request that `action` asks for, in the name of `kube-<purpose>`.
    ///
    /// # Errors
    /// A port, path or header that is none.
    pub(crate) fn of(
        action: &HTTPGetAction,
        target: &Target,
        purpose: &str,
    ) -> Result<Self, String> {
        let port = port(&action.port, &target.ports)?;
        let authority = join(&host(action.host.as_deref(), target)?, port);
        let is_tls = action.scheme.as_deref().is_some_and(|it| it.eq_ignore_ascii_case("https"));
        let path = action.path.as_deref().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let url = Uri::builder()
            .scheme(if is_tls { "https" } else { "http" })
            .authority(authority)
            .path_and_query(path)
            .build()
            .map_err(|error| format!("make the URL of an HTTP probe: {error}"))?;
        let mut headers = HeaderMap::new();
        for header in action.http_headers.iter().flatten() {
            let failed =
                |error: &dyn std::fmt::Display| format!("header {:?}: {error}", header.name);
            let name = HeaderName::from_bytes(header.name.as_bytes());
            let value = HeaderValue::from_str(&header.value);
            headers.append(name.map_err(|e| failed(&e))?, value.map_err(|e| failed(&e))?);
        }
        if !headers.contains_key(USER_AGENT) {
            let agent = format!("kube-{purpose}/1.33");
            let agent = HeaderValue::from_str(&agent).map_err(|error| error.to_string())?;
            headers.insert(USER_AGENT, agent);
        }
        match headers.get(ACCEPT) {
            None => drop(headers.insert(ACCEPT, HeaderValue::from_static("*/*"))),
            Some(accept) if accept.is_empty() => drop(headers.remove(ACCEPT)),
            Some(_) => {}
        }
        Ok(Self { url, headers })
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        self.url.to_string()
    }

    fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }

    /// The request that an answer of status 3xx asks for: `None` if it is on another host.
    fn redirected(&self, response: &Response<Incoming>) -> Option<Self> {
        let location = response.headers().get(LOCATION)?.to_str().ok()?;
        let next: Uri = location.parse().ok()?;
        if next.host().is_some_and(|host| host != self.host()) {
            return None;
        }
        let mut parts = self.url.clone().into_parts();
        if let (Some(authority), Some(scheme)) = (next.authority(), next.scheme()) {
            parts.authority = Some(authority.clone());
            parts.scheme = Some(scheme.clone());
        }
        parts.path_and_query = next.path_and_query().cloned();
        let url = Uri::from_parts(parts).ok()?;
        let mut headers = self.headers.clone();
        headers.remove(HOST);
        Some(Self { url, headers })
    }
}

/// Sends `request` and judges the answer, all within `limit`.
pub(crate) async fn get(request: Get, limit: Duration) -> Outcome {
    let url = request.url();
    match tokio::time::timeout(limit, follow(request, limit)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Failure(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn follow(mut request: Get, limit: Duration) -> Outcome {
    for _ in 0..=REDIRECTS {
        let url = request.url();
        let response = match send(&request, limit).await {
            Ok(response) => response,
            Err(why) => return Outcome::Failure(format!("Get {url:?}: {why}")),
        };
        let status = response.status();
        if status.is_redirection() {
            if let Some(next) = request.redirected(&response) {
                request = next;
                continue;
            }
            let body = body(response).await;
            return Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"));
        }
        if status.is_success() {
            return Outcome::Success;
        }
        let code = status.as_u16();
        return Outcome::Failure(format!("HTTP probe failed with statuscode: {code}"));
    }
    Outcome::Failure(format!("Get {:?}: stopped after 10 redirects", request.url()))
}

async fn send(request: &Get, limit: Duration) -> Result<Response<Incoming>, String> {
    let is_tls = request.url.scheme_str() == Some("https");
    let port = request.url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let host = request.host().trim_matches(['[', ']']);
    let stream = dial(&join(host, port), limit).await?;
    if !is_tls {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let tls = TlsConnector::from(Arc::new(unverified()?)).connect(name, stream).await;
    exchange(tls.map_err(|error| error.to_string())?, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    get: &Get,
) -> Result<Response<Incoming>, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let mut request = Request::get(get.url.path_and_query().map_or("/", |path| path.as_str()));
    if let Some(headers) = request.headers_mut() {
        headers.clone_from(&get.headers);
        let authority = get.url.authority().map(|it| HeaderValue::from_str(it.as_str()));
        if let Some(Ok(authority)) = authority
            && !headers.contains_key(HOST)
        {
            headers.insert(HOST, authority);
        }
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    // Ends with the exchange: the answer's body is read, or dropped, by whoever has it.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(said)
}

fn said(error: hyper::Error) -> String {
    super::super::start::chain(&error)
}

/// The beginning of a body.
async fn body(response: Response<Incoming>) -> String {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while bytes.len() < LONGEST_BODY
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref));
    }
    bytes.truncate(LONGEST_BODY);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn unverified() -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    let verifier = Arc::new(Anybody(provider));
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Takes any certificate: a probe asks whether the pod answers, not who it is.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each connection with the next of `answers`; gives the first line of what was asked,
    /// and the headers that a probe sets.
    async fn serve(listener: TcpListener, answers: Vec<String>) -> Vec<String> {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = vec![0; 4096];
            let read = stream.read(&mut text).await.unwrap();
            let text = String::from_utf8_lossy(&text[..read]).to_lowercase();
            let wanted = ["get", "user-agent", "accept", "x-mine", "host: other"];
            let shown = |line: &&str| wanted.iter().any(|start| line.starts_with(start));
            asked.push(text.lines().filter(shown).collect::<Vec<_>>().join(" | "));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    }

    fn answer(head: &str) -> String {
        format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n")
    }

    #[tokio::test]
    async fn the_status_of_the_answer_decides() {
        let cases = [
            (vec![answer("200 OK")], Outcome::Success),
            (vec![answer("204 No")], Outcome::Success),
            (vec![answer("302 Found\r\nLocation: /ok?x=1"), answer("200 OK")], Outcome::Success),
            (
                vec![answer("302 Found\r\nLocation: http://elsewhere.example/")],
                Outcome::Warning("Probe terminated redirects, Response body: ".to_owned()),
            ),
            (
                vec![answer("503 Busy")],
                Outcome::Failure("HTTP probe failed with statuscode: 503".to_owned()),
            ),
            (
                vec![answer("404 No")],
                Outcome::Failure("HTTP probe failed with statuscode: 404".to_owned()),
            ),
        ];
        for (answers, expected) in cases {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let url = format!("http://{address}/healthz").parse().unwrap();
            let served = tokio::spawn(serve(listener, answers.clone()));
            let request = Get { url, headers: HeaderMap::new() };
            assert_eq!(get(request, Duration::from_secs(5)).await, expected, "{answers:?}");
            served.await.unwrap();
        }
    }

    #[tokio::test]
    async fn headers_of_the_manifest_are_sent_and_the_usual_ones_added() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(serve(listener, vec![answer("200 OK")]));
        let mut headers = HeaderMap::new();
        headers.insert("x-mine", HeaderValue::from_static("1"));
        headers.insert(HOST, HeaderValue::from_static("other"));
        let url = format!("http://{address}/a?b=c").parse().unwrap();
        let request = Get { url, headers };
        assert_eq!(get(request, Duration::from_secs(5)).await, Outcome::Success);
        assert_eq!(served.await.unwrap(), ["get /a?b=c http/1.1 | x-mine: 1 | host: other"]);
    }
}
