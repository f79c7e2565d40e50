//! A client that costs little: one connection, one request at a time.
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// How to reach the server.
#[derive(Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    authorization: String,
    tls: TlsConnector,
}

/// A connection; it ends with the value.
pub(crate) struct Client {
    requests: SendRequest<Full<Bytes>>,
    authorization: String,
    driver: JoinHandle<()>,
}

impl Server {
    pub(crate) fn new(address: SocketAddr, token: &str, ca: &str) -> Result<Self, Failed> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = tls.with_root_certificates(roots).with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(tls));
        Ok(Self { address, authorization: format!("Bearer {token}"), tls })
    }

    pub(crate) async fn connect(&self) -> Result<Client, Failed> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from("localhost")?, stream).await?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await?;
        // Its end shows in the requests.
        let driver = tokio::spawn(async { drop(connection.await) });
        Ok(Client { requests, authorization: self.authorization.clone(), driver })
    }
}

impl Client {
    /// Sends a request and gives the answer's body, which must be a success.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        accept: &str,
        body: String,
    ) -> Result<Bytes, Failed> {
        let answer = self.begin(method, path, accept, body).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&body)).into())
    }

    /// Sends a request and gives the answer as it begins.
    pub(crate) async fn begin(
        &mut self,
        method: Method,
        path: &str,
        accept: &str,
        body: String,
    ) -> Result<Response<Incoming>, Failed> {
        let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        let request = request.header(AUTHORIZATION, &self.authorization).header(ACCEPT, accept);
        let request = request.header(CONTENT_TYPE, "application/json");
        self.requests.ready().await?;
        Ok(self.requests.send_request(request.body(Full::from(body))?).await?)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
