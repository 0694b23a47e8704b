//! A certificate of our own making: from a CA that nobody else has, replaced before its end without a gap.
//!
//! ```text
//!            ┌────────────── Secret: ca.crt ca.key tls.crt tls.key ◀──PATCH at resourceVersion── state::Write
//!            │ watch                                                                             ▲
//!            ▼                                                                                   │
//!   state::State::plan(now, Secret, trust) ──▶ serve │ write │ inject the CAs │ ready? │ when to look again
//!            ▲                                   │                │
//!            │ watch                             ▼                ▼ PATCH at resourceVersion
//!            └── webhook configurations, CRD   CertResolver    caBundle of those
//! ```
//!
//! All replicas share the Secret and run this. How a CA is replaced:
//!
//! 1. One replica writes the Secret anew, with a new CA (first in `ca.crt`, the old one after it) and a certificate of
//!    the new CA. Every replica goes on to serve the certificate that it has.
//! 2. Any replica adds the new CA wherever the old one is trusted.
//! 3. Each replica, once it sees the new CA trusted everywhere and API servers had time to learn it
//!    ([`RotationPolicy::propagation`]), serves the new certificate.
//! 4. After [`RotationPolicy::grace`] with the new CA in use, one replica takes the old one from the Secret, and any
//!    replica takes it from where it was trusted.
//!
//! Replicas may see old states. Whoever changes a `caBundle` therefore first reads the Secret afresh, and both are
//! written at the version that was seen: a new CA is in the Secret before anyone trusts it, so a replica that has
//! not heard of it cannot take it away again.

mod keyring;
mod run;
mod state;
mod targets;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;

pub use run::rotate;

/// Whether the API server's reviews can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// A certificate is served, and its CA is trusted wherever that is ours to arrange.
    Ready,
    /// They cannot, and in a few words why: for a readiness probe.
    NotReady(String),
}

/// Where the CA has to be trusted: in every entry that leads to the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The ValidatingWebhookConfiguration of that name.
    Webhooks(String),
    /// The ValidatingWebhookConfigurations with these labels, as in `kubectl get -l`.
    WebhooksLabelled(String),
    /// The conversion of the CustomResourceDefinition of that name.
    Conversion(String),
}

/// What to keep, where, and for whom.
#[derive(Clone)]
pub struct RotationConfig {
    /// Needs get, list, watch, create and patch on secrets in the namespace; list, watch and patch on the targets.
    pub client: Client,
    /// The namespace of the Secret and the service.
    pub namespace: String,
    /// The Secret: `--webhook-secret`. Made if it is missing, filled if it is empty, taken over if it is valid.
    pub secret: String,
    /// What a Secret that is made goes with. Without one it stays.
    pub owner: Option<OwnerReference>,
    /// The service by whose name the API server calls: `--cert-service-name`.
    pub service: String,
    /// Where the CA has to be trusted. One that does not exist is no hindrance, and is served when it comes to be.
    pub targets: Vec<Target>,
    /// The times.
    pub policy: RotationPolicy,
}

/// The times of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationPolicy {
    /// How long a new CA is valid.
    pub authority: Duration,
    /// How long a new serving certificate is valid; not longer than its CA.
    pub serving: Duration,
    /// How long before its end either is replaced, though not in the first two thirds of its life.
    pub renew_before: Duration,
    /// How long before now a new certificate begins, for clocks that are behind.
    pub backdate: Duration,
    /// How long API servers may take to hear of a `caBundle`.
    pub propagation: Duration,
    /// How long an old CA is trusted after the new one came into use.
    pub grace: Duration,
    /// The clock is looked at this often at least: it may be set while a long timer runs.
    pub recheck: Duration,
}

impl Default for RotationPolicy {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            authority: day * 3650,
            serving: day * 365,
            renew_before: day * 90,
            backdate: Duration::from_secs(60 * 60),
            propagation: Duration::from_secs(10),
            grace: day,
            recheck: Duration::from_secs(10 * 60),
        }
    }
}

/// The names by which `service` is called; the API server uses the first.
fn names(service: &str, namespace: &str) -> Vec<String> {
    vec![
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        format!("{service}.{namespace}"),
        service.to_owned(),
    ]
}
