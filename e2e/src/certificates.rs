//! The certificates and keys of one control plane, made anew for every cluster.

use std::{fs, os::unix::fs::DirBuilderExt as _, path::Path};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::{
    instance::write_private,
    plan::{API_SERVICE, Host},
};

/// Writes into `folder`:
/// - `ca.crt`, `ca.key`: signs the API server's certificate and client certificates;
/// - `apiserver.crt`, `apiserver.key`: good for `kubernetes`, its Service names and
///   addresses, the control plane's addresses and loopback;
/// - `front-proxy-ca.crt`, `front-proxy.crt`, `front-proxy.key`: with these the API
///   server shows itself to aggregated API servers;
/// - `service-accounts.key`, `service-accounts.pub`: sign and prove the tokens of Pods.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("creating {}", folder.display()))?;
    let put = |name: &str, text: String| write_private(&folder.join(name), &text);

    let ca = authority("kubernetes-ca")?;
    put("ca.crt", ca.pem())?;
    put("ca.key", ca.key().serialize_pem())?;

    let control_plane = Host::by_name("control-plane")?;
    let (v4, v6) = (control_plane.v4().to_string(), control_plane.v6().to_string());
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        "::1",
        API_SERVICE[0],
        API_SERVICE[1],
        &v4,
        &v6,
    ];
    let (certificate, key) = signed(&ca, "kube-apiserver", &names, ExtendedKeyUsagePurpose::ServerAuth)?;
    put("apiserver.crt", certificate)?;
    put("apiserver.key", key)?;

    let front = authority("front-proxy-ca")?;
    put("front-proxy-ca.crt", front.pem())?;
    let (certificate, key) = signed(&front, "front-proxy-client", &[], ExtendedKeyUsagePurpose::ClientAuth)?;
    put("front-proxy.crt", certificate)?;
    put("front-proxy.key", key)?;

    let key = KeyPair::generate().context("generating the key of service accounts")?;
    put("service-accounts.key", key.serialize_pem())?;
    put("service-accounts.pub", key.public_key_pem())
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = named(name, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().with_context(|| format!("generating the key of {name}"))?;
    CertifiedIssuer::self_signed(params, key).with_context(|| format!("signing {name}"))
}

/// A certificate of that authority and its key, both as PEM.
fn signed(
    ca: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    alternatives: &[&str],
    usage: ExtendedKeyUsagePurpose,
) -> Result<(String, String)> {
    let mut params = named(name, alternatives)?;
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().with_context(|| format!("generating the key of {name}"))?;
    let certificate = params.signed_by(&key, ca).with_context(|| format!("signing {name}"))?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn named(name: &str, alternatives: &[&str]) -> Result<CertificateParams> {
    let alternatives: Vec<String> = alternatives.iter().map(|&text| text.to_owned()).collect();
    let mut params = CertificateParams::new(alternatives).with_context(|| format!("naming {name}"))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
