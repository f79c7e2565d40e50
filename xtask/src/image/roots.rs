//! The certificate authorities in the image: those that Mozilla trusts for servers, at the version of
//! `Cargo.lock`. They are for DNS servers over TLS; an API server is verified by its cluster's own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Where programs look for them.
pub(crate) const PATH: &str = "etc/ssl/certs/ca-certificates.crt";

/// The crate they come from.
pub(crate) const CRATE: &str = "webpki-root-certs";

/// All of them, as PEM.
pub(crate) fn pem() -> String {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    roots.map(|root| block(&STANDARD.encode(root))).collect()
}

/// A certificate in lines of 64 characters (RFC 7468).
fn block(text: &str) -> String {
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: String = lines.flat_map(|line| [line, "\n".into()]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_root_is_a_block_of_short_lines() {
        let pem = pem();
        let blocks = pem.matches("-----BEGIN CERTIFICATE-----\nMII").count();
        assert_eq!(blocks, webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
        assert!(blocks > 100 && pem.lines().all(|line| line.len() <= 64));
    }
}
