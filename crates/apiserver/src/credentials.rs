//! The server's certificate authority and certificate.
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::access::User;

/// Why the server has no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key could not be made, or a certificate not be signed.
    #[error("make the API server's certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS can't be served with the certificate.
    #[error("set up TLS for the API server")]
    Tls(#[from] rustls::Error),
    /// Certificates of clients can't be checked against the authority.
    #[error("set up the check of clients' certificates")]
    Clients(#[from] VerifierBuilderError),
}

/// What clients trust and what the server shows them.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// The authority's certificate, PEM.
    pub(crate) ca_pem: String,
    pub(crate) tls: Arc<ServerConfig>,
    issuer: Issuer<'static, KeyPair>,
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
        let mut roots = RootCertStore::empty();
        roots.add(ca_certificate.der().clone())?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()?;
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], key)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { ca_pem: ca_certificate.pem(), tls: Arc::new(tls), issuer })
    }

    /// A certificate and its key, both PEM, for a client: `user` in `group`, or in none.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub(crate) fn client(&self, user: &str, group: &str) -> Result<(String, String), Error> {
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, user);
        if !group.is_empty() {
            client.distinguished_name.push(DnType::OrganizationName, group);
        }
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        client.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = client.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// Whom the certificate is for that a client has shown: its common name, in its organizations.
pub(crate) fn peer(connection: &rustls::ServerConnection) -> Option<User> {
    let shown = connection.peer_certificates()?.first()?;
    let (_, certificate) = X509Certificate::from_der(shown).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    Some(User::new(name, &groups))
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
