//! Whom a TLS server's certificate is to come from.

use std::io;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::stream::TlsLayer;

/// TLS that trusts the certificates in the file `ca`, or the system's.
///
/// # Errors
/// When there is none.
pub(super) fn layer(ca: Option<&str>) -> io::Result<Arc<TlsLayer>> {
    let certificates = match ca {
        Some(file) => CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|cause| io::Error::other(format!("read certificates of {file}: {cause}")))?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(certificates).0 == 0 {
        let whose = ca.unwrap_or("the system");
        return Err(io::Error::other(format!("{whose} has no certificate authorities")));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"dot".to_vec()]; // RFC 7858 §3.1; who does not know ALPN ignores it.
    Ok(Arc::new(TlsLayer(TlsConnector::from(Arc::new(config)))))
}
