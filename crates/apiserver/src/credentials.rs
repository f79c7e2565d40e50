//! The server's certificate authority and certificate.
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::access::User;
use crate::keys::{KeyError, Keys};

/// The file of the authority's certificate.
const CA: &str = "ca.crt";

/// Why the server has no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key could not be made, or a certificate not be signed.
    #[error("make the API server's certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS can't be served with the certificate.
    #[error("set up TLS for the API server")]
    Tls(#[from] rustls::Error),
    /// A key can't be kept.
    #[error("keep the API server's keys")]
    Keys(#[from] KeyError),
    /// The authority that was kept is none. Its files may be removed; clients have to be told then.
    #[error("read {0} of the state directory")]
    Kept(&'static str, #[source] rustls::pki_types::pem::Error),
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
    /// The authority that `keys` keep, and a new certificate by it for `sans` (names and addresses).
    ///
    /// Keys are ECDSA P-256: made in well under a millisecond, accepted by every client.
    ///
    /// # Errors
    /// See [`Error`]; a name in `sans` that is no DNS name is one cause.
    pub(crate) fn new(sans: &[String], keys: &Keys) -> Result<Self, Error> {
        let (issuer, ca_pem) = authority(keys)?;
        let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes());
        let ca = ca.map_err(|cause| Error::Kept(CA, cause))?;

        let mut server = CertificateParams::new(sans)?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &issuer)?;

        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(ca)?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()?;
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], key)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { ca_pem, tls: Arc::new(tls), issuer })
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

/// The authority that is kept, with its certificate as PEM.
fn authority(keys: &Keys) -> Result<(Issuer<'static, KeyPair>, String), Error> {
    let key = keys.keep("ca.key", || Ok::<_, Error>(KeyPair::generate()?.serialize_pem()))?;
    let key = KeyPair::from_pem(&key)?;
    let pem = keys.keep(CA, || {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "seaway-lab-ca");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Ok::<_, Error>(ca.self_signed(&key)?.pem())
    })?;
    Ok((Issuer::from_ca_cert_pem(&pem, key)?, pem))
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
