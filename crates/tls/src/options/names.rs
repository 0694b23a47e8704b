//! Which names and numbers the flags know: those that Go's `crypto/tls` knows, because manifests and the profiles of
//! platforms are written for it. Source: IANA's registry of TLS parameters.

use rustls::{CipherSuite, NamedGroup};

/// A cipher suite by its IANA name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SuiteName {
    pub(super) name: &'static str,
    pub(super) served: Served,
}

/// What becomes of a suite that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// A suite of TLS 1.3, where all are served always.
    Tls13,
    /// A suite of TLS 1.2 that is served when asked for.
    Tls12(CipherSuite),
    /// Without forward secrecy, or with CBC, RC4 or 3DES.
    No,
}

/// A key exchange group by its number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CurveName {
    pub(super) number: u16,
    pub(super) name: &'static str,
    /// `None` where we do not serve it.
    pub(super) group: Option<NamedGroup>,
}

const fn tls12(name: &'static str, id: CipherSuite) -> SuiteName {
    SuiteName { name, served: Served::Tls12(id) }
}

const fn tls13(name: &'static str) -> SuiteName {
    SuiteName { name, served: Served::Tls13 }
}

const fn unsafe_(name: &'static str) -> SuiteName {
    SuiteName { name, served: Served::No }
}

pub(super) const SUITES: [SuiteName; 28] = [
    tls12("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    tls12("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    tls12(
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    tls12("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    tls12("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    tls12(
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    // The names that Kubernetes had for two of them before IANA named them.
    tls12(
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    tls12("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    tls13("TLS_AES_128_GCM_SHA256"),
    tls13("TLS_AES_256_GCM_SHA384"),
    tls13("TLS_CHACHA20_POLY1305_SHA256"),
    unsafe_("TLS_ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA"),
    unsafe_("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"),
    unsafe_("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"),
    unsafe_("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"),
    unsafe_("TLS_ECDHE_ECDSA_WITH_RC4_128_SHA"),
    unsafe_("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"),
    unsafe_("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
    unsafe_("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"),
    unsafe_("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
    unsafe_("TLS_ECDHE_RSA_WITH_RC4_128_SHA"),
    unsafe_("TLS_RSA_WITH_3DES_EDE_CBC_SHA"),
    unsafe_("TLS_RSA_WITH_AES_128_CBC_SHA"),
    unsafe_("TLS_RSA_WITH_AES_128_CBC_SHA256"),
    unsafe_("TLS_RSA_WITH_AES_128_GCM_SHA256"),
    unsafe_("TLS_RSA_WITH_AES_256_CBC_SHA"),
    unsafe_("TLS_RSA_WITH_AES_256_GCM_SHA384"),
    unsafe_("TLS_RSA_WITH_RC4_128_SHA"),
];

pub(super) const CURVES: [CurveName; 7] = [
    CurveName { number: 23, name: "P-256", group: Some(NamedGroup::secp256r1) },
    CurveName { number: 24, name: "P-384", group: Some(NamedGroup::secp384r1) },
    CurveName { number: 29, name: "X25519", group: Some(NamedGroup::X25519) },
    CurveName { number: 25, name: "P-521", group: None },
    CurveName { number: 4587, name: "SecP256r1MLKEM768", group: None },
    CurveName { number: 4588, name: "X25519MLKEM768", group: None },
    CurveName { number: 4589, name: "SecP384r1MLKEM1024", group: None },
];
