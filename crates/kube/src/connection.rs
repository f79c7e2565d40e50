//! Connections to the API server that notice when the other side has gone without a word: a node
//! whose address was taken away, a router that forgot a flow, a machine without power.

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, Write};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::{Connect, Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube_rs::client::retry::RetryPolicy;
use kube_rs::client::{Body, ClientBuilder, ConfigExt};
use kube_rs::{Client, Config, Error};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tower::retry::RetryLayer;
use tower::{BoxError, Service, ServiceBuilder};

use crate::servers::{Failover, Server, Servers};

/// How long a connection may take to be made, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection that has been idle for this long is probed, as a watch of quiet objects is.
const IDLE: Duration = Duration::from_secs(10);

/// Time between two probes.
const PROBE: Duration = Duration::from_secs(5);

/// What was sent, data or a probe, is acknowledged within this time, or the connection is dead.
/// With [`IDLE`] and [`PROBE`] a silent death is noticed after 25 s at the latest.
///
/// Source: tcp(7), `TCP_USER_TIMEOUT`, which also ends keepalive.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Probes without an answer; with a user timeout the kernel goes by that.
const PROBES: u32 = 3;

/// Longer than a watch lives (290 s) plus the watcher's own patience, so it only ever cuts requests
/// that a living machine does not answer.
const SILENCE: Duration = Duration::from_secs(310);

/// The client that `kube_rs` makes of `config`, over connections with these limits: it offers no
/// way to set them. Proxies are not supported, as they are not by `kube_rs` the way it is built.
///
/// # Errors
/// When certificates or keys do not make a TLS configuration, and for a proxy.
pub(crate) fn client(config: Config) -> Result<Client, Error> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let connector = connector(config.clone())?;
    over(connector, &config)
}

/// The same over connections to whichever of `servers` answers. `config` has a name that all of them have a
/// certificate for, and whom to trust.
///
/// # Errors
/// When certificates do not make a TLS configuration.
pub(crate) fn any_of(servers: &Servers, config: Config) -> Result<Client, Error> {
    let shared = Arc::new(config.clone());
    let to = move |server: Server| {
        let url: Uri = server.url.as_str().parse()?;
        let mut config = Config::clone(&shared);
        config.tls_server_name = Some(server.name().to_owned());
        if let Some(pem) = &server.authorities {
            let more = CertificateDer::pem_slice_iter(pem.as_bytes());
            let more: Result<Vec<_>, _> = more.map(|der| der.map(|der| der.to_vec())).collect();
            config.root_cert.get_or_insert_default().extend(more?);
            // It would be all that counts.
            config.root_cert_file = None;
        }
        Ok((connector(config)?, url))
    };
    over(Failover::new(servers.clone(), to), &config)
}

/// What makes a connection as `config` says, with these limits.
fn connector(
    config: Config,
) -> Result<
    impl Service<
        Uri,
        Response = impl Connection + Read + Write + Send + Unpin + 'static,
        Error = BoxError,
        Future = impl Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static,
    Error,
> {
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp())?);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_read_timeout(Some(SILENCE));
    connector.set_reset_reader_on_write(true);
    Ok(connector)
}

fn over<C>(connector: C, config: &Config) -> Result<Client, Error>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let retry = config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retry)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(HttpClient::builder(TokioExecutor::new()).build::<_, Body>(connector));
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_keepalive(Some(IDLE));
    connector.set_keepalive_interval(Some(PROBE));
    connector.set_keepalive_retries(Some(PROBES));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector
}
