//! The server's certificate authority and certificate.
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Why the server has no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key could not be made, or a certificate not be signed.
    #[error("make the API server's certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS can't be served with the certificate.
    #[error("set up TLS for the API server")]
    Tls(#[from] rustls::Error),
}

/// What clients trust and what the server shows them.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// The authority's certificate, PEM.
    pub(crate) ca_pem: String,
    pub(crate) tls: Arc<ServerConfig>,
}

impl Credentials {
    /// A fresh authority, and a certificate by it for `sans` (names and addresses).
    ///
    /// Keys are ECDSA P-256: made in well under a millisecond, accepted by every client.
    ///
    /// # Errors
    /// See [`Error`]; a name in `sans` that is no DNS name is one cause.
    pub(crate) fn new(sans: &[String]) -> Result<Self, Error> {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "seaway-lab-ca");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);

        let mut server = CertificateParams::new(sans)?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &issuer)?;

        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { ca_pem: ca_certificate.pem(), tls: Arc::new(tls) })
    }
}

/// The names every certificate of an API server carries, besides `sans` and the loopback addresses.
pub(crate) fn all_names(sans: &[String]) -> Vec<String> {
    let always = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "127.0.0.1",
        "::1",
    ];
    let mut names: Vec<String> = always.iter().map(|name| (*name).to_owned()).collect();
    for name in sans {
        let name = name.parse::<IpAddr>().map_or_else(|_| name.clone(), |ip| ip.to_string());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
