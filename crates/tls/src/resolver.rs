//! The certificate of the next handshake.

use std::{path::Path, sync::Arc};

use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::{Certificate, DirectoryError, directory};

/// Gives every handshake the newest certificate: connections that exist are not touched by a change.
///
/// Without a certificate, handshakes fail.
#[derive(Debug, Default)]
pub struct CertResolver {
    current: watch::Sender<Option<Certificate>>,
    /// What replaces the certificate when its files change.
    _reload: Option<AbortOnDropHandle<()>>,
}

impl CertResolver {
    /// One without a certificate, until [`set`](Self::set).
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves `tls.crt` and `tls.key` of a folder, as a mounted Secret of type `kubernetes.io/tls` has them, and from
    /// then on what they become: both are read again whenever something changes in the folder. While they cannot be
    /// used (one of two is written), the pair before stays, and the log says so.
    ///
    /// Needs a tokio runtime; reading ends when the resolver is dropped.
    pub async fn from_directory(folder: &Path) -> Result<Self, DirectoryError> {
        let current = watch::Sender::new(None);
        let follow = directory::follow(folder, current.clone()).await?;
        Ok(Self { current, _reload: Some(AbortOnDropHandle::new(tokio::spawn(follow))) })
    }

    /// Serves `certificate` from the next handshake on.
    pub fn set(&self, certificate: Certificate) {
        self.current.send_replace(Some(certificate));
    }

    /// What the next handshake gets.
    pub fn certificate(&self) -> Option<Certificate> {
        self.current.borrow().clone()
    }

    /// Follows what the next handshake gets, for a program that reports it.
    pub fn subscribe(&self) -> watch::Receiver<Option<Certificate>> {
        self.current.subscribe()
    }
}

impl From<Certificate> for CertResolver {
    fn from(certificate: Certificate) -> Self {
        let resolver = Self::new();
        resolver.set(certificate);
        resolver
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificate().map(|certificate| certificate.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    /// A certificate for `name` and its key, as PEM.
    pub(crate) fn pem(name: &str) -> (String, String) {
        let made =
            rcgen::generate_simple_self_signed([name.to_owned()]).expect("a plain name can be certified");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }
}
