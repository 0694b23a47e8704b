//! MetalLB's `--tls-*` flags, with the values that Kubernetes' own components take.

use std::{str::FromStr, sync::Arc};

use clap::Args;
use rustls::{
    CipherSuite, NamedGroup, ServerConfig, SupportedCipherSuite,
    crypto::{CryptoProvider, ring},
    server::{NoServerSessionStorage, ResolvesServerCert},
    version::{TLS12, TLS13},
};
use thiserror::Error;
use tracing::warn;

mod names;

use names::{CURVES, CurveName, SUITES, Served, SuiteName};

// Not a doc comment: clap would make it the description of the program that has these flags.
// What a TLS server accepts. The default is TLS 1.3 alone.
#[expect(missing_docs, reason = "a doc comment here becomes the text of --help")]
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The oldest TLS to accept: VersionTLS12 or VersionTLS13; by default VersionTLS13
    #[arg(id = "tls_min_version", long = "tls-min-version", value_name = "VERSION")]
    #[arg(default_value = "", hide_default_value = true)]
    pub min_version: MinVersion,
    /// The cipher suites of TLS 1.2 by their IANA names, separated by commas; by default all safe ones
    #[arg(id = "tls_cipher_suites", long = "tls-cipher-suites", value_name = "NAMES")]
    #[arg(default_value = "", hide_default_value = true)]
    pub cipher_suites: CipherSuites,
    /// The key exchange groups by their numbers, separated by commas and preferred ones first: 23 (P-256), 24
    /// (P-384), 29 (X25519); by default all three
    #[arg(id = "tls_curve_preferences", long = "tls-curve-preferences", value_name = "NUMBERS")]
    #[arg(default_value = "", hide_default_value = true)]
    pub curve_preferences: CurvePreferences,
}

/// The oldest version of TLS that a client may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2. Also what `VersionTLS10` and `VersionTLS11` give: older ones exist in no program of ours.
    Tls12,
    /// TLS 1.3, also what the empty text gives.
    #[default]
    Tls13,
}

/// Names of cipher suites, in the order given. Empty means: no choice was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CipherSuites(Vec<&'static SuiteName>);

/// Key exchange groups, in the order given. Empty means: no choice was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurvePreferences(Vec<&'static CurveName>);

/// The value of one flag cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseTlsOptionError {
    /// `--tls-min-version`.
    #[error("unknown tls version {0:?}; use VersionTLS12 or VersionTLS13")]
    Version(String),
    /// A name in `--tls-cipher-suites`.
    #[error("Cipher suite {0} not supported or doesn't exist; use {suites}", suites = served_suites())]
    CipherSuite(String),
    /// An entry of `--tls-curve-preferences` is no number of 16 bits.
    #[error("invalid curve preference {0:?}: must be a numeric CurveID (0-65535)")]
    CurveNumber(String),
    /// A number in `--tls-curve-preferences` that stands for nothing.
    #[error("curve preference {0} is not supported; use {curves}", curves = served_curves())]
    Curve(u16),
    /// A number in `--tls-curve-preferences` that occurs twice.
    #[error("duplicate curve preference {0}; name each once")]
    DuplicateCurve(u16),
}

/// The values do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TlsOptionsError {
    /// `--tls-cipher-suites` while only TLS 1.3 is accepted, whose suites are all good.
    #[error(
        "cipher suites cannot be configured with TLS 1.3; leave out --tls-cipher-suites, or accept TLS 1.2 with --tls-min-version=VersionTLS12"
    )]
    SuitesWithTls13,
    /// `--tls-cipher-suites` names nothing that is served.
    #[error(
        "none of the suites of --tls-cipher-suites is served: they are not safe; add one of {}",
        served_suites()
    )]
    NoSuite,
    /// `--tls-curve-preferences` names nothing that is served.
    #[error("none of the groups of --tls-curve-preferences is served; add one of {}", served_curves())]
    NoCurve,
}

impl FromStr for MinVersion {
    type Err = ParseTlsOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" | "VersionTLS13" => Ok(Self::Tls13),
            "VersionTLS10" | "VersionTLS11" | "VersionTLS12" => Ok(Self::Tls12),
            other => Err(ParseTlsOptionError::Version(other.to_owned())),
        }
    }
}

