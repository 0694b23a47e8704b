//! What the Secret holds, and what to put there.
//!
//! The keys are those of the certificate controller that MetalLB uses, so that each can take over from the other:
//! `ca.crt` (the CA in use, here followed by older ones), `ca.key`, `tls.crt`, `tls.key`.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::ByteString;
use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;

use super::RotationPolicy;
use crate::pki::{self, Authority, Leaf, Validity};

pub(super) const CA_CERTIFICATE: &str = "ca.crt";
pub(super) const CA_KEY: &str = "ca.key";
pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";

/// The data of a Secret.
pub(super) type Data = BTreeMap<String, ByteString>;

/// Old CAs that are kept beside a new one, at most.
const KEPT: usize = 4;

/// A serving certificate and the CA that issued it.
#[derive(Debug, Clone)]
pub(super) struct Serving {
    pub(super) leaf: Leaf,
    pub(super) issuer: Authority,
}

impl Serving {
    pub(super) fn is(&self, other: &Self) -> bool {
        self.leaf.chain() == other.leaf.chain()
    }

    /// The earlier end of the certificate and its CA.
    pub(super) fn until(&self) -> i64 {
        self.leaf.validity.until.min(self.issuer.validity.until)
    }
}

/// What can be used of a Secret's data.
#[derive(Default)]
pub(super) struct Keyring {
    /// The CA in use, then older ones.
    pub(super) authorities: Vec<Authority>,
    /// The CA in use with its key.
    signer: Option<Issuer<'static, KeyPair>>,
    /// The serving certificate, if one of the CAs vouches for it.
    pub(super) serving: Option<Serving>,
}

/// A change of the Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    /// A new CA, beside which these stay trusted, and a new serving certificate.
    Authority { keep: Vec<CertificateDer<'static>> },
    /// A new serving certificate of the CA in use.
    Serving,
    /// These CAs only.
    Forget { keep: Vec<CertificateDer<'static>> },
}

impl Keyring {
    /// Reads `data`; what is missing or spoiled is left out. `host` is the name that has to be certified.
    pub(super) fn read(data: &Data, host: &str) -> Self {
        let bytes = |key: &str| data.get(key).map_or(&[][..], |value| &value.0);
        let authorities = pki::authorities(bytes(CA_CERTIFICATE));
        let signer = authorities.first().and_then(|authority| authority.signer(bytes(CA_KEY)));
        let serving = Leaf::read(bytes(CERTIFICATE), bytes(KEY)).and_then(|leaf| {
            let issuer =
                authorities.iter().find(|authority| authority.vouches_for(leaf.chain(), host))?.clone();
            Some(Serving { leaf, issuer })
        });
        Self { authorities, signer, serving }
    }

    /// Whether the CA in use can issue certificates.
    pub(super) fn can_sign(&self) -> bool {
        self.signer.is_some()
    }

    /// What `write` puts into the Secret; other keys of it stay.
    pub(super) fn carry_out(
        &self,
        write: &Write,
        names: &[String],
        policy: &RotationPolicy,
        now: i64,
    ) -> Result<Data, rcgen::Error> {
        match write {
            Write::Authority { keep } => {
                let validity = Validity::starting(now, policy.authority, policy.backdate);
                let (authority, key) = Authority::make(validity)?;
                let key = key.serialize_pem();
                let signer = authority.signer(key.as_bytes()).ok_or(rcgen::Error::CouldNotParseKeyPair)?;
                let mut data = issue(&signer, &authority, names, policy, now)?;
                let bundle = std::iter::once(&authority.der).chain(keep.iter().take(KEPT));
                data.insert(CA_CERTIFICATE.to_owned(), bytes(pki::to_pem(bundle)));
                data.insert(CA_KEY.to_owned(), bytes(key));
                Ok(data)
            }
            Write::Serving => match (&self.signer, self.authorities.first()) {
                (Some(signer), Some(authority)) => issue(signer, authority, names, policy, now),
                _ => Err(rcgen::Error::CouldNotParseKeyPair),
            },
            Write::Forget { keep } => Ok(Data::from([(CA_CERTIFICATE.to_owned(), bytes(pki::to_pem(keep)))])),
        }
    }
}

/// A serving certificate that ends no later than its CA.
fn issue(
    signer: &Issuer<'static, KeyPair>,
    authority: &Authority,
    names: &[String],
    policy: &RotationPolicy,
    now: i64,
) -> Result<Data, rcgen::Error> {
    let left = u64::try_from(authority.validity.until.saturating_sub(now)).unwrap_or(0);
    let lifetime = policy.serving.min(Duration::from_secs(left));
    let validity = Validity::starting(now, lifetime, policy.backdate);
    let (certificate, key) = Leaf::make(signer, names, validity)?;
    Ok(Data::from([(CERTIFICATE.to_owned(), bytes(certificate)), (KEY.to_owned(), bytes(key))]))
}

fn bytes(text: String) -> ByteString {
    ByteString(text.into_bytes())
}
