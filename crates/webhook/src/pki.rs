//! Certificates: made, read, compared. Knows no clock: times come in, as seconds since 1970.

use std::{sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

/// The end of the year 9999, the last that a certificate can name.
const LAST: i64 = 253_402_300_799;

/// From when until when a certificate may be used, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Validity {
    /// From `backdate` before `now`, so that clients whose clocks are behind accept it, until `lifetime` after, as
    /// far as certificates can say so. Backdated by at most a quarter of the lifetime: so [`due`](Self::due) lies ahead.
    pub(crate) fn starting(now: i64, lifetime: Duration, backdate: Duration) -> Self {
        let backdate = backdate.min(lifetime / 4);
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(LAST);
        let now = now.clamp(0, LAST - 1);
        Self {
            from: (now - seconds(backdate)).max(0),
            until: now.saturating_add(seconds(lifetime).max(1)).min(LAST),
        }
    }

    pub(crate) fn ended(self, now: i64) -> bool {
        self.until <= now
    }

    /// When to replace a certificate: `before` its end, and not before two thirds of its life.
    pub(crate) fn due(self, before: Duration) -> i64 {
        let before = i64::try_from(before.as_secs()).unwrap_or(LAST);
        self.until - before.min((self.until - self.from) / 3)
    }

    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let validity = parsed.validity();
        Some(Self { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() })
    }
}

/// The certificate of a CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) validity: Validity,
}

impl Authority {
    fn read(der: CertificateDer<'static>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
        let validity = Validity::of(&der).filter(|_| parsed.is_ca())?;
        Some(Self { der, validity })
    }

    /// Makes a CA, whose certificate vouches for itself, and its key.
    pub(crate) fn make(validity: Validity) -> Result<(Self, KeyPair), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = params(Vec::new(), validity)?;
        params.distinguished_name.push(DnType::CommonName, "metallb webhook CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let der = params.self_signed(&key)?.der().clone();
        Ok((Self { der, validity }, key))
    }

    /// This CA with its key, if that is the key and one that can be used here.
    pub(crate) fn signer(&self, key: &[u8]) -> Option<Issuer<'static, KeyPair>> {
        let key = KeyPair::from_pem(std::str::from_utf8(key).ok()?).ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&self.der).ok()?;
        let same = *parsed.public_key().subject_public_key.data == *key.public_key_raw();
        if same { Issuer::from_ca_cert_der(&self.der, key).ok() } else { None }
    }

    /// Whether a client that trusts only this CA accepts `chain` for `host` at some time: whether now, is for
    /// [`Validity`] to say.
    pub(crate) fn vouches_for(&self, chain: &[CertificateDer<'_>], host: &str) -> bool {
        let Some(((leaf, rest), host)) = chain.split_first().zip(ServerName::try_from(host).ok()) else {
            return false;
        };
        let Some(leaf_validity) = Validity::of(leaf) else { return false };
        let at = leaf_validity.from.max(self.validity.from);
        let mut roots = RootCertStore::empty();
        if roots.add(self.der.clone()).is_err() {
            return false;
        }
        let provider = Arc::new(ring::default_provider());
        let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()
        else {
            return false;
        };
        let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or(0)));
        verifier.verify_server_cert(leaf, rest, &host, &[], at).is_ok()
    }
}

/// The CAs in a PEM text, each once, in their order. What is something else is left out.
pub(crate) fn authorities(pem: &[u8]) -> Vec<Authority> {
    let mut found: Vec<Authority> = Vec::new();
    for authority in CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).filter_map(Authority::read) {
        if !found.contains(&authority) {
            found.push(authority);
        }
    }
    found
}

/// The PEM text of certificates.
pub(crate) fn to_pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let blocks = certificates.into_iter().map(|der| pem::Pem::new("CERTIFICATE", der.to_vec()));
    blocks.map(|block| pem::encode_config(&block, lines)).collect()
}

/// A server's certificate as it lies in PEM, with its validity.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) certificate: tls::Certificate,
    pub(crate) validity: Validity,
}