impl FromStr for CipherSuites {
    type Err = ParseTlsOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        entries(text)
            .map(|name| {
                let suite = SUITES.iter().find(|suite| suite.name == name);
                suite.ok_or_else(|| ParseTlsOptionError::CipherSuite(name.to_owned()))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl FromStr for CurvePreferences {
    type Err = ParseTlsOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut curves = Vec::new();
        for entry in entries(text) {
            let number = entry.parse().map_err(|_| ParseTlsOptionError::CurveNumber(entry.to_owned()))?;
            let curve = CURVES.iter().find(|curve| curve.number == number);
            let curve = curve.ok_or(ParseTlsOptionError::Curve(number))?;
            if curves.contains(&curve) {
                return Err(ParseTlsOptionError::DuplicateCurve(number));
            }
            curves.push(curve);
        }
        Ok(Self(curves))
    }
}

/// The entries of a list with commas; none where the text is empty.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(move |_| !text.is_empty())
}

fn served_suites() -> String {
    let served = SUITES.iter().filter(|suite| matches!(suite.served, Served::Tls12(_)));
    served.map(|suite| suite.name).collect::<Vec<_>>().join(", ")
}

fn served_curves() -> String {
    let served = CURVES.iter().filter(|curve| curve.group.is_some());
    served.map(|curve| format!("{} ({})", curve.number, curve.name)).collect::<Vec<_>>().join(", ")
}

impl TlsOptions {
    /// What a server with these options needs, for HTTP/1.1, with the certificate that `resolver` has at each
    /// handshake and without certificates of clients.
    ///
    /// The cryptography is ring's; no process-wide provider has to be installed. Suites and groups that exist but that
    /// we do not serve are left out with a word in the log: the profiles of platforms list such.
    pub fn server_config(
        &self,
        resolver: Arc<dyn ResolvesServerCert>,
    ) -> Result<ServerConfig, TlsOptionsError> {
        let provider = CryptoProvider {
            cipher_suites: self.suites()?,
            kx_groups: self.groups()?,
            ..ring::default_provider()
        };
        let has_tls12 = provider.cipher_suites.iter().any(|suite| suite.tls13().is_none());
        let versions: &[_] = match self.min_version {
            MinVersion::Tls12 if has_tls12 => &[&TLS13, &TLS12],
            // Where only suites of TLS 1.3 were named, an older handshake would find none.
            MinVersion::Tls12 | MinVersion::Tls13 => &[&TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("each version has a suite and there is a group")
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        // A session that is taken up again shows no certificate: who asks anew shall see the one in force.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Those of TLS 1.3 always, and those of TLS 1.2 that were named.
    fn suites(&self) -> Result<Vec<SupportedCipherSuite>, TlsOptionsError> {
        let mut all = ring::default_provider().cipher_suites;
        let named = &self.cipher_suites.0;
        if named.is_empty() {
            return Ok(all);
        }
        if self.min_version == MinVersion::Tls13 {
            return Err(TlsOptionsError::SuitesWithTls13);
        }
        let unserved: Vec<_> = named.iter().filter(|s| s.served == Served::No).map(|s| s.name).collect();
        if unserved.len() == named.len() {
            return Err(TlsOptionsError::NoSuite);
        }
        if !unserved.is_empty() {
            warn!(
                suites = unserved.join(","),
                "these suites of --tls-cipher-suites are not safe and not served"
            );
        }
        let is_named = |id: CipherSuite| named.iter().any(|suite| suite.served == Served::Tls12(id));
        all.retain(|suite| suite.tls13().is_some() || is_named(suite.suite()));
        Ok(all)
    }

    fn groups(&self) -> Result<Vec<&'static dyn rustls::crypto::SupportedKxGroup>, TlsOptionsError> {
        let all = ring::default_provider().kx_groups;
        let named = &self.curve_preferences.0;
        if named.is_empty() {
            return Ok(all);
        }
        let find = |wanted: NamedGroup| all.iter().copied().find(|group| group.name() == wanted);
        let groups: Vec<_> = named.iter().filter_map(|curve| curve.group.and_then(find)).collect();
        if groups.is_empty() {
            return Err(TlsOptionsError::NoCurve);
        }
        let unserved: Vec<_> = named.iter().filter(|curve| curve.group.is_none()).map(|c| c.name).collect();
        if !unserved.is_empty() {
            warn!(groups = unserved.join(","), "these groups of --tls-curve-preferences are not served");
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests;
