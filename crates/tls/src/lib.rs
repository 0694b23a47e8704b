//! TLS for the servers of every program: which versions and ciphers, which certificate, and connections that a
//! hostile client cannot wear out.
//!
//! ```text
//! --tls-* flags ──▶ TlsOptions ──server_config()──▶ rustls::ServerConfig ──▶ serve(): accept, handshake, HTTP/1.1
//!                                                       ▲
//! a folder (watched), a Secret, self_signed() ──▶ CertResolver: the certificate of the next handshake
//! ```

mod certificate;
mod directory;
mod impatient;
mod options;
mod resolver;
mod serve;
mod watch;

pub use certificate::{Certificate, CertificateError};
pub use directory::{CERTIFICATE_FILE, DirectoryError, KEY_FILE};
pub use options::{
    CipherSuites, CurvePreferences, MinVersion, ParseTlsOptionError, TlsOptions, TlsOptionsError,
};
pub use resolver::CertResolver;
pub use serve::{Limits, serve};
pub use watch::Watch as FolderWatch;