impl Leaf {
    /// Reads the chain and its key; `None` if they cannot be served.
    pub(crate) fn read(chain: &[u8], key: &[u8]) -> Option<Self> {
        let certificate = tls::Certificate::from_pem(chain, key).ok()?;
        let validity = Validity::of(certificate.chain().first()?)?;
        Some(Self { certificate, validity })
    }

    /// Makes a certificate for `names` and its key, both in PEM.
    pub(crate) fn make(
        signer: &Issuer<'_, KeyPair>,
        names: &[String],
        validity: Validity,
    ) -> Result<(String, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = params(names.to_vec(), validity)?;
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok((params.signed_by(&key, signer)?.pem(), key.serialize_pem()))
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        self.certificate.chain()
    }
}

fn params(names: Vec<String>, validity: Validity) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "metallb");
    let day = |seconds: i64| {
        let seconds = u64::try_from(seconds.clamp(0, LAST)).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    (params.not_before, params.not_after) = (day(validity.from), day(validity.until));
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const HOST: &str = "metallb-webhook-service.metallb-system.svc";
    const HOUR: Duration = Duration::from_secs(3600);

    fn validity(seconds: u64) -> Validity {
        Validity::starting(NOW, Duration::from_secs(seconds), HOUR)
    }

    #[test]
    fn a_certificate_is_vouched_for_by_its_own_authority_and_for_its_own_names_only() {
        let (authority, key) = Authority::make(validity(100)).expect("a CA");
        let signer = authority.signer(key.serialize_pem().as_bytes()).expect("its own key");
        let (chain, leaf_key) = Leaf::make(&signer, &[HOST.to_owned()], validity(50)).expect("a certificate");
        let leaf = Leaf::read(chain.as_bytes(), leaf_key.as_bytes()).expect("can be served");
        assert_eq!(leaf.validity, Validity { from: NOW - 12, until: NOW + 50 });
        assert!(authority.vouches_for(leaf.chain(), HOST));
        assert!(!authority.vouches_for(leaf.chain(), "other.metallb-system.svc"));
        assert!(!authority.vouches_for(&[], HOST));

        let (other, other_key) = Authority::make(validity(100)).expect("a CA");
        assert!(!other.vouches_for(leaf.chain(), HOST));
        assert!(authority.signer(other_key.serialize_pem().as_bytes()).is_none(), "not its key");
        assert!(authority.signer(b"nonsense").is_none());
    }

    #[test]
    fn a_bundle_reads_back_without_what_is_no_ca() {
        let (first, key) = Authority::make(validity(100)).expect("a CA");
        let (second, _) = Authority::make(validity(200)).expect("a CA");
        let signer = first.signer(key.serialize_pem().as_bytes()).expect("its own key");
        let (leaf, _) = Leaf::make(&signer, &[HOST.to_owned()], validity(50)).expect("a certificate");
        let text = to_pem([&second.der, &first.der, &second.der]);
        let text =
            format!("words\n{leaf}{text}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert_eq!(authorities(text.as_bytes()), [second, first]);
        assert_eq!(authorities(b""), []);
        assert_eq!(authorities(&[0xff; 40]), []);
    }

    #[test]
    fn validities_stay_within_what_certificates_can_say() {
        for now in [i64::MIN, -1, 0, 5, NOW, LAST, i64::MAX] {
            for span in [Duration::ZERO, Duration::from_secs(1), Duration::MAX] {
                let validity = Validity::starting(now, span, span);
                assert!(0 <= validity.from && validity.from < validity.until && validity.until <= LAST);
                assert!(validity.due(span) <= validity.until && validity.due(span) >= validity.from);
                Authority::make(validity).expect("a CA");
            }
        }
    }

    #[test]
    fn replacement_is_due_in_the_last_third_at_the_earliest() {
        let validity = Validity { from: 0, until: 900 };
        assert_eq!(validity.due(Duration::from_secs(100)), 800);
        assert_eq!(validity.due(Duration::from_secs(5000)), 600);
    }
}
