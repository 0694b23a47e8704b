//! A certificate with its key.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use thiserror::Error;

/// How long a self-signed certificate is valid: longer than any process lives.
const SELF_SIGNED: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How far a client's clock may be behind ours.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// A chain of certificates, the server's own first, with the key of the first.
#[derive(Clone, Debug)]
pub struct Certificate(pub(crate) Arc<CertifiedKey>);

/// Why there is no [`Certificate`].
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The first file holds no `CERTIFICATE` block.
    #[error("no certificate is in it; put the PEM blocks of the chain there, the server's own first")]
    NoCertificate,
    /// A block of the first file is damaged.
    #[error(
        "the certificate cannot be read: {0}; put the PEM blocks of the chain there, the server's own first"
    )]
    BadCertificate(#[source] rustls::pki_types::pem::Error),
    /// The second file holds no private key.
    #[error("the key cannot be read: {0}; put one PEM block with an unencrypted private key there")]
    BadKey(#[source] rustls::pki_types::pem::Error),
    /// Both are readable but make no server.
    #[error(
        "certificate and key cannot be used: {0}; give an RSA, ECDSA or Ed25519 key and the certificate made for it"
    )]
    Unusable(#[source] rustls::Error),
    /// No certificate could be made.
    #[error("failed to make a self-signed certificate: {0}; give it DNS names or IP addresses")]
    Make(#[source] rcgen::Error),
}

impl Certificate {
    /// Reads PEM: the chain, the server's own certificate first, and its key (PKCS #1, PKCS #8 or SEC 1).
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(CertificateError::BadCertificate)?;
        if chain.is_empty() {
            return Err(CertificateError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(CertificateError::BadKey)?;
        Self::from_der(chain, key)
    }

    /// A new key and a certificate for it that vouches for itself, for a server that no client verifies.
    ///
    /// `names` are DNS names or IP addresses. Valid for ten years.
    pub fn self_signed<I: IntoIterator<Item: Into<String>>>(names: I) -> Result<Self, CertificateError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let mut params = rcgen::CertificateParams::new(names).map_err(CertificateError::Make)?;
        let now = SystemTime::now();
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = (now + SELF_SIGNED).into();
        params.distinguished_name.push(rcgen::DnType::CommonName, "metallb");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let key = rcgen::KeyPair::generate().map_err(CertificateError::Make)?;
        let certificate = params.self_signed(&key).map_err(CertificateError::Make)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Self::from_der(vec![certificate.der().clone()], key)
    }

    fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertificateError> {
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(CertificateError::Unusable)?;
        Ok(Self(Arc::new(key)))
    }

    /// The chain in DER, the server's own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.cert
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::tests::pem;

    #[test]
    fn what_cannot_be_served_is_refused_with_what_to_do() {
        let (chain, key) = pem("a.test");
        let (_, other_key) = pem("b.test");
        let text = |chain: &str, key: &str| {
            let error = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).expect_err("not a pair");
            error.to_string()
        };
        let damaged = chain.replacen("MII", "M!I", 1);
        for (chain, key, expected) in [
            ("", key.as_str(), "no certificate is in it; put the PEM blocks"),
            (&key, &key, "no certificate is in it; "),
            (&damaged, &key, "the certificate cannot be read: "),
            (&chain, "", "the key cannot be read: "),
            (&chain, &chain, "the key cannot be read: "),
            (&chain, &other_key, "certificate and key cannot be used: "),
        ] {
            let text = text(chain, key);
            assert!(text.starts_with(expected), "{text}");
        }
    }

    #[test]
    fn a_self_signed_certificate_can_be_served_at_once() {
        let certificate =
            Certificate::self_signed(["localhost", "127.0.0.1", "::1"]).expect("such names are fine");
        assert_eq!(certificate.chain().len(), 1);
        Certificate::self_signed(["not a näme"]).expect_err("such a name cannot be certified");
    }
}
